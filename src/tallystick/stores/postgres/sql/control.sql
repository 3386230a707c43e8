-- name: find_object
-- Return a living object.
SELECT
    revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
    user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE kind = $1 AND object_id = $2 AND is_living

-- name: find_objects
-- Return those of the objects ($1 kinds, $2 ids) that live.
SELECT
    revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
    user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM unnest($1::text[], $2::text[]) AS wanted (kind, object_id)
JOIN control_objects USING (kind, object_id)
WHERE is_living

-- name: find_key_and_relations
-- Return the key with hash $1, or the one that took its place when the hash was retired and has not expired by $2; then
-- what it stands for, the budgets to which these refer, and the retired key.
WITH held AS MATERIALIZED (
    SELECT object_no, user_id, team_id, organization_id FROM control_objects
    WHERE kind = 'key' AND object_id = $1 AND is_living
),
retired AS MATERIALIZED (
    SELECT object_no, spec ->> 'key_hash' AS key_hash FROM control_objects
    WHERE kind = 'retired_key' AND object_id = $1 AND is_living AND (expires_at IS NULL OR expires_at > $2)
        AND NOT EXISTS (SELECT FROM held)
),
key AS MATERIALIZED (
    SELECT object_no, user_id, team_id, organization_id FROM held
    UNION ALL
    SELECT object_no, user_id, team_id, organization_id FROM control_objects
    WHERE kind = 'key' AND object_id = (SELECT key_hash FROM retired) AND is_living
),
team AS MATERIALIZED (
    SELECT object_no, organization_id FROM control_objects
    WHERE kind = 'team' AND object_id = (SELECT team_id FROM key) AND is_living
),
own AS MATERIALIZED (
    SELECT
        user_id, team_id,
        coalesce((SELECT nullif(team.organization_id, '') FROM team), organization_id) AS organization_id
    FROM key
),
found AS (
    SELECT 1 AS place, object_no FROM key
    UNION ALL
    SELECT 2, object_no FROM team
    UNION ALL
    SELECT 3, object_no FROM control_objects
    WHERE kind = 'team_member' AND is_living AND team_id <> ''
        AND user_id = (SELECT user_id FROM own) AND team_id = (SELECT team_id FROM own)
    UNION ALL
    SELECT 4, object_no FROM control_objects
    WHERE kind = 'user' AND object_id = (SELECT user_id FROM own) AND is_living
    UNION ALL
    SELECT 5, object_no FROM control_objects
    WHERE kind = 'organization' AND object_id = (SELECT organization_id FROM own) AND is_living
    UNION ALL
    SELECT 6, object_no FROM control_objects
    WHERE kind = 'organization_member' AND is_living AND organization_id <> ''
        AND user_id = (SELECT user_id FROM own) AND organization_id = (SELECT organization_id FROM own)
),
related AS MATERIALIZED (
    SELECT
        place, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name,
        organization_id, team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
    FROM found
    JOIN control_objects USING (object_no)
)
SELECT
    place, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id,
    team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM related
UNION ALL
SELECT
    7, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id,
    team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE kind = 'budget' AND is_living
    AND object_id = ANY(ARRAY(SELECT budget_id FROM related WHERE budget_id <> ''))
UNION ALL
SELECT
    8, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id,
    team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE object_no = (SELECT object_no FROM retired WHERE EXISTS (SELECT FROM key))
ORDER BY place

-- name: load_objects
-- Return all living objects of the kinds $1.
SELECT
    revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
    user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE kind = ANY($1::text[]) AND is_living

-- name: lock_changed_objects
-- Return those of the objects ($1 kinds, $2 ids) that live, locked in the order of kind and id: nobody else changes them
-- or relies on them until the transaction ends.
SELECT object_no, control_objects.kind, control_objects.object_id, revision
FROM unnest($1::text[], $2::text[]) AS wanted (kind, object_id)
JOIN control_objects ON control_objects.kind = wanted.kind AND control_objects.object_id = wanted.object_id
WHERE is_living
ORDER BY control_objects.kind, control_objects.object_id
FOR UPDATE OF control_objects

