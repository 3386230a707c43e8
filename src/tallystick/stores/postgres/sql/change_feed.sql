-- name: finish_changes
-- Number $1 changes, and write feed, audit ($2 changed at, $3 key hash, $4 user, $5 changed by) and revisions; wake up
-- who listens; return the newest number. The last statement of its transaction: the lock on the head, which all writers
-- share, is held for the shortest time, and numbers are given in the order of commits.
WITH head AS (
    UPDATE change_feed_head SET revision = revision + $1 WHERE id = 1
    RETURNING revision, revision - $1 AS revision_before
),
changed AS (
    SELECT head.revision_before + place AS revision, object_no, kind, object_id, audit_id, action, before, after
    FROM head
    CROSS JOIN unnest($6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
        WITH ORDINALITY AS change (object_no, kind, object_id, audit_id, action, before, after, place)
),
fed AS (
    INSERT INTO change_feed (revision, kind, object_id, changed_at)
    SELECT revision, kind, object_id, $2 FROM changed
),
audited AS (
    INSERT INTO audit_log (
        revision, audit_id, changed_at, key_hash, user_id, changed_by, action, kind, object_id, before, after
    )
    SELECT revision, audit_id::uuid, $2, $3, $4, $5, action, kind, object_id, before::json, after::json FROM changed
),
numbered AS (
    UPDATE control_objects SET revision = changed.revision FROM changed
    WHERE control_objects.object_no = changed.object_no
)
SELECT head.revision, pg_notify('tallystick_changes', head.revision::text) FROM head

-- name: newest_revision
-- Return the newest revision of the change feed.
SELECT revision FROM change_feed_head WHERE id = 1

-- name: changes_after
-- Return up to $2 changes of the kinds $3 above revision $1, in order.
SELECT revision, kind, object_id FROM change_feed
WHERE revision > $1 AND kind = ANY($3::text[])
ORDER BY revision
LIMIT $2
