-- Ids and names are compared as bytes (COLLATE "C"): it is exact, the same on every machine, several times faster than
-- a language's collation, and the order in which Python sorts the keys of a batch.

CREATE TABLE producers (
    producer_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    producer_id text COLLATE "C" NOT NULL UNIQUE,
    watermark bigint NOT NULL DEFAULT 0 CHECK (watermark >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One row. A commit updates it last, and so holds it until it ends: positions are given in the order of commits,
-- without holes, and a reader never sees one appear below a position that it has seen.
CREATE TABLE ledger_head (
    id integer PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO ledger_head (id, position) VALUES (1, 0);

-- One row for each commit. The times are the least and the greatest start of its events, so that a reader of the feed
-- looks only into the partitions of those days; NULL when the commit had nothing but dead letters.
CREATE TABLE commits (
    position bigint PRIMARY KEY,
    producer_no integer NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    events integer NOT NULL,
    dead_letters integer NOT NULL,
    cost_nano_usd bigint NOT NULL,
    first_time timestamptz,
    last_time timestamptz,
    committed_at timestamptz NOT NULL,
    CHECK (events + dead_letters = last_seq - first_seq + 1)
);
-- The watermark makes a second commit of the same numbers impossible; this catches what slips.
CREATE UNIQUE INDEX commits_by_producer ON commits (producer_no, first_seq);

CREATE TABLE spend_events (
    event_time timestamptz NOT NULL,
    event_id uuid NOT NULL,
    seq bigint NOT NULL,
    producer_no integer NOT NULL,
    cache_hit boolean NOT NULL,
    ended_at timestamptz NOT NULL,
    first_token_at timestamptz,
    cost_nano_usd bigint NOT NULL,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    call_type text COLLATE "C" NOT NULL DEFAULT '',
    endpoint text COLLATE "C" NOT NULL DEFAULT '',
    status text COLLATE "C" NOT NULL DEFAULT '',
    error_code text NOT NULL DEFAULT '',
    error_class text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    key_hash text COLLATE "C" NOT NULL DEFAULT '',
    key_alias text COLLATE "C" NOT NULL DEFAULT '',
    user_id text COLLATE "C" NOT NULL DEFAULT '',
    team_id text COLLATE "C" NOT NULL DEFAULT '',
    organization_id text COLLATE "C" NOT NULL DEFAULT '',
    end_user_id text COLLATE "C" NOT NULL DEFAULT '',
    session_id text COLLATE "C" NOT NULL DEFAULT '',
    model_group text COLLATE "C" NOT NULL DEFAULT '',
    model text COLLATE "C" NOT NULL DEFAULT '',
    deployment_id text COLLATE "C" NOT NULL DEFAULT '',
    provider text COLLATE "C" NOT NULL DEFAULT '',
    api_base text NOT NULL DEFAULT '',
    tool text COLLATE "C" NOT NULL DEFAULT '',
    usage_source text COLLATE "C" NOT NULL DEFAULT '',
    cost_status text COLLATE "C" NOT NULL DEFAULT '',
    price_version text NOT NULL DEFAULT '',
    provider_response_id text COLLATE "C" NOT NULL DEFAULT '',
    requester_ip text NOT NULL DEFAULT '',
    user_agent text NOT NULL DEFAULT '',
    body_ref text NOT NULL DEFAULT '',
    tags text[] COLLATE "C" NOT NULL DEFAULT '{}',
    attempts jsonb,
    cost_breakdown jsonb,
    metadata jsonb,
    usage_other jsonb
) PARTITION BY RANGE (event_time);
CREATE UNIQUE INDEX spend_events_by_id ON spend_events (event_time, event_id);
CREATE INDEX spend_events_by_number ON spend_events (producer_no, seq);
CREATE INDEX spend_events_by_key ON spend_events (key_hash, event_time);
CREATE INDEX spend_events_by_answer ON spend_events (provider_response_id) WHERE provider_response_id <> '';
-- Days get their partition before their first event is written; this one stays empty.
CREATE TABLE spend_events_default PARTITION OF spend_events DEFAULT;

CREATE TABLE dead_letters (
    producer_no integer NOT NULL,
    seq bigint NOT NULL,
    event_id text NOT NULL,
    reason text NOT NULL,
    cost_nano_usd bigint NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (producer_no, seq)
);

-- The sums are updated all the time. Half of each page stays free and no index has a counter in it, so that the new
-- version of a row fits beside the old one and no index changes (a heap-only tuple).
CREATE TABLE daily_spend (
    requests bigint NOT NULL,
    successful_requests bigint NOT NULL,
    failed_requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    day date NOT NULL,
    key_hash text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    model_group text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    tool text COLLATE "C" NOT NULL,
    PRIMARY KEY (day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool)
) WITH (fillfactor = 50);

CREATE TABLE daily_entity_spend (
    requests bigint NOT NULL,
    successful_requests bigint NOT NULL,
    failed_requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    day date NOT NULL,
    entity_type text COLLATE "C" NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    model_group text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    PRIMARY KEY (entity_type, entity_id, day, model_group, model, provider, endpoint)
) WITH (fillfactor = 70);

CREATE TABLE totals (
    requests bigint NOT NULL,
    successful_requests bigint NOT NULL,
    failed_requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    entity_type text COLLATE "C" NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (entity_type, entity_id, member_id)
) WITH (fillfactor = 50);

-- What the sums must be, from the events alone: the other side of `ledger.batch.fold`, for audit and repair.
CREATE VIEW expected_daily_spend AS
SELECT
    (event_time AT TIME ZONE 'UTC')::date AS day, key_hash, user_id, team_id, organization_id, model_group, model,
    provider, endpoint, tool,
    count(*) AS requests,
    count(*) FILTER (WHERE status = 'success') AS successful_requests,
    count(*) FILTER (WHERE status <> 'success') AS failed_requests,
    coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
    coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd
FROM spend_events
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;

CREATE VIEW expected_daily_entity_spend AS
SELECT
    (event.event_time AT TIME ZONE 'UTC')::date AS day, entity.entity_type, entity.entity_id,
    event.model_group, event.model, event.provider, event.endpoint,
    count(*) AS requests,
    count(*) FILTER (WHERE event.status = 'success') AS successful_requests,
    count(*) FILTER (WHERE event.status <> 'success') AS failed_requests,
    coalesce(sum(event.input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(event.output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(event.cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(event.cache_write_tokens), 0)::bigint AS cache_write_tokens,
    coalesce(sum(event.reasoning_tokens), 0)::bigint AS reasoning_tokens,
    sum(event.cost_nano_usd)::bigint AS cost_nano_usd
FROM spend_events AS event
CROSS JOIN LATERAL (
    SELECT 'end_user' COLLATE "C" AS entity_type, event.end_user_id AS entity_id WHERE event.end_user_id <> ''
    UNION ALL
    SELECT DISTINCT 'tag' COLLATE "C", tag COLLATE "C" FROM unnest(event.tags) AS tag
) AS entity
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE VIEW expected_totals AS
WITH cube AS MATERIALIZED (
    SELECT
        key_hash, user_id, team_id, organization_id, model_group, model, provider,
        sum(requests) AS requests, sum(successful_requests) AS successful_requests,
        sum(failed_requests) AS failed_requests, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_tokens) AS cache_write_tokens, sum(reasoning_tokens) AS reasoning_tokens,
        sum(cost_nano_usd) AS cost_nano_usd
    FROM expected_daily_spend
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
part AS (
    SELECT
        entity.entity_type, entity.entity_id, entity.member_id,
        cube.requests, cube.successful_requests, cube.failed_requests, cube.input_tokens, cube.output_tokens,
        cube.cache_read_tokens, cube.cache_write_tokens, cube.reasoning_tokens, cube.cost_nano_usd
    FROM cube
    CROSS JOIN LATERAL (
        VALUES
            ('global', '', ''),
            ('key', cube.key_hash, ''),
            ('user', cube.user_id, ''),
            ('team', cube.team_id, ''),
            ('organization', cube.organization_id, ''),
            ('model_group', cube.model_group, ''),
            ('model', cube.model, ''),
            ('provider', cube.provider, ''),
            ('team_member', CASE WHEN cube.user_id = '' THEN '' ELSE cube.team_id END, cube.user_id)
    ) AS entity (entity_type, entity_id, member_id)
    WHERE entity.entity_type = 'global' OR entity.entity_id <> ''
    UNION ALL
    SELECT
        entity_type, entity_id, '',
        requests, successful_requests, failed_requests, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
    FROM expected_daily_entity_spend
)
SELECT
    entity_type COLLATE "C" AS entity_type, entity_id COLLATE "C" AS entity_id, member_id COLLATE "C" AS member_id,
    sum(requests)::bigint AS requests, sum(successful_requests)::bigint AS successful_requests,
    sum(failed_requests)::bigint AS failed_requests, sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd
FROM part
GROUP BY 1, 2, 3;

CREATE TABLE virtual_keys (
    key_hash text COLLATE "C" PRIMARY KEY,
    key_name text NOT NULL,
    key_alias text COLLATE "C" NOT NULL DEFAULT '',
    user_id text COLLATE "C" NOT NULL DEFAULT '',
    team_id text COLLATE "C" NOT NULL DEFAULT '',
    organization_id text COLLATE "C" NOT NULL DEFAULT '',
    models text[] NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    blocked boolean NOT NULL DEFAULT false,
    expires_at timestamptz,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Deleted keys stay, because events of the past name them.
    deleted_at timestamptz
);
CREATE UNIQUE INDEX virtual_keys_by_alias ON virtual_keys (key_alias) WHERE key_alias <> '' AND deleted_at IS NULL;
CREATE INDEX virtual_keys_by_age ON virtual_keys (created_at DESC, key_hash) WHERE deleted_at IS NULL;
CREATE INDEX virtual_keys_by_user ON virtual_keys (user_id) WHERE user_id <> '' AND deleted_at IS NULL;
CREATE INDEX virtual_keys_by_team ON virtual_keys (team_id) WHERE team_id <> '' AND deleted_at IS NULL;

-- The counterpart of ledger_head for changes of control objects: a writer updates it last, so revisions are given in
-- the order of commits and none appears late.
CREATE TABLE change_feed_head (
    id integer PRIMARY KEY CHECK (id = 1),
    revision bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO change_feed_head (id, revision) VALUES (1, 0);

CREATE TABLE change_feed (
    revision bigint PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    object_id text COLLATE "C" NOT NULL,
    changed_at timestamptz NOT NULL
);
