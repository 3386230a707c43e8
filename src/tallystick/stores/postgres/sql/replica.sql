-- name: wal_position
-- Return up to where everything that was committed is written here, as text; on a standby, up to where it is replayed.
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text

-- name: has_replayed
-- Tell whether a standby has replayed everything up to a position; null for a server that is no standby.
SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false) END
