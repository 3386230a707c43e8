-- name: events_after
-- Walk the commits in order from a cursor on, and the events of each in the order of their numbers.
SELECT
  p.producer_id,
  c.position,
  e.event_time, e.event_id, e.seq, e.ended_at, e.first_token_at, e.input_tokens, e.output_tokens,
  e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens, e.cost_nano_usd, e.cache_hit, e.call_type,
  e.endpoint, e.status, e.error_code, e.error_class, e.error_message, e.key_hash, e.key_alias, e.user_id,
  e.team_id, e.organization_id, e.end_user_id, e.session_id, e.model_group, e.model, e.deployment_id,
  e.provider, e.api_base, e.tool, e.usage_source, e.cost_status, e.price_version, e.provider_response_id,
  e.requester_ip, e.user_agent, e.body_ref, e.tags, e.attempts, e.usage_other, e.cost_breakdown, e.metadata
FROM commits AS c
CROSS JOIN spend_events AS e INDEXED BY spend_events_by_number
  ON e.producer_no = c.producer_no AND e.seq BETWEEN c.first_seq AND c.last_seq
CROSS JOIN producers AS p ON p.producer_no = c.producer_no
WHERE c.position >= :position
  AND (c.position > :position OR e.seq > :seq)
  AND e.event_time >= :since AND e.event_time < :until
  AND (:event_id IS NULL OR e.event_id = :event_id)
  AND (:key_hash IS NULL OR e.key_hash = :key_hash)
  AND (:user_id IS NULL OR e.user_id = :user_id)
  AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
  AND (:team_id IS NULL OR e.team_id = :team_id)
  AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
  AND (:session_id IS NULL OR e.session_id = :session_id)
  AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
  AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
  AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
  AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
ORDER BY c.position, e.seq
LIMIT :limit;

-- name: event_after
-- Return the one event with this id when it lies behind the cursor, without walking the commits.
SELECT
  p.producer_id,
  c.position,
  e.event_time, e.event_id, e.seq, e.ended_at, e.first_token_at, e.input_tokens, e.output_tokens,
  e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens, e.cost_nano_usd, e.cache_hit, e.call_type,
  e.endpoint, e.status, e.error_code, e.error_class, e.error_message, e.key_hash, e.key_alias, e.user_id,
  e.team_id, e.organization_id, e.end_user_id, e.session_id, e.model_group, e.model, e.deployment_id,
  e.provider, e.api_base, e.tool, e.usage_source, e.cost_status, e.price_version, e.provider_response_id,
  e.requester_ip, e.user_agent, e.body_ref, e.tags, e.attempts, e.usage_other, e.cost_breakdown, e.metadata
FROM spend_events AS e INDEXED BY spend_events_by_id
CROSS JOIN commits AS c ON c.position = (
    SELECT own.position FROM commits AS own
    WHERE own.producer_no = e.producer_no AND own.first_seq <= e.seq
    ORDER BY own.first_seq DESC
    LIMIT 1
  )
CROSS JOIN producers AS p ON p.producer_no = e.producer_no
WHERE (c.position > :position OR (c.position = :position AND e.seq > :seq))
  AND e.event_time >= :since AND e.event_time < :until
  AND (:event_id IS NULL OR e.event_id = :event_id)
  AND (:key_hash IS NULL OR e.key_hash = :key_hash)
  AND (:user_id IS NULL OR e.user_id = :user_id)
  AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
  AND (:team_id IS NULL OR e.team_id = :team_id)
  AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
  AND (:session_id IS NULL OR e.session_id = :session_id)
  AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
  AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
  AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
  AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
ORDER BY c.position, e.seq
LIMIT :limit;

-- name: events_by_time
-- Return events, newest first, from the index of times.
SELECT
  p.producer_id,
  (
    SELECT c.position FROM commits AS c
    WHERE c.producer_no = e.producer_no AND c.first_seq <= e.seq
    ORDER BY c.first_seq DESC
    LIMIT 1
  ) AS position,
  e.event_time, e.event_id, e.seq, e.ended_at, e.first_token_at, e.input_tokens, e.output_tokens,
  e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens, e.cost_nano_usd, e.cache_hit, e.call_type,
  e.endpoint, e.status, e.error_code, e.error_class, e.error_message, e.key_hash, e.key_alias, e.user_id,
  e.team_id, e.organization_id, e.end_user_id, e.session_id, e.model_group, e.model, e.deployment_id,
  e.provider, e.api_base, e.tool, e.usage_source, e.cost_status, e.price_version, e.provider_response_id,
  e.requester_ip, e.user_agent, e.body_ref, e.tags, e.attempts, e.usage_other, e.cost_breakdown, e.metadata
FROM spend_events AS e INDEXED BY spend_events_by_id
JOIN producers AS p ON p.producer_no = e.producer_no
WHERE e.event_time >= :since AND e.event_time < :until
  AND (:event_id IS NULL OR e.event_id = :event_id)
  AND (:key_hash IS NULL OR e.key_hash = :key_hash)
  AND (:user_id IS NULL OR e.user_id = :user_id)
  AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
  AND (:team_id IS NULL OR e.team_id = :team_id)
  AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
  AND (:session_id IS NULL OR e.session_id = :session_id)
  AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
  AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
  AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
  AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
ORDER BY e.event_time DESC, e.event_id DESC
LIMIT :limit OFFSET :offset;

