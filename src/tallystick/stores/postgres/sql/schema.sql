-- name: applied_migrations_exist
-- Return whether this database has ever been migrated.
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: applied_migrations
-- Return what was applied, in order.
SELECT version, name, checksum FROM schema_migrations ORDER BY version

-- name: lock_migrations
-- Wait until no other migration runs; held to the end of the transaction. The number is 'tally' in hex.
SELECT pg_advisory_xact_lock(500236839033)

-- name: create_migrations_table
-- Make the table of applied migrations on first sight.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL
)

-- name: record_migration
-- Note an applied migration, in the transaction that applied it.
INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)

-- name: ping
-- Prove that the database answers.
SELECT 1
