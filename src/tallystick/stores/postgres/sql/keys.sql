-- name: find_key
-- Return a key that is not deleted, by its hash.
SELECT
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at
FROM virtual_keys
WHERE key_hash = $1 AND deleted_at IS NULL

-- name: find_key_by_alias
-- Return a key that is not deleted, by its alias.
SELECT
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at
FROM virtual_keys
WHERE key_alias = $1 AND key_alias <> '' AND deleted_at IS NULL

-- name: add_key
-- Add a key. The unique indexes refuse a hash that was ever used and an alias that is in use.
INSERT INTO virtual_keys (
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: set_key_blocked
-- Block or unblock a key; return it as it is now.
UPDATE virtual_keys SET blocked = $2, updated_at = $3
WHERE key_hash = $1 AND deleted_at IS NULL
RETURNING
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at

-- name: lock_keys
-- Return those of the hashes that name a key, their rows locked in key order until the transaction ends.
SELECT key_hash FROM virtual_keys
WHERE key_hash = ANY($1::text[]) AND deleted_at IS NULL
ORDER BY key_hash
FOR UPDATE

-- name: delete_keys
-- Delete keys; their rows stay, because events of the past name them.
UPDATE virtual_keys SET deleted_at = $2, updated_at = $2 WHERE key_hash = ANY($1::text[])

-- name: list_keys
-- Return up to $6 keys from offset $7 on, newest first. NULL does not filter.
SELECT
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at
FROM virtual_keys
WHERE deleted_at IS NULL
    AND ($1::text IS NULL OR user_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR organization_id = $3)
    AND ($4::text IS NULL OR key_hash = $4)
    AND ($5::text IS NULL OR key_alias = $5)
ORDER BY created_at DESC, key_hash
LIMIT $6 OFFSET $7

-- name: count_keys
-- Return how many keys there are. NULL does not filter.
SELECT count(*)
FROM virtual_keys
WHERE deleted_at IS NULL
    AND ($1::text IS NULL OR user_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR organization_id = $3)
    AND ($4::text IS NULL OR key_hash = $4)
    AND ($5::text IS NULL OR key_alias = $5)

-- name: append_changes
-- Append one row to the change feed for each of the objects $2 of kind $1, and wake up who listens. The last statement
-- of its transaction: the lock on the head makes feed order commit order.
WITH head AS (
    UPDATE change_feed_head SET revision = revision + cardinality($2::text[]) WHERE id = 1 RETURNING revision
),
appended AS (
    INSERT INTO change_feed (revision, kind, object_id, changed_at)
    SELECT head.revision - cardinality($2::text[]) + object.place, $1, object.object_id, $3
    FROM head CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS object (object_id, place)
)
SELECT pg_notify('tallystick_changes', head.revision::text) FROM head

-- name: revision
-- Return the newest revision of the change feed.
SELECT revision FROM change_feed_head WHERE id = 1

-- name: key_changes_after
-- Return up to $2 changes of keys above revision $1, in order.
SELECT revision, object_id FROM change_feed WHERE revision > $1 AND kind = 'key' ORDER BY revision LIMIT $2
