-- Who serves on this database: one row for each worker process, written anew every few seconds by itself, with what it
-- has got to. Nothing depends on it; it is shown to people. Half of each page stays free, and no index has a column that
-- changes (heap-only tuples).
CREATE TABLE instances (
    instance_id text COLLATE "C" PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    revision bigint,
    producer_id text NOT NULL,
    events_pending bigint NOT NULL,
    journal_bytes bigint NOT NULL,
    is_leader boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
