-- name: beat_instance
-- Note what an instance says of itself.
INSERT INTO instances (
  instance_id, host, pid, version, started_at, seen_at, revision, producer_id, events_pending, journal_bytes, is_leader
)
VALUES (
  :instance_id, :host, :pid, :version, :started_at, :now, :revision, :producer_id, :events_pending, :journal_bytes,
  :is_leader
)
ON CONFLICT (instance_id) DO UPDATE SET
  seen_at = excluded.seen_at,
  revision = excluded.revision,
  producer_id = excluded.producer_id,
  events_pending = excluded.events_pending,
  journal_bytes = excluded.journal_bytes,
  is_leader = excluded.is_leader

-- name: forget_instances
-- Delete those that were not heard of since then.
DELETE FROM instances WHERE seen_at < :since

-- name: leave_instance
-- Delete one.
DELETE FROM instances WHERE instance_id = :instance_id

-- name: seen_instances
-- Return those heard of last first, and when.
SELECT
  instance_id, host, pid, version, started_at, revision, producer_id, events_pending, journal_bytes, is_leader, seen_at
FROM instances
ORDER BY seen_at DESC, instance_id
LIMIT :limit
