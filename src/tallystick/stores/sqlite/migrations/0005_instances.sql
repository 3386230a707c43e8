-- Who serves on this database: one row for each worker process, written anew every few seconds by itself, with what it
-- has got to. Nothing depends on it; it is shown to people.
CREATE TABLE instances (
  instance_id TEXT NOT NULL PRIMARY KEY,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  version TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  revision INTEGER,
  producer_id TEXT NOT NULL,
  events_pending INTEGER NOT NULL,
  journal_bytes INTEGER NOT NULL,
  is_leader INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
