-- name: add_audit_row
-- Write who did what.
INSERT INTO audit_log (
  revision, audit_id, changed_at, key_hash, user_id, changed_by, action, kind, object_id, before, after
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_audit_log
-- Return one page of the audit, newest first. {filters} are conditions on a row.
SELECT audit_id, changed_at, key_hash, user_id, changed_by, action, kind, object_id, before, after
FROM audit_log
WHERE kind IN (SELECT value FROM json_each(:kinds)) AND {filters}
ORDER BY revision DESC
LIMIT :limit OFFSET :offset;

-- name: count_audit_log
-- Return how many rows match.
SELECT count(*) FROM audit_log WHERE kind IN (SELECT value FROM json_each(:kinds)) AND {filters};

-- name: audit_filter_none
-- All rows.
TRUE

-- name: audit_filter_audit_id
-- One row.
audit_id = :audit_id

-- name: audit_filter_kind
-- Changes of objects of one kind.
kind = :kind

-- name: audit_filter_object_id
-- Changes of objects with this id.
object_id = :object_id

-- name: audit_filter_action
-- What was done.
action = :action

-- name: audit_filter_changed_by
-- By whom: the caller's user, or whom the caller named.
(user_id = :changed_by OR changed_by = :changed_by)

-- name: audit_filter_key_hash
-- By which key.
key_hash = :key_hash

-- name: audit_filter_since
-- What was done at this moment or later.
changed_at >= :since

-- name: audit_filter_until
-- What was done before this moment.
changed_at < :until