-- name: lock_required_objects
-- Return those of the objects ($1 kinds, $2 ids) that live, locked in the order of kind and id: nobody changes them until
-- the transaction ends; others may rely on them, too.
SELECT object_no, control_objects.kind, control_objects.object_id, revision
FROM unnest($1::text[], $2::text[]) AS wanted (kind, object_id)
JOIN control_objects ON control_objects.kind = wanted.kind AND control_objects.object_id = wanted.object_id
WHERE is_living
ORDER BY control_objects.kind, control_objects.object_id
FOR KEY SHARE OF control_objects

-- name: delete_objects
-- Mark objects as deleted at $2 by $3.
UPDATE control_objects SET deleted_at = $2, deleted_by = $3 WHERE object_no = ANY($1::bigint[])

-- name: free_names
-- Take away the names of objects that are about to get another one.
UPDATE control_objects SET name = '' WHERE object_no = ANY($1::bigint[])

-- name: taken_key_hashes
-- Return which of the hashes a key has or had.
SELECT object_id FROM control_objects WHERE kind = 'key' AND object_id = ANY($1::text[]) LIMIT 1

-- name: taken_names
-- Return which of the names $2 of kinds $1 a living object has that is not the one with the id $3.
SELECT wanted.kind, wanted.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (kind, name, object_id)
JOIN control_objects AS held ON held.kind = wanted.kind AND held.name = wanted.name
WHERE held.is_living AND held.object_id <> wanted.object_id
LIMIT 1

-- name: add_objects
-- Add objects; return the numbers of their rows. The unique indexes refuse an id or a name that is taken. The feed gives
-- them their revision.
INSERT INTO control_objects (
    revision, kind, object_id, name, organization_id, team_id, user_id, budget_id, blocked, expires_at, created_at,
    created_by, updated_at, updated_by, name_lower, id_lower, spec
)
SELECT
    0, kind, object_id, name, organization_id, team_id, user_id, budget_id, blocked, expires_at, created_at,
    created_by, updated_at, updated_by, name_lower, id_lower, spec::json
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
    $9::timestamptz[], $10::timestamptz[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::text[],
    $16::text[]
) WITH ORDINALITY AS new (
    kind, object_id, name, organization_id, team_id, user_id, budget_id, blocked, expires_at, created_at, created_by,
    updated_at, updated_by, name_lower, id_lower, spec, place
)
ORDER BY place
RETURNING object_no, kind, object_id

-- name: update_objects
-- Write objects anew, by the numbers of their rows ($17), which are locked. The feed gives them their revision.
UPDATE control_objects AS held SET
    name = new.name,
    organization_id = new.organization_id,
    team_id = new.team_id,
    user_id = new.user_id,
    budget_id = new.budget_id,
    blocked = new.blocked,
    expires_at = new.expires_at,
    created_at = new.created_at,
    created_by = new.created_by,
    updated_at = new.updated_at,
    updated_by = new.updated_by,
    name_lower = new.name_lower,
    id_lower = new.id_lower,
    spec = new.spec::json
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
    $9::timestamptz[], $10::timestamptz[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::text[],
    $16::text[], $17::bigint[]
) AS new (
    kind, object_id, name, organization_id, team_id, user_id, budget_id, blocked, expires_at, created_at, created_by,
    updated_at, updated_by, name_lower, id_lower, spec, object_no
)
WHERE held.object_no = new.object_no

-- name: file_for_search
-- File the rows $1 under the words of $2, which are separated by spaces, instead of those that they had.
INSERT INTO control_search (object_no, grams)
SELECT object_no, array_to_tsvector(string_to_array(words, ' '))
FROM unnest($1::bigint[], $2::text[]) AS filed (object_no, words)
ON CONFLICT (object_no) DO UPDATE SET grams = excluded.grams

