-- name: specs_after
-- Return the next rows above a number, those of deleted objects too, in the order of their numbers.
SELECT object_no, kind, object_id, revision, spec
FROM control_objects
WHERE object_no > :object_no
ORDER BY object_no
LIMIT :limit

-- name: replace_spec
-- Replace the spec of a row that is still at its revision; return its number.
UPDATE control_objects SET spec = :spec WHERE object_no = :object_no AND revision = :revision RETURNING object_no
