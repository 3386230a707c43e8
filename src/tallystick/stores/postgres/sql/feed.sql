-- name: commits_from
-- Return up to $3 commits that have numbers behind the cursor ($1 position, $2 number), in their order.
SELECT position, last_seq, first_time, last_time
FROM commits
WHERE position >= $1 AND NOT (position = $1 AND last_seq <= $2)
ORDER BY position
LIMIT $3

-- name: events_of_commits
-- Return up to $4 events behind the cursor ($1, $2) of the commits up to position $3, in feed order. Each commit is
-- looked up by its numbers in the partitions of its own days; $5 and $6 bound the days of all of them, so that the
-- planner need not look at every partition that there is. {filters} are conditions on an event.
SELECT
    event.event_time, event.event_id, event.seq, event.producer_no, event.cache_hit, event.ended_at, event.first_token_at,
    event.cost_nano_usd, event.input_tokens, event.output_tokens, event.cache_read_tokens, event.cache_write_tokens,
    event.reasoning_tokens, event.call_type, event.endpoint, event.status, event.error_code, event.error_class,
    event.error_message, event.key_hash, event.key_alias, event.user_id, event.team_id, event.organization_id,
    event.end_user_id, event.session_id, event.model_group, event.model, event.deployment_id, event.provider,
    event.api_base, event.tool, event.usage_source, event.cost_status, event.price_version,
    event.provider_response_id, event.requester_ip, event.user_agent, event.body_ref, event.tags, event.attempts,
    event.cost_breakdown, event.metadata, event.usage_other,
    page.position, page.producer_id
FROM (
    SELECT
        position, producers.producer_id, producers.producer_no, last_seq, first_time, last_time,
        CASE WHEN position = $1 THEN greatest(first_seq, $2 + 1) ELSE first_seq END AS start_seq
    FROM commits
    JOIN producers USING (producer_no)
    WHERE position BETWEEN $1 AND $3
    ORDER BY position
) AS page
CROSS JOIN LATERAL (
    SELECT
        event.event_time, event.event_id, event.seq, event.producer_no, event.cache_hit, event.ended_at, event.first_token_at,
        event.cost_nano_usd, event.input_tokens, event.output_tokens, event.cache_read_tokens, event.cache_write_tokens,
        event.reasoning_tokens, event.call_type, event.endpoint, event.status, event.error_code, event.error_class,
        event.error_message, event.key_hash, event.key_alias, event.user_id, event.team_id, event.organization_id,
        event.end_user_id, event.session_id, event.model_group, event.model, event.deployment_id, event.provider,
        event.api_base, event.tool, event.usage_source, event.cost_status, event.price_version,
        event.provider_response_id, event.requester_ip, event.user_agent, event.body_ref, event.tags, event.attempts,
        event.cost_breakdown, event.metadata, event.usage_other
    FROM spend_events AS event
    WHERE event.producer_no = page.producer_no
        AND event.seq BETWEEN page.start_seq AND page.last_seq
        AND event.event_time BETWEEN page.first_time AND page.last_time
        AND event.event_time BETWEEN $5 AND $6
        AND ({filters})
    ORDER BY event.seq
    LIMIT $4
) AS event
ORDER BY page.position, event.seq
LIMIT $4

-- name: latest_events
-- Return up to $1 events behind the first $2, newest first. {filters} are conditions on an event.
SELECT
    event.event_time, event.event_id, event.seq, event.producer_no, event.cache_hit, event.ended_at, event.first_token_at,
    event.cost_nano_usd, event.input_tokens, event.output_tokens, event.cache_read_tokens, event.cache_write_tokens,
    event.reasoning_tokens, event.call_type, event.endpoint, event.status, event.error_code, event.error_class,
    event.error_message, event.key_hash, event.key_alias, event.user_id, event.team_id, event.organization_id,
    event.end_user_id, event.session_id, event.model_group, event.model, event.deployment_id, event.provider,
    event.api_base, event.tool, event.usage_source, event.cost_status, event.price_version,
    event.provider_response_id, event.requester_ip, event.user_agent, event.body_ref, event.tags, event.attempts,
    event.cost_breakdown, event.metadata, event.usage_other,
    place.position, place.producer_id
FROM (
    SELECT
        event.event_time, event.event_id, event.seq, event.producer_no, event.cache_hit, event.ended_at, event.first_token_at,
        event.cost_nano_usd, event.input_tokens, event.output_tokens, event.cache_read_tokens, event.cache_write_tokens,
        event.reasoning_tokens, event.call_type, event.endpoint, event.status, event.error_code, event.error_class,
        event.error_message, event.key_hash, event.key_alias, event.user_id, event.team_id, event.organization_id,
        event.end_user_id, event.session_id, event.model_group, event.model, event.deployment_id, event.provider,
        event.api_base, event.tool, event.usage_source, event.cost_status, event.price_version,
        event.provider_response_id, event.requester_ip, event.user_agent, event.body_ref, event.tags, event.attempts,
        event.cost_breakdown, event.metadata, event.usage_other
    FROM spend_events AS event
    WHERE {filters}
    ORDER BY event.event_time DESC, event.event_id DESC
    LIMIT $1 OFFSET $2
) AS event
CROSS JOIN LATERAL (
    SELECT commits.position, producers.producer_id
    FROM commits
    JOIN producers USING (producer_no)
    WHERE commits.producer_no = event.producer_no AND commits.first_seq <= event.seq
    ORDER BY commits.first_seq DESC
    LIMIT 1
) AS place
ORDER BY event.event_time DESC, event.event_id DESC

-- name: count_events
-- Count events up to $1. {filters} are conditions on an event.
SELECT count(*)
FROM (SELECT 1 FROM spend_events AS event WHERE {filters} LIMIT $1) AS counted

-- name: filter_none
-- Show every event.
TRUE

-- name: filter_event_id
-- Show one event, by its id.
event.event_id = {value}::uuid

-- name: filter_event_time
-- Show what started at this moment: an event id tells it, and it leads to the partition and its index.
event.event_time = {value}::timestamptz

-- name: filter_key_hash
-- Show one key's events.
event.key_hash = {value}::text

-- name: filter_user_id
-- Show one user's events.
event.user_id = {value}::text

-- name: filter_team_id
-- Show one team's events.
event.team_id = {value}::text

-- name: filter_end_user_id
-- Show one end user's events.
event.end_user_id = {value}::text

-- name: filter_session_id
-- Show one session's events.
event.session_id = {value}::text

-- name: filter_model
-- Show what asked for this model group or was answered by this model.
(event.model_group = {value}::text OR event.model = {value}::text)

-- name: filter_is_success
-- Show what succeeded, or what did not.
(event.status = 'success') = {value}::boolean

-- name: filter_cost_at_least
-- Show what cost so much or more.
event.cost_nano_usd >= {value}::bigint

-- name: filter_cost_at_most
-- Show what cost so much or less.
event.cost_nano_usd <= {value}::bigint

-- name: filter_provider_response_id
-- Show the events of one answer of a provider. The second condition lets the partial index serve.
event.provider_response_id = {value}::text AND event.provider_response_id <> ''

-- name: filter_since
-- Show what started at this moment or later.
event.event_time >= {value}::timestamptz

-- name: filter_until
-- Show what started before this moment.
event.event_time < {value}::timestamptz
