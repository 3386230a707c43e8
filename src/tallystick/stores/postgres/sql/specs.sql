-- name: specs_after
-- Return the next $2 rows above the number $1, those of deleted objects too, in the order of their numbers.
SELECT object_no, kind, object_id, revision, spec
FROM control_objects
WHERE object_no > $1
ORDER BY object_no
LIMIT $2

-- name: replace_specs
-- Replace the specs $3 of the rows $1 that are still at the revisions $2; return their numbers. Rows are locked in the
-- order of kind and id, as changes lock them.
WITH wanted AS (
    SELECT given.object_no, given.revision, given.spec
    FROM unnest($1::bigint[], $2::bigint[], $3::json[]) AS given (object_no, revision, spec)
),
locked AS (
    SELECT control_objects.object_no
    FROM control_objects
    JOIN wanted ON wanted.object_no = control_objects.object_no AND wanted.revision = control_objects.revision
    ORDER BY control_objects.kind, control_objects.object_id
    FOR NO KEY UPDATE OF control_objects
)
UPDATE control_objects
SET spec = wanted.spec
FROM wanted
JOIN locked ON locked.object_no = wanted.object_no
WHERE control_objects.object_no = wanted.object_no AND control_objects.revision = wanted.revision
RETURNING control_objects.object_no
