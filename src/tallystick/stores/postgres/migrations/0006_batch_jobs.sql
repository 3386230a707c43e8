-- Files that upstreams keep for callers, and batches of calls that upstreams work off. Accounts there are shared, so
-- that only these rows say what is whose.
CREATE TABLE kept_files (
    file_no text COLLATE "C" PRIMARY KEY,
    deployment_id text COLLATE "C" NOT NULL,
    upstream_id text COLLATE "C" NOT NULL,
    key_hash text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    purpose text NOT NULL,
    held text NOT NULL,
    answer text NOT NULL
);
CREATE UNIQUE INDEX kept_files_by_upstream ON kept_files (deployment_id, upstream_id);
CREATE INDEX kept_files_by_key ON kept_files (key_hash, file_no);
CREATE INDEX kept_files_by_user ON kept_files (user_id, file_no) WHERE user_id <> '';
CREATE INDEX kept_files_by_team ON kept_files (team_id, file_no) WHERE team_id <> '';

-- A job is open until the ledger holds the event whose id stands here, which is given before the event is written.
CREATE TABLE batch_jobs (
    job_id text COLLATE "C" PRIMARY KEY,
    state text COLLATE "C" NOT NULL,
    deployment_id text COLLATE "C" NOT NULL,
    upstream_id text COLLATE "C" NOT NULL DEFAULT '',
    key_hash text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    made_at timestamptz NOT NULL,
    next_look_at timestamptz NOT NULL,
    looks integer NOT NULL DEFAULT 0,
    event_id text COLLATE "C" NOT NULL DEFAULT '',
    event_time timestamptz,
    template text NOT NULL,
    answer text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX batch_jobs_by_upstream ON batch_jobs (deployment_id, upstream_id) WHERE upstream_id <> '';
CREATE INDEX batch_jobs_by_look ON batch_jobs (next_look_at) WHERE state IN ('creating', 'open');
CREATE INDEX batch_jobs_by_key ON batch_jobs (key_hash, job_id);
CREATE INDEX batch_jobs_by_user ON batch_jobs (user_id, job_id) WHERE user_id <> '';
CREATE INDEX batch_jobs_by_team ON batch_jobs (team_id, job_id) WHERE team_id <> '';
