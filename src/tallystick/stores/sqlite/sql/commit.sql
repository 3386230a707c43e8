-- name: watermark
-- Return the watermark of a producer; no row for one never seen.
SELECT watermark FROM producers WHERE producer_id = ?;

-- name: lock_producer
-- Return the number and the watermark of a producer. The transaction holds the write lock already.
SELECT producer_no, watermark FROM producers WHERE producer_id = ?;

-- name: add_producer
-- Make the row of a producer on first sight; return its number.
INSERT INTO producers (producer_id, watermark, created_at, updated_at)
VALUES (?, 0, ?, ?)
RETURNING producer_no;

-- name: advance_head
-- Take the next place in the order of commits; return it, and how many windows of budgets were ever made.
UPDATE ledger_head SET position = position + 1 WHERE id = 1 RETURNING position, budget_windows;

-- name: add_events
-- Insert new events, in the order of EVENT_COLUMNS; an event id seen before is refused.
INSERT INTO spend_events (
  event_time, event_id, producer_no, seq, ended_at, first_token_at, input_tokens, output_tokens,
  cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, cache_hit, call_type, endpoint,
  status, error_code, error_class, error_message, key_hash, key_alias, user_id, team_id, organization_id,
  end_user_id, session_id, model_group, model, deployment_id, provider, api_base, tool, usage_source,
  cost_status, price_version, provider_response_id, requester_ip, user_agent, body_ref, tags, attempts,
  usage_other, cost_breakdown, metadata
)
VALUES (
  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
  ?, ?, ?, ?, ?, ?, ?
);

-- name: add_dead_letters
-- Keep the events that were refused, with their reason and their money.
INSERT INTO dead_letters (producer_no, seq, event_id, reason, cost_nano_usd, payload, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: add_daily_spend
-- Add deltas to the cube.
INSERT INTO daily_spend (
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool, requests,
  successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
  reasoning_tokens, cost_nano_usd
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
) DO UPDATE SET
  requests = requests + excluded.requests,
  successful_requests = successful_requests + excluded.successful_requests,
  failed_requests = failed_requests + excluded.failed_requests,
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd;

-- name: add_daily_entity_spend
-- Add deltas to the days of end users and tags.
INSERT INTO daily_entity_spend (
  entity_type, entity_id, day, model_group, model, provider, endpoint, requests, successful_requests,
  failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  cost_nano_usd
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (
  entity_type, entity_id, day, model_group, model, provider, endpoint
) DO UPDATE SET
  requests = requests + excluded.requests,
  successful_requests = successful_requests + excluded.successful_requests,
  failed_requests = failed_requests + excluded.failed_requests,
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd;

-- name: add_totals
-- Add deltas to the running sums.
INSERT INTO totals (
  entity_type, entity_id, member_id, requests, successful_requests, failed_requests, input_tokens,
  output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (
  entity_type, entity_id, member_id
) DO UPDATE SET
  requests = requests + excluded.requests,
  successful_requests = successful_requests + excluded.successful_requests,
  failed_requests = failed_requests + excluded.failed_requests,
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd;

-- name: insert_commit
-- Record what one transaction committed.
INSERT INTO commits (
  position, producer_no, first_seq, last_seq, events, dead_letters, cost_nano_usd, first_time, last_time, committed_at
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: advance_watermark
-- Advance the watermark of a producer.
UPDATE producers SET watermark = ?, updated_at = ? WHERE producer_no = ?;