-- name: events_of_key_by_time
-- Return the events of one key, newest first, from the index of keys.
SELECT
  p.producer_id,
  (
    SELECT c.position FROM commits AS c
    WHERE c.producer_no = e.producer_no AND c.first_seq <= e.seq
    ORDER BY c.first_seq DESC
    LIMIT 1
  ) AS position,
  e.event_time, e.event_id, e.seq, e.ended_at, e.first_token_at, e.input_tokens, e.output_tokens,
  e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens, e.cost_nano_usd, e.cache_hit, e.call_type,
  e.endpoint, e.status, e.error_code, e.error_class, e.error_message, e.key_hash, e.key_alias, e.user_id,
  e.team_id, e.organization_id, e.end_user_id, e.session_id, e.model_group, e.model, e.deployment_id,
  e.provider, e.api_base, e.tool, e.usage_source, e.cost_status, e.price_version, e.provider_response_id,
  e.requester_ip, e.user_agent, e.body_ref, e.tags, e.attempts, e.usage_other, e.cost_breakdown, e.metadata
FROM spend_events AS e INDEXED BY spend_events_by_key
JOIN producers AS p ON p.producer_no = e.producer_no
WHERE e.key_hash = :key_hash AND e.event_time >= :since AND e.event_time < :until
  AND (:event_id IS NULL OR e.event_id = :event_id)
  AND (:key_hash IS NULL OR e.key_hash = :key_hash)
  AND (:user_id IS NULL OR e.user_id = :user_id)
  AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
  AND (:team_id IS NULL OR e.team_id = :team_id)
  AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
  AND (:session_id IS NULL OR e.session_id = :session_id)
  AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
  AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
  AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
  AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
ORDER BY e.event_time DESC, e.event_id DESC
LIMIT :limit OFFSET :offset;

-- name: events_of_answer_by_time
-- Return the events of one answer of a provider, newest first, from the index of answers.
SELECT
  p.producer_id,
  (
    SELECT c.position FROM commits AS c
    WHERE c.producer_no = e.producer_no AND c.first_seq <= e.seq
    ORDER BY c.first_seq DESC
    LIMIT 1
  ) AS position,
  e.event_time, e.event_id, e.seq, e.ended_at, e.first_token_at, e.input_tokens, e.output_tokens,
  e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens, e.cost_nano_usd, e.cache_hit, e.call_type,
  e.endpoint, e.status, e.error_code, e.error_class, e.error_message, e.key_hash, e.key_alias, e.user_id,
  e.team_id, e.organization_id, e.end_user_id, e.session_id, e.model_group, e.model, e.deployment_id,
  e.provider, e.api_base, e.tool, e.usage_source, e.cost_status, e.price_version, e.provider_response_id,
  e.requester_ip, e.user_agent, e.body_ref, e.tags, e.attempts, e.usage_other, e.cost_breakdown, e.metadata
FROM spend_events AS e INDEXED BY spend_events_by_answer
JOIN producers AS p ON p.producer_no = e.producer_no
WHERE e.provider_response_id = :provider_response_id AND e.provider_response_id <> ''
  AND e.event_time >= :since AND e.event_time < :until
  AND (:event_id IS NULL OR e.event_id = :event_id)
  AND (:key_hash IS NULL OR e.key_hash = :key_hash)
  AND (:user_id IS NULL OR e.user_id = :user_id)
  AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
  AND (:team_id IS NULL OR e.team_id = :team_id)
  AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
  AND (:session_id IS NULL OR e.session_id = :session_id)
  AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
  AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
  AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
  AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
ORDER BY e.event_time DESC, e.event_id DESC
LIMIT :limit OFFSET :offset;

-- name: count_events
-- Count the events of some time; counting ends at the limit.
SELECT count(*)
FROM (
  SELECT 1
  FROM spend_events AS e
  WHERE e.event_time >= :since AND e.event_time < :until
    AND (:event_id IS NULL OR e.event_id = :event_id)
    AND (:key_hash IS NULL OR e.key_hash = :key_hash)
    AND (:user_id IS NULL OR e.user_id = :user_id)
    AND (:provider_response_id IS NULL OR e.provider_response_id = :provider_response_id)
    AND (:team_id IS NULL OR e.team_id = :team_id)
    AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
    AND (:session_id IS NULL OR e.session_id = :session_id)
    AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
    AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
    AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
    AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
  LIMIT :limit
);

-- name: count_events_of_answer
-- Count the events of one answer of a provider, from the index of answers; counting ends at the limit.
SELECT count(*)
FROM (
  SELECT 1
  FROM spend_events AS e INDEXED BY spend_events_by_answer
  WHERE e.provider_response_id = :provider_response_id AND e.provider_response_id <> ''
    AND e.event_time >= :since AND e.event_time < :until
    AND (:event_id IS NULL OR e.event_id = :event_id)
    AND (:key_hash IS NULL OR e.key_hash = :key_hash)
    AND (:user_id IS NULL OR e.user_id = :user_id)
    AND (:team_id IS NULL OR e.team_id = :team_id)
    AND (:end_user_id IS NULL OR e.end_user_id = :end_user_id)
    AND (:session_id IS NULL OR e.session_id = :session_id)
    AND (:model IS NULL OR e.model_group = :model OR e.model = :model)
    AND (:is_success IS NULL OR (e.status = 'success') = :is_success)
    AND (:cost_at_least IS NULL OR e.cost_nano_usd >= :cost_at_least)
    AND (:cost_at_most IS NULL OR e.cost_nano_usd <= :cost_at_most)
  LIMIT :limit
);
