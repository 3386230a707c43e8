-- name: remove_unfounded_daily_spend
-- Delete the rows that no event explains.
DELETE FROM daily_spend
WHERE (
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
) NOT IN (
  SELECT
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
  FROM expected_daily_spend
);

-- name: rebuild_daily_spend
-- Write the rows that are missing or differ, as the events say they are.
INSERT INTO daily_spend (
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool, requests,
  successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
  reasoning_tokens, cost_nano_usd
)
SELECT
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool, requests,
  successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
  reasoning_tokens, cost_nano_usd
FROM expected_daily_spend
WHERE true
ON CONFLICT (
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
) DO UPDATE SET
  requests = excluded.requests,
  successful_requests = excluded.successful_requests,
  failed_requests = excluded.failed_requests,
  input_tokens = excluded.input_tokens,
  output_tokens = excluded.output_tokens,
  cache_read_tokens = excluded.cache_read_tokens,
  cache_write_tokens = excluded.cache_write_tokens,
  reasoning_tokens = excluded.reasoning_tokens,
  cost_nano_usd = excluded.cost_nano_usd
WHERE (
    daily_spend.requests, daily_spend.successful_requests, daily_spend.failed_requests,
    daily_spend.input_tokens, daily_spend.output_tokens, daily_spend.cache_read_tokens,
    daily_spend.cache_write_tokens, daily_spend.reasoning_tokens, daily_spend.cost_nano_usd
  ) IS NOT (
    excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens, excluded.reasoning_tokens,
    excluded.cost_nano_usd
  );

-- name: remove_unfounded_daily_entity_spend
-- Delete the rows that no event explains.
DELETE FROM daily_entity_spend
WHERE (
  entity_type, entity_id, day, model_group, model, provider, endpoint
) NOT IN (
  SELECT
    entity_type, entity_id, day, model_group, model, provider, endpoint
  FROM expected_daily_entity_spend
);

-- name: rebuild_daily_entity_spend
-- Write the rows that are missing or differ, as the events say they are.
INSERT INTO daily_entity_spend (
  entity_type, entity_id, day, model_group, model, provider, endpoint, requests, successful_requests,
  failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  cost_nano_usd
)
SELECT
  entity_type, entity_id, day, model_group, model, provider, endpoint, requests, successful_requests,
  failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  cost_nano_usd
FROM expected_daily_entity_spend
WHERE true
ON CONFLICT (
  entity_type, entity_id, day, model_group, model, provider, endpoint
) DO UPDATE SET
  requests = excluded.requests,
  successful_requests = excluded.successful_requests,
  failed_requests = excluded.failed_requests,
  input_tokens = excluded.input_tokens,
  output_tokens = excluded.output_tokens,
  cache_read_tokens = excluded.cache_read_tokens,
  cache_write_tokens = excluded.cache_write_tokens,
  reasoning_tokens = excluded.reasoning_tokens,
  cost_nano_usd = excluded.cost_nano_usd
WHERE (
    daily_entity_spend.requests, daily_entity_spend.successful_requests, daily_entity_spend.failed_requests,
    daily_entity_spend.input_tokens, daily_entity_spend.output_tokens, daily_entity_spend.cache_read_tokens,
    daily_entity_spend.cache_write_tokens, daily_entity_spend.reasoning_tokens, daily_entity_spend.cost_nano_usd
  ) IS NOT (
    excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens, excluded.reasoning_tokens,
    excluded.cost_nano_usd
  );

-- name: remove_unfounded_totals
-- Delete the rows that no event explains.
DELETE FROM totals
WHERE (
  entity_type, entity_id, member_id
) NOT IN (
  SELECT
    entity_type, entity_id, member_id
  FROM expected_totals
);

-- name: rebuild_totals
-- Write the rows that are missing or differ, as the events say they are.
INSERT INTO totals (
  entity_type, entity_id, member_id, requests, successful_requests, failed_requests, input_tokens,
  output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
  entity_type, entity_id, member_id, requests, successful_requests, failed_requests, input_tokens,
  output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM expected_totals
WHERE true
ON CONFLICT (
  entity_type, entity_id, member_id
) DO UPDATE SET
  requests = excluded.requests,
  successful_requests = excluded.successful_requests,
  failed_requests = excluded.failed_requests,
  input_tokens = excluded.input_tokens,
  output_tokens = excluded.output_tokens,
  cache_read_tokens = excluded.cache_read_tokens,
  cache_write_tokens = excluded.cache_write_tokens,
  reasoning_tokens = excluded.reasoning_tokens,
  cost_nano_usd = excluded.cost_nano_usd
WHERE (
    totals.requests, totals.successful_requests, totals.failed_requests, totals.input_tokens,
    totals.output_tokens, totals.cache_read_tokens, totals.cache_write_tokens, totals.reasoning_tokens,
    totals.cost_nano_usd
  ) IS NOT (
    excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens, excluded.reasoning_tokens,
    excluded.cost_nano_usd
  );
