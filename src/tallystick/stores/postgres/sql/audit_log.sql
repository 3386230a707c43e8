-- name: list_audit_log
-- Return up to $2 rows of the audit from offset $3 on, newest first, each with the number of all; that number alone when
-- the page is empty. {filters} are conditions on a row; $1 are the kinds that this release knows.
SELECT
    counted.total_count,
    found.audit_id, found.changed_at, found.key_hash, found.user_id, found.changed_by, found.action, found.kind,
    found.object_id, found.before, found.after
FROM (SELECT count(*) AS total_count FROM audit_log WHERE kind = ANY($1::text[]) AND {filters}) AS counted
LEFT JOIN (
    SELECT
        revision, audit_id, changed_at, key_hash, user_id, changed_by, action, kind, object_id, before, after
    FROM (
        SELECT revision FROM audit_log WHERE kind = ANY($1::text[]) AND {filters} ORDER BY revision DESC
        LIMIT $2 OFFSET $3
    ) AS page
    JOIN audit_log USING (revision)
) AS found ON TRUE
ORDER BY found.revision DESC

-- name: audit_filter_none
-- All rows.
TRUE

-- name: audit_filter_audit_id
-- One row.
audit_id = {value}::uuid

-- name: audit_filter_kind
-- Changes of objects of one kind.
kind = {value}::text

-- name: audit_filter_object_id
-- Changes of objects with this id.
object_id = {value}::text

-- name: audit_filter_action
-- What was done.
action = {value}::text

-- name: audit_filter_changed_by
-- By whom: the caller's user, or whom the caller named.
(user_id = {value}::text OR changed_by = {value}::text)

-- name: audit_filter_key_hash
-- By which key.
key_hash = {value}::text

-- name: audit_filter_since
-- What was done at this moment or later.
changed_at >= {value}::timestamptz

-- name: audit_filter_until
-- What was done before this moment.
changed_at < {value}::timestamptz