-- name: relations_left
-- Return the kinds of which a living object still has the relation: $1 kinds, $2 relations, $3 values.
SELECT wanted.kind
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (kind, relation, value)
WHERE CASE wanted.relation
    WHEN 'organization_id' THEN EXISTS (
        SELECT FROM control_objects AS held
        WHERE held.kind = wanted.kind AND held.is_living AND held.organization_id = wanted.value
    )
    WHEN 'team_id' THEN EXISTS (
        SELECT FROM control_objects AS held
        WHERE held.kind = wanted.kind AND held.is_living AND held.team_id = wanted.value
    )
    WHEN 'user_id' THEN EXISTS (
        SELECT FROM control_objects AS held
        WHERE held.kind = wanted.kind AND held.is_living AND held.user_id = wanted.value
    )
    WHEN 'budget_id' THEN EXISTS (
        SELECT FROM control_objects AS held
        WHERE held.kind = wanted.kind AND held.is_living AND held.budget_id = wanted.value
    )
END
LIMIT 1

-- name: list_objects
-- Return one page of the objects of kind $1, each with the number of all; that number alone when the page is empty.
-- {living} says whether those that live or those that were deleted; {filters} are conditions on a row. The page is cut
-- from an index alone, before any row is read.
SELECT
    counted.total_count,
    found.revision, found.created_at, found.updated_at, found.expires_at, found.deleted_at, found.blocked, found.kind,
    found.object_id, found.name, found.organization_id, found.team_id, found.user_id, found.budget_id, found.created_by,
    found.updated_by, found.deleted_by, found.spec
FROM (SELECT count(*) AS total_count FROM control_objects WHERE kind = $1 AND {living} AND {filters}) AS counted
LEFT JOIN (
    SELECT
        object_no, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name,
        organization_id, team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
    FROM (
        SELECT object_no FROM control_objects WHERE kind = $1 AND {living} AND {filters} ORDER BY {order}
        LIMIT $2 OFFSET $3
    ) AS page
    JOIN control_objects USING (object_no)
) AS found ON TRUE
ORDER BY {order}

-- name: search_objects
-- As `list_objects`, for filters that no index answers alone: what matches is read once, for the number and for the page.
WITH matched AS MATERIALIZED (
    SELECT object_no, {column} FROM control_objects WHERE kind = $1 AND {living} AND {filters}
)
SELECT
    counted.total_count,
    found.revision, found.created_at, found.updated_at, found.expires_at, found.deleted_at, found.blocked, found.kind,
    found.object_id, found.name, found.organization_id, found.team_id, found.user_id, found.budget_id, found.created_by,
    found.updated_by, found.deleted_by, found.spec
FROM (SELECT count(*) AS total_count FROM matched) AS counted
LEFT JOIN (
    SELECT
        object_no, revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name,
        organization_id, team_id, user_id, budget_id, created_by, updated_by, deleted_by, spec
    FROM (SELECT object_no FROM matched ORDER BY {order} LIMIT $2 OFFSET $3) AS page
    JOIN control_objects USING (object_no)
) AS found ON TRUE
ORDER BY {order}

-- name: objects_living
-- Those that live.
is_living

-- name: objects_deleted
-- Those that were deleted.
NOT is_living

-- name: objects_ascending
-- The least first, of equals the oldest.
{column} ASC, object_no ASC

-- name: objects_descending
-- The greatest first, of equals the youngest.
{column} DESC, object_no DESC

-- name: objects_ascending_where_absent_is_least
-- The least first, and before it those without a value.
{column} ASC NULLS FIRST, object_no ASC

-- name: objects_descending_where_absent_is_least
-- The greatest first, and last those without a value.
{column} DESC NULLS LAST, object_no DESC

-- name: objects_filter_none
-- All of them.
TRUE

-- name: objects_filter_by
-- Those with one of these values in a column.
{column} = ANY({value}::text[])

-- name: objects_filter_created_by
-- What one user or key made.
created_by = {value}::text

-- name: objects_filter_within
-- What belongs to one of these users, teams or organizations, or is one of these objects.
(
    user_id = ANY({user_ids}::text[]) OR team_id = ANY({team_ids}::text[])
    OR organization_id = ANY({organization_ids}::text[]) OR object_id = ANY({object_ids}::text[])
)

-- name: objects_filter_search
-- What has this text in its name or id. The grams lead to candidates, once, and each of these is compared.
object_no = ANY(ARRAY(SELECT object_no FROM control_search WHERE grams @@ {grams}::tsquery))
AND (strpos(name_lower, {needle}::text) > 0 OR strpos(id_lower, {needle}::text) > 0)
