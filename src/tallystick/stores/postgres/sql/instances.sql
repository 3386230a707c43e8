-- name: beat_instance
-- Note what an instance says of itself, at the server's time.
INSERT INTO instances (
    instance_id, host, pid, version, started_at, seen_at, revision, producer_id, events_pending, journal_bytes,
    is_leader
)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6, $7, $8, $9, $10)
ON CONFLICT (instance_id) DO UPDATE SET
    seen_at = excluded.seen_at,
    revision = excluded.revision,
    producer_id = excluded.producer_id,
    events_pending = excluded.events_pending,
    journal_bytes = excluded.journal_bytes,
    is_leader = excluded.is_leader

-- name: forget_instances
-- Delete those that were not heard of for so long. Rows that others are at are left to them.
DELETE FROM instances
WHERE instance_id IN (
    SELECT instance_id
    FROM instances
    WHERE seen_at < clock_timestamp() - $1::interval
    ORDER BY instance_id
    FOR UPDATE SKIP LOCKED
)

-- name: leave_instance
-- Delete one.
DELETE FROM instances WHERE instance_id = $1

-- name: seen_instances
-- Return those heard of last first, and the seconds since then.
SELECT
    instance_id, host, pid, version, started_at, revision, producer_id, events_pending, journal_bytes, is_leader,
    extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_seconds
FROM instances
ORDER BY seen_at DESC, instance_id
LIMIT $1
