-- name: find_key
-- Return a key that was not deleted.
SELECT
  key_hash, key_name, created_at, updated_at, created_by, key_alias, user_id, team_id, organization_id, models, tags,
  metadata, blocked, expires_at
FROM virtual_keys
WHERE key_hash = ? AND deleted_at IS NULL;

-- name: find_key_by_alias
-- Return the key with this alias that was not deleted.
SELECT
  key_hash, key_name, created_at, updated_at, created_by, key_alias, user_id, team_id, organization_id, models, tags,
  metadata, blocked, expires_at
FROM virtual_keys
WHERE key_alias = ? AND key_alias <> '' AND deleted_at IS NULL;

-- name: add_key
-- Add a key; no row comes back when its hash (deleted or not) or its alias exists already.
INSERT INTO virtual_keys (
  key_hash, key_name, created_at, updated_at, created_by, key_alias, user_id, team_id, organization_id, models, tags,
  metadata, blocked, expires_at
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
RETURNING key_hash;

-- name: set_key_blocked
-- Block or unblock a key; return its hash when there is one.
UPDATE virtual_keys SET blocked = ?, updated_at = ? WHERE key_hash = ? AND deleted_at IS NULL RETURNING key_hash;

-- name: delete_key
-- Mark a key as deleted; return its hash when there was one.
UPDATE virtual_keys SET deleted_at = ?1, updated_at = ?1 WHERE key_hash = ? AND deleted_at IS NULL RETURNING key_hash;

-- name: list_keys
-- Return one page of the keys that were not deleted, newest first.
SELECT
  key_hash, key_name, created_at, updated_at, created_by, key_alias, user_id, team_id, organization_id, models, tags,
  metadata, blocked, expires_at
FROM virtual_keys
WHERE deleted_at IS NULL
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:team_id IS NULL OR team_id = :team_id)
  AND (:organization_id IS NULL OR organization_id = :organization_id)
  AND (:key_hash IS NULL OR key_hash = :key_hash)
  AND (:key_alias IS NULL OR key_alias = :key_alias)
ORDER BY created_at DESC, key_hash DESC
LIMIT :limit OFFSET :offset;

-- name: count_keys
-- Return how many keys match.
SELECT count(*)
FROM virtual_keys
WHERE deleted_at IS NULL
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:team_id IS NULL OR team_id = :team_id)
  AND (:organization_id IS NULL OR organization_id = :organization_id)
  AND (:key_hash IS NULL OR key_hash = :key_hash)
  AND (:key_alias IS NULL OR key_alias = :key_alias);

-- name: append_changes
-- Append a change to the feed. The write lock makes the order of revisions the order of commits.
INSERT INTO change_feed (kind, object_id, changed_at) VALUES (?, ?, ?);

-- name: revision
-- Return the newest revision of the change feed.
SELECT coalesce(max(revision), 0) FROM change_feed;

-- name: key_changes_after
-- Return the changes of one kind above a revision, in order.
SELECT revision, object_id FROM change_feed WHERE revision > ? AND kind = ? ORDER BY revision LIMIT ?;
