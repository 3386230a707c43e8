-- name: applied_migrations_exist
-- Return a row when the table of applied migrations exists.
SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations';

-- name: create_migrations_table
-- Make the table of applied migrations.
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;

-- name: applied_migrations
-- Return what was applied.
SELECT version, name, checksum FROM schema_migrations ORDER BY version;

-- name: record_migration
-- Record that a migration was applied.
INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?);

-- name: set_wal
-- Keep changes in a write-ahead log, so that readers and the writer do not wait for each other.
PRAGMA journal_mode = WAL;

-- name: set_writer
-- Sync the log at every commit; check references.
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA cache_size = -32000;

-- name: set_reader
-- Refuse writes.
PRAGMA query_only = ON;

-- name: begin_write
-- Begin a transaction that holds the write lock from its first moment.
BEGIN IMMEDIATE;

-- name: begin_read
-- Begin a transaction that reads one snapshot.
BEGIN DEFERRED;

-- name: commit
-- End the transaction.
COMMIT;

-- name: rollback
-- Undo the transaction.
ROLLBACK;

-- name: ping
-- Read the file.
SELECT count(*) FROM sqlite_schema;

-- name: current_time
-- Return the time in microseconds since 1970.
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000;
