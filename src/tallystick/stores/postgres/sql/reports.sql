-- name: total
-- Return the running sum of one entity.
SELECT
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM totals
WHERE entity_type = $1 AND entity_id = $2 AND member_id = $3

-- name: totals
-- Return up to $2 running sums of one type, dearest first.
SELECT
    entity_id, member_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM totals
WHERE entity_type = $1
ORDER BY cost_nano_usd DESC, entity_id, member_id
LIMIT $2

-- name: spend_of
-- Return what the entities ($1 types, $2 ids, $3 members) that ever spent have spent.
SELECT entity_type, entity_id, member_id, cost_nano_usd
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (entity_type, entity_id, member_id)
JOIN totals USING (entity_type, entity_id, member_id)

-- name: daily_by_column
-- Return up to $3 sums of the cube from day $1 to day $2 by its column {column}, dearest first. {filters} are
-- conditions on a row.
SELECT
    {column} AS value,
    sum(requests)::bigint AS requests,
    sum(successful_requests)::bigint AS successful_requests,
    sum(failed_requests)::bigint AS failed_requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(cache_read_tokens)::bigint AS cache_read_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd
FROM daily_spend
WHERE day BETWEEN $1 AND $2 AND ({filters})
GROUP BY {column}
ORDER BY sum(cost_nano_usd) DESC, {column}
LIMIT $3

-- name: daily_by_day
-- Return up to $3 sums of the cube from day $1 to day $2 by day, in the order of days. {filters} are conditions on a
-- row.
SELECT
    day::text AS value,
    sum(requests)::bigint AS requests,
    sum(successful_requests)::bigint AS successful_requests,
    sum(failed_requests)::bigint AS failed_requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(cache_read_tokens)::bigint AS cache_read_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd
FROM daily_spend
WHERE day BETWEEN $1 AND $2 AND ({filters})
GROUP BY day
ORDER BY day
LIMIT $3

-- name: daily_filter_none
-- Count every key.
TRUE

-- name: daily_filter_key_hash
-- Count one key.
key_hash = $4

-- name: activity
-- Return up to $3 sums of the cube over each of the days $1 to $2 by all of its columns but the tool. Each of $4 to $8
-- is a list of what to count, or NULL: keys, users, teams, organizations, and models (asked for or answering).
SELECT
    day::text AS day, key_hash AS key, user_id AS user, team_id AS team, organization_id AS organization, model_group,
    model, provider, endpoint,
    sum(requests)::bigint AS requests,
    sum(successful_requests)::bigint AS successful_requests,
    sum(failed_requests)::bigint AS failed_requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(cache_read_tokens)::bigint AS cache_read_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd
FROM daily_spend
WHERE day BETWEEN $1 AND $2
    AND ($4::text[] IS NULL OR key_hash = ANY ($4))
    AND ($5::text[] IS NULL OR user_id = ANY ($5))
    AND ($6::text[] IS NULL OR team_id = ANY ($6))
    AND ($7::text[] IS NULL OR organization_id = ANY ($7))
    AND ($8::text[] IS NULL OR model_group = ANY ($8) OR model = ANY ($8))
GROUP BY daily_spend.day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint
ORDER BY daily_spend.day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint
LIMIT $3

-- name: entity_activity
-- Return up to $3 sums over each of the days $1 to $2 of the entities of type $4, by all columns. $5 (entities) and $6
-- (models, asked for or answering) are lists of what to count, or NULL.
SELECT
    day::text AS day, entity_id, model_group, model, provider, endpoint,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM daily_entity_spend
WHERE entity_type = $4 AND day BETWEEN $1 AND $2
    AND ($5::text[] IS NULL OR entity_id = ANY ($5))
    AND ($6::text[] IS NULL OR model_group = ANY ($6) OR model = ANY ($6))
ORDER BY daily_entity_spend.day, entity_id, model_group, model, provider, endpoint
LIMIT $3
