-- Files that upstreams keep for callers, and batches of calls that upstreams work off. Accounts there are shared, so
-- that only these rows say what is whose.
CREATE TABLE kept_files (
  file_no TEXT NOT NULL PRIMARY KEY,
  deployment_id TEXT NOT NULL,
  upstream_id TEXT NOT NULL,
  key_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  purpose TEXT NOT NULL,
  held TEXT NOT NULL,
  answer TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_files_by_upstream ON kept_files (deployment_id, upstream_id);
CREATE INDEX kept_files_by_key ON kept_files (key_hash, file_no);
CREATE INDEX kept_files_by_user ON kept_files (user_id, file_no) WHERE user_id <> '';
CREATE INDEX kept_files_by_team ON kept_files (team_id, file_no) WHERE team_id <> '';

-- A job is open until the ledger holds the event whose id stands here, which is given before the event is written.
CREATE TABLE batch_jobs (
  job_id TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL,
  deployment_id TEXT NOT NULL,
  upstream_id TEXT NOT NULL DEFAULT '',
  key_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  made_at INTEGER NOT NULL,
  next_look_at INTEGER NOT NULL,
  looks INTEGER NOT NULL DEFAULT 0,
  event_id TEXT NOT NULL DEFAULT '',
  event_time INTEGER,
  template TEXT NOT NULL,
  answer TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX batch_jobs_by_upstream ON batch_jobs (deployment_id, upstream_id) WHERE upstream_id <> '';
CREATE INDEX batch_jobs_by_look ON batch_jobs (next_look_at) WHERE state IN ('creating', 'open');
CREATE INDEX batch_jobs_by_key ON batch_jobs (key_hash, job_id);
CREATE INDEX batch_jobs_by_user ON batch_jobs (user_id, job_id) WHERE user_id <> '';
CREATE INDEX batch_jobs_by_team ON batch_jobs (team_id, job_id) WHERE team_id <> '';
