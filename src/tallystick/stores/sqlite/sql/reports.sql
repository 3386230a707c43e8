-- name: total
-- Return the running sum of one entity.
SELECT
  entity_id, member_id,
  requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
  cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM totals
WHERE entity_type = ? AND entity_id = ? AND member_id = ?;

-- name: totals
-- Return the running sums of one type of entity, dearest first.
SELECT
  entity_id, member_id,
  requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
  cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM totals
WHERE entity_type = ?
ORDER BY cost_nano_usd DESC, entity_id, member_id
LIMIT ?;

-- name: spend_of
-- Return what those of the entities (a JSON list of type, id and member) that ever spent have spent.
SELECT entity_type, entity_id, member_id, cost_nano_usd
FROM totals
WHERE (entity_type, entity_id, member_id) IN (
  SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)
);

-- name: daily
-- Return the cube's sums over some days by one column; days in order, everything else dearest first.
SELECT
  CASE :group_by
    WHEN 'day' THEN day
    WHEN 'key' THEN key_hash
    WHEN 'user' THEN user_id
    WHEN 'team' THEN team_id
    WHEN 'organization' THEN organization_id
    WHEN 'model_group' THEN model_group
    WHEN 'model' THEN model
    WHEN 'provider' THEN provider
    WHEN 'endpoint' THEN endpoint
  END AS name,
  sum(requests),
  sum(successful_requests),
  sum(failed_requests),
  sum(input_tokens),
  sum(output_tokens),
  sum(cache_read_tokens),
  sum(cache_write_tokens),
  sum(reasoning_tokens),
  sum(cost_nano_usd)
FROM daily_spend
WHERE day BETWEEN :first AND :last AND (:key_hash IS NULL OR key_hash = :key_hash)
GROUP BY name
ORDER BY CASE WHEN :group_by = 'day' THEN name END, sum(cost_nano_usd) DESC, name
LIMIT :limit;

-- name: activity
-- Return the cube's sums over each of some days by all of its columns but the tool. Lists are JSON.
SELECT
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint,
  sum(requests),
  sum(successful_requests),
  sum(failed_requests),
  sum(input_tokens),
  sum(output_tokens),
  sum(cache_read_tokens),
  sum(cache_write_tokens),
  sum(reasoning_tokens),
  sum(cost_nano_usd)
FROM daily_spend
WHERE day BETWEEN :first AND :last
  AND (:key_hashes IS NULL OR key_hash IN (SELECT value FROM json_each(:key_hashes)))
  AND (:user_ids IS NULL OR user_id IN (SELECT value FROM json_each(:user_ids)))
  AND (:team_ids IS NULL OR team_id IN (SELECT value FROM json_each(:team_ids)))
  AND (:organization_ids IS NULL OR organization_id IN (SELECT value FROM json_each(:organization_ids)))
  AND (
    :models IS NULL
    OR model_group IN (SELECT value FROM json_each(:models))
    OR model IN (SELECT value FROM json_each(:models))
  )
GROUP BY day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint
ORDER BY day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint
LIMIT :limit;

-- name: entity_activity
-- Return the sums of end users or tags over each of some days by all columns. Lists are JSON.
SELECT
  day, entity_id, model_group, model, provider, endpoint,
  requests,
  successful_requests,
  failed_requests,
  input_tokens,
  output_tokens,
  cache_read_tokens,
  cache_write_tokens,
  reasoning_tokens,
  cost_nano_usd
FROM daily_entity_spend
WHERE entity_type = :entity_type AND day BETWEEN :first AND :last
  AND (:entity_ids IS NULL OR entity_id IN (SELECT value FROM json_each(:entity_ids)))
  AND (
    :models IS NULL
    OR model_group IN (SELECT value FROM json_each(:models))
    OR model IN (SELECT value FROM json_each(:models))
  )
ORDER BY day, entity_id, model_group, model, provider, endpoint
LIMIT :limit;
