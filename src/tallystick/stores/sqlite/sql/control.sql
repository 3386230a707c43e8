-- name: find_object
-- Return a living object.
SELECT
  revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
  user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE kind = ? AND object_id = ? AND is_living = 1;

-- name: find_objects
-- Return those of the objects (a JSON list of kind and id) that live.
SELECT
  revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
  user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE (kind, object_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?)) AND is_living = 1;

-- name: find_retired_key
-- Return a retired key, and the hash of the key that took its place, unless it has expired.
SELECT
  revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
  user_id, budget_id, created_by, updated_by, deleted_by, spec,
  spec ->> 'key_hash'
FROM control_objects
WHERE kind = 'retired_key' AND object_id = ? AND is_living = 1 AND (expires_at IS NULL OR expires_at > ?);

-- name: load_objects
-- Return all living objects of the kinds of a JSON list.
SELECT
  revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
  user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE kind IN (SELECT value FROM json_each(?)) AND is_living = 1;

-- name: held_object
-- Return the row of a living object and its revision.
SELECT object_no, revision FROM control_objects WHERE kind = ? AND object_id = ? AND is_living = 1;

-- name: key_hash_is_taken
-- Return a row when a key has or had this hash.
SELECT object_no FROM control_objects WHERE kind = 'key' AND object_id = ?;

-- name: name_is_taken
-- Return a row when a living object other than the one with this id has the name.
SELECT object_no FROM control_objects
WHERE kind = ? AND name = ? AND object_id <> ? AND is_living = 1;

-- name: delete_object
-- Mark an object as deleted.
UPDATE control_objects SET is_living = 0, deleted_at = ?, deleted_by = ?, revision = ? WHERE object_no = ?;

-- name: free_name
-- Take away the name of an object that is about to get another one.
UPDATE control_objects SET name = '' WHERE object_no = ?;

-- name: add_object
-- Add an object; return the number of its row.
INSERT INTO control_objects (
  kind, object_id, name, organization_id, team_id, user_id, budget_id, blocked, expires_at, created_at, created_by,
  updated_at, updated_by, name_lower, id_lower, spec, revision
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING object_no;

-- name: update_object
-- Write an object anew, by the number of its row, which comes last.
UPDATE control_objects SET
  kind = ?, object_id = ?, name = ?, organization_id = ?, team_id = ?, user_id = ?, budget_id = ?, blocked = ?,
  expires_at = ?, created_at = ?, created_by = ?, updated_at = ?, updated_by = ?, name_lower = ?, id_lower = ?, spec = ?,
  revision = ?
WHERE object_no = ?;

-- name: file_for_search
-- File a row under these words, instead of those that it had.
INSERT OR REPLACE INTO control_search (rowid, grams) VALUES (?, ?);

-- name: relation_left_organization_id
-- Return a row when a living object of this kind belongs to the organization.
SELECT object_no FROM control_objects WHERE kind = ? AND is_living = 1 AND organization_id = ? LIMIT 1;

-- name: relation_left_team_id
-- Return a row when a living object of this kind belongs to the team.
SELECT object_no FROM control_objects WHERE kind = ? AND is_living = 1 AND team_id = ? LIMIT 1;

-- name: relation_left_user_id
-- Return a row when a living object of this kind belongs to the user.
SELECT object_no FROM control_objects WHERE kind = ? AND is_living = 1 AND user_id = ? LIMIT 1;

-- name: relation_left_budget_id
-- Return a row when a living object of this kind has the budget.
SELECT object_no FROM control_objects WHERE kind = ? AND is_living = 1 AND budget_id = ? LIMIT 1;

-- name: list_objects
-- Return one page. {living} says whether those that live or those that were deleted; {filters} are conditions on a row.
-- The page is cut from an index alone, before any row is read. A {column} with a plus sign is sorted by without its index:
-- SQLite has no idea how few rows the filters leave, and would walk all of it.
SELECT
  revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
  user_id, budget_id, created_by, updated_by, deleted_by, spec
FROM control_objects
WHERE object_no IN (
  SELECT object_no FROM control_objects
  WHERE kind = :kind AND {living} AND {filters}
  ORDER BY {column} {direction}, object_no {direction}
  LIMIT :limit OFFSET :offset
)
ORDER BY {column} {direction}, object_no {direction};

-- name: count_objects
-- Return how many match.
SELECT count(*) FROM control_objects WHERE kind = :kind AND {living} AND {filters};

-- name: objects_living
-- Those that live.
is_living = 1

-- name: objects_deleted
-- Those that were deleted.
is_living = 0

-- name: objects_filter_none
-- All of them.
TRUE

-- name: objects_filter_by_one
-- Those with this value in a column.
{column} = :{value}

-- name: objects_filter_by_some
-- Those with one of these values in a column.
{column} IN (SELECT value FROM json_each(:{value}))

-- name: objects_filter_created_by
-- What one user or key made.
created_by = :created_by

-- name: objects_filter_within
-- What belongs to one of these users, teams or organizations, or is one of these objects. Each way has an index.
object_no IN (
  SELECT object_no FROM control_objects
  WHERE kind = :kind AND {living} AND user_id IN (SELECT value FROM json_each(:within_user_ids))
  UNION ALL
  SELECT object_no FROM control_objects
  WHERE kind = :kind AND {living} AND team_id IN (SELECT value FROM json_each(:within_team_ids))
  UNION ALL
  SELECT object_no FROM control_objects
  WHERE kind = :kind AND {living} AND organization_id IN (SELECT value FROM json_each(:within_organization_ids))
  UNION ALL
  SELECT object_no FROM control_objects
  WHERE kind = :kind AND {living} AND object_id IN (SELECT value FROM json_each(:within_object_ids))
)

-- name: objects_filter_search
-- What has this text in its name or id. The grams lead to candidates, and each of these is compared.
object_no IN (SELECT rowid FROM control_search WHERE control_search MATCH :grams)
AND (instr(name_lower, :needle) > 0 OR instr(id_lower, :needle) > 0)
