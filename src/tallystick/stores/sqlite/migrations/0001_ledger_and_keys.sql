-- Times are microseconds since 1970, UTC; days are 'YYYY-MM-DD'; money is nano-USD. Text that does not apply is ''.

CREATE TABLE producers (
  producer_no INTEGER PRIMARY KEY,
  producer_id TEXT NOT NULL UNIQUE,
  watermark INTEGER NOT NULL CHECK (watermark >= 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

-- One row: the place of the newest commit. Commits are numbered without a hole, in the order in which they happen.
CREATE TABLE ledger_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  position INTEGER NOT NULL
) STRICT;
INSERT INTO ledger_head (id, position) VALUES (1, 0);

CREATE TABLE commits (
  position INTEGER PRIMARY KEY,
  producer_no INTEGER NOT NULL REFERENCES producers (producer_no),
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  events INTEGER NOT NULL,
  dead_letters INTEGER NOT NULL,
  cost_nano_usd INTEGER NOT NULL,
  first_time INTEGER,
  last_time INTEGER,
  committed_at INTEGER NOT NULL,
  CHECK (events + dead_letters = last_seq - first_seq + 1)
) STRICT;
CREATE UNIQUE INDEX commits_by_number ON commits (producer_no, first_seq);

CREATE TABLE spend_events (
  event_time INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  producer_no INTEGER NOT NULL REFERENCES producers (producer_no),
  seq INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  first_token_at INTEGER,
  input_tokens INTEGER,
  output_tokens INTEGER,
  cache_read_tokens INTEGER,
  cache_write_tokens INTEGER,
  reasoning_tokens INTEGER,
  cost_nano_usd INTEGER NOT NULL,
  cache_hit INTEGER NOT NULL,
  call_type TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  error_code TEXT NOT NULL DEFAULT '',
  error_class TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  key_hash TEXT NOT NULL DEFAULT '',
  key_alias TEXT NOT NULL DEFAULT '',
  user_id TEXT NOT NULL DEFAULT '',
  team_id TEXT NOT NULL DEFAULT '',
  organization_id TEXT NOT NULL DEFAULT '',
  end_user_id TEXT NOT NULL DEFAULT '',
  session_id TEXT NOT NULL DEFAULT '',
  model_group TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '',
  deployment_id TEXT NOT NULL DEFAULT '',
  provider TEXT NOT NULL DEFAULT '',
  api_base TEXT NOT NULL DEFAULT '',
  tool TEXT NOT NULL DEFAULT '',
  usage_source TEXT NOT NULL,
  cost_status TEXT NOT NULL,
  price_version TEXT NOT NULL DEFAULT '',
  provider_response_id TEXT NOT NULL DEFAULT '',
  requester_ip TEXT NOT NULL DEFAULT '',
  user_agent TEXT NOT NULL DEFAULT '',
  body_ref TEXT NOT NULL DEFAULT '',
  tags TEXT,
  attempts TEXT,
  usage_other TEXT,
  cost_breakdown TEXT,
  metadata TEXT
) STRICT;
CREATE UNIQUE INDEX spend_events_by_id ON spend_events (event_time, event_id);
CREATE UNIQUE INDEX spend_events_by_number ON spend_events (producer_no, seq);
CREATE INDEX spend_events_by_key ON spend_events (key_hash, event_time);
CREATE INDEX spend_events_by_answer ON spend_events (provider_response_id) WHERE provider_response_id <> '';

CREATE TABLE dead_letters (
  producer_no INTEGER NOT NULL REFERENCES producers (producer_no),
  seq INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  cost_nano_usd INTEGER NOT NULL,
  payload BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (producer_no, seq)
) STRICT;

CREATE TABLE daily_spend (
  day TEXT NOT NULL,
  key_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  organization_id TEXT NOT NULL,
  model_group TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  tool TEXT NOT NULL,
  requests INTEGER NOT NULL,
  successful_requests INTEGER NOT NULL,
  failed_requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost_nano_usd INTEGER NOT NULL,
  PRIMARY KEY (
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
  )
) STRICT, WITHOUT ROWID;

-- End users and tags multiply, so they have rows of their own beside the cube.
CREATE TABLE daily_entity_spend (
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  day TEXT NOT NULL,
  model_group TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  requests INTEGER NOT NULL,
  successful_requests INTEGER NOT NULL,
  failed_requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost_nano_usd INTEGER NOT NULL,
  PRIMARY KEY (entity_type, entity_id, day, model_group, model, provider, endpoint)
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  member_id TEXT NOT NULL,
  requests INTEGER NOT NULL,
  successful_requests INTEGER NOT NULL,
  failed_requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost_nano_usd INTEGER NOT NULL,
  PRIMARY KEY (entity_type, entity_id, member_id)
) STRICT, WITHOUT ROWID;

-- Deleted keys keep their row, so that history still has names.
CREATE TABLE virtual_keys (
  key_hash TEXT PRIMARY KEY,
  key_name TEXT NOT NULL,
  key_alias TEXT NOT NULL DEFAULT '',
  user_id TEXT NOT NULL DEFAULT '',
  team_id TEXT NOT NULL DEFAULT '',
  organization_id TEXT NOT NULL DEFAULT '',
  models TEXT NOT NULL DEFAULT '[]',
  tags TEXT NOT NULL DEFAULT '[]',
  metadata TEXT NOT NULL DEFAULT '{}',
  blocked INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_by TEXT NOT NULL DEFAULT '',
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX virtual_keys_by_alias ON virtual_keys (key_alias) WHERE key_alias <> '' AND deleted_at IS NULL;
CREATE INDEX virtual_keys_by_age ON virtual_keys (created_at, key_hash) WHERE deleted_at IS NULL;

CREATE TABLE change_feed (
  revision INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;

-- What the sums have to be, from the events alone: what `verify` compares with and what `verify --repair` restores.
CREATE VIEW expected_daily_spend AS
SELECT
  date(event_time / 1000000, 'unixepoch') AS day,
  key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool,
  count(*) AS requests,
  sum(status = 'success') AS successful_requests,
  sum(status <> 'success') AS failed_requests,
  coalesce(sum(input_tokens), 0) AS input_tokens,
  coalesce(sum(output_tokens), 0) AS output_tokens,
  coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
  coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens,
  coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
  sum(cost_nano_usd) AS cost_nano_usd
FROM spend_events
GROUP BY date(event_time / 1000000, 'unixepoch'),
  key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool;

CREATE VIEW expected_daily_entity_spend AS
WITH named AS (
  SELECT
    'end_user' AS entity_type, end_user_id AS entity_id, event_time, model_group, model, provider, endpoint, status,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM spend_events
  WHERE end_user_id <> ''
  UNION ALL
  SELECT
    'tag', tag.value, event_time, model_group, model, provider, endpoint, status,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM spend_events
  JOIN (SELECT DISTINCT e.rowid AS event_row, t.value FROM spend_events AS e, json_each(e.tags) AS t) AS tag
    ON tag.event_row = spend_events.rowid
)
SELECT
  entity_type, entity_id, date(event_time / 1000000, 'unixepoch') AS day, model_group, model, provider, endpoint,
  count(*) AS requests,
  sum(status = 'success') AS successful_requests,
  sum(status <> 'success') AS failed_requests,
  coalesce(sum(input_tokens), 0) AS input_tokens,
  coalesce(sum(output_tokens), 0) AS output_tokens,
  coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
  coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens,
  coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
  sum(cost_nano_usd) AS cost_nano_usd
FROM named
GROUP BY entity_type, entity_id, date(event_time / 1000000, 'unixepoch'), model_group, model, provider, endpoint;

CREATE VIEW expected_totals AS
WITH cube AS MATERIALIZED (
  SELECT
    key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint,
    sum(requests) AS requests, sum(successful_requests) AS successful_requests, sum(failed_requests) AS
    failed_requests, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens,
    sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd
  FROM expected_daily_spend
  GROUP BY key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint
),
named AS (
  SELECT
    'global' AS entity_type, '' AS entity_id, '' AS member_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  UNION ALL
  SELECT
    'key', key_hash, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE key_hash <> ''
  UNION ALL
  SELECT
    'user', user_id, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE user_id <> ''
  UNION ALL
  SELECT
    'team', team_id, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE team_id <> ''
  UNION ALL
  SELECT
    'organization', organization_id, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE organization_id <> ''
  UNION ALL
  SELECT
    'model_group', model_group, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE model_group <> ''
  UNION ALL
  SELECT
    'model', model, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE model <> ''
  UNION ALL
  SELECT
    'provider', provider, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE provider <> ''
  UNION ALL
  SELECT
    'team_member', team_id, user_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM cube
  WHERE team_id <> '' AND user_id <> ''
  UNION ALL
  SELECT
    entity_type, entity_id, '',
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
  FROM expected_daily_entity_spend
)
SELECT
  entity_type, entity_id, member_id,
  sum(requests) AS requests, sum(successful_requests) AS successful_requests, sum(failed_requests) AS
  failed_requests, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
  sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens,
  sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd
FROM named
GROUP BY entity_type, entity_id, member_id;
