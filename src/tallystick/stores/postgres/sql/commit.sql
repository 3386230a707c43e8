-- name: watermark
-- Return the highest committed number of a producer.
SELECT watermark FROM producers WHERE producer_id = $1

-- name: find_producer
-- Return the number under which rows name a producer.
SELECT producer_no FROM producers WHERE producer_id = $1

-- name: add_producers
-- Make the rows of producers unless they are there.
INSERT INTO producers (producer_id, watermark, created_at, updated_at)
SELECT asked.producer_id, 0, $2, $2
FROM unnest($1::text[]) AS asked (producer_id)
ORDER BY asked.producer_id
ON CONFLICT (producer_id) DO NOTHING

-- name: lock_producers
-- Return the numbers and watermarks of producers, locked in their order: nobody else commits for them until the
-- transaction ends. Along with them, how many windows of budgets were ever made: with none, a commit has nothing to do
-- with them.
SELECT
    producer_id, producer_no, watermark, (SELECT budget_windows FROM ledger_head WHERE id = 1) AS budget_windows
FROM producers
WHERE producer_id = ANY($1::text[])
ORDER BY producer_id
FOR UPDATE

-- name: add_dead_letters
-- Keep the events that were refused, with their reason and their money.
INSERT INTO dead_letters (producer_no, seq, event_id, reason, cost_nano_usd, payload, created_at)
SELECT letter.producer_no, letter.seq, letter.event_id, letter.reason, letter.cost_nano_usd, letter.payload, $7
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bytea[])
    AS letter (producer_no, seq, event_id, reason, cost_nano_usd, payload)

-- name: add_daily_entity_spend
-- Add to the sums by day of end users and tags. Rows come in key order: every committer locks them in the same order.
-- Each parameter is the text of an array, which is cheaper to send than an array; behind a subquery, because the planner
-- would parse it for an estimate; unnested in the select list, because in FROM each column is first stored apart.
INSERT INTO daily_entity_spend AS sums (
    day, entity_type, entity_id, model_group, model, provider, endpoint,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    unnest((SELECT $1::text)::date[]) AS day,
    unnest((SELECT $2::text)::text[]) AS entity_type,
    unnest((SELECT $3::text)::text[]) AS entity_id,
    unnest((SELECT $4::text)::text[]) AS model_group,
    unnest((SELECT $5::text)::text[]) AS model,
    unnest((SELECT $6::text)::text[]) AS provider,
    unnest((SELECT $7::text)::text[]) AS endpoint,
    unnest((SELECT $8::text)::bigint[]) AS requests,
    unnest((SELECT $9::text)::bigint[]) AS successful_requests,
    unnest((SELECT $10::text)::bigint[]) AS failed_requests,
    unnest((SELECT $11::text)::bigint[]) AS input_tokens,
    unnest((SELECT $12::text)::bigint[]) AS output_tokens,
    unnest((SELECT $13::text)::bigint[]) AS cache_read_tokens,
    unnest((SELECT $14::text)::bigint[]) AS cache_write_tokens,
    unnest((SELECT $15::text)::bigint[]) AS reasoning_tokens,
    unnest((SELECT $16::text)::bigint[]) AS cost_nano_usd
ON CONFLICT (entity_type, entity_id, day, model_group, model, provider, endpoint) DO UPDATE SET
    requests = sums.requests + excluded.requests,
    successful_requests = sums.successful_requests + excluded.successful_requests,
    failed_requests = sums.failed_requests + excluded.failed_requests,
    input_tokens = sums.input_tokens + excluded.input_tokens,
    output_tokens = sums.output_tokens + excluded.output_tokens,
    cache_read_tokens = sums.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = sums.cache_write_tokens + excluded.cache_write_tokens,
    reasoning_tokens = sums.reasoning_tokens + excluded.reasoning_tokens,
    cost_nano_usd = sums.cost_nano_usd + excluded.cost_nano_usd

-- name: add_daily_spend
-- Add to the cube. Rows come in key order: every committer locks them in the same order.
INSERT INTO daily_spend AS sums (
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    unnest((SELECT $1::text)::date[]) AS day,
    unnest((SELECT $2::text)::text[]) AS key_hash,
    unnest((SELECT $3::text)::text[]) AS user_id,
    unnest((SELECT $4::text)::text[]) AS team_id,
    unnest((SELECT $5::text)::text[]) AS organization_id,
    unnest((SELECT $6::text)::text[]) AS model_group,
    unnest((SELECT $7::text)::text[]) AS model,
    unnest((SELECT $8::text)::text[]) AS provider,
    unnest((SELECT $9::text)::text[]) AS endpoint,
    unnest((SELECT $10::text)::text[]) AS tool,
    unnest((SELECT $11::text)::bigint[]) AS requests,
    unnest((SELECT $12::text)::bigint[]) AS successful_requests,
    unnest((SELECT $13::text)::bigint[]) AS failed_requests,
    unnest((SELECT $14::text)::bigint[]) AS input_tokens,
    unnest((SELECT $15::text)::bigint[]) AS output_tokens,
    unnest((SELECT $16::text)::bigint[]) AS cache_read_tokens,
    unnest((SELECT $17::text)::bigint[]) AS cache_write_tokens,
    unnest((SELECT $18::text)::bigint[]) AS reasoning_tokens,
    unnest((SELECT $19::text)::bigint[]) AS cost_nano_usd
ON CONFLICT (day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool)
DO UPDATE SET
    requests = sums.requests + excluded.requests,
    successful_requests = sums.successful_requests + excluded.successful_requests,
    failed_requests = sums.failed_requests + excluded.failed_requests,
    input_tokens = sums.input_tokens + excluded.input_tokens,
    output_tokens = sums.output_tokens + excluded.output_tokens,
    cache_read_tokens = sums.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = sums.cache_write_tokens + excluded.cache_write_tokens,
    reasoning_tokens = sums.reasoning_tokens + excluded.reasoning_tokens,
    cost_nano_usd = sums.cost_nano_usd + excluded.cost_nano_usd

-- name: add_totals
-- Add to the running sums of entities. Rows come in key order: every committer locks them in the same order.
INSERT INTO totals AS sums (
    entity_type, entity_id, member_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    unnest((SELECT $1::text)::text[]) AS entity_type,
    unnest((SELECT $2::text)::text[]) AS entity_id,
    unnest((SELECT $3::text)::text[]) AS member_id,
    unnest((SELECT $4::text)::bigint[]) AS requests,
    unnest((SELECT $5::text)::bigint[]) AS successful_requests,
    unnest((SELECT $6::text)::bigint[]) AS failed_requests,
    unnest((SELECT $7::text)::bigint[]) AS input_tokens,
    unnest((SELECT $8::text)::bigint[]) AS output_tokens,
    unnest((SELECT $9::text)::bigint[]) AS cache_read_tokens,
    unnest((SELECT $10::text)::bigint[]) AS cache_write_tokens,
    unnest((SELECT $11::text)::bigint[]) AS reasoning_tokens,
    unnest((SELECT $12::text)::bigint[]) AS cost_nano_usd
ON CONFLICT (entity_type, entity_id, member_id) DO UPDATE SET
    requests = sums.requests + excluded.requests,
    successful_requests = sums.successful_requests + excluded.successful_requests,
    failed_requests = sums.failed_requests + excluded.failed_requests,
    input_tokens = sums.input_tokens + excluded.input_tokens,
    output_tokens = sums.output_tokens + excluded.output_tokens,
    cache_read_tokens = sums.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = sums.cache_write_tokens + excluded.cache_write_tokens,
    reasoning_tokens = sums.reasoning_tokens + excluded.reasoning_tokens,
    cost_nano_usd = sums.cost_nano_usd + excluded.cost_nano_usd

-- name: advance_watermarks
-- Take the next positions, one for each producer, set the watermarks, and note the commits; return how many windows of
-- budgets were ever made, and nothing when a watermark is not where it was. Only these windows come behind it: the lock
-- on ledger_head, which all committers share, is held for the shortest time, and positions are given in commit order.
WITH asked AS MATERIALIZED (
    SELECT
        part.producer_no, part.first_seq, part.last_seq, part.events, part.dead_letters, part.cost_nano_usd,
        part.first_time, part.last_time, part.place
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[],
        $8::timestamptz[]
    ) WITH ORDINALITY
        AS part (
            producer_no, first_seq, last_seq, events, dead_letters, cost_nano_usd, first_time, last_time, place
        )
),
head AS (
    UPDATE ledger_head SET position = position + $10::integer WHERE id = 1 RETURNING position, budget_windows
),
producer AS (
    UPDATE producers SET watermark = asked.last_seq, updated_at = $9
    FROM asked
    WHERE producers.producer_no = asked.producer_no AND producers.watermark = asked.first_seq - 1
    RETURNING producers.producer_no
),
noted AS (
    INSERT INTO commits (
        position, producer_no, first_seq, last_seq, events, dead_letters, cost_nano_usd, first_time, last_time,
        committed_at
    )
    SELECT
        head.position - $10::integer + asked.place, asked.producer_no, asked.first_seq, asked.last_seq, asked.events,
        asked.dead_letters, asked.cost_nano_usd, asked.first_time, asked.last_time, $9
    FROM head
    CROSS JOIN asked
    JOIN producer ON producer.producer_no = asked.producer_no
    RETURNING position
)
SELECT head.budget_windows FROM head WHERE (SELECT count(*) FROM noted) = $10::integer

-- name: ledger_id
-- Return the id of the ledger, made with the database, and that of the database, which a copy of it does not bring along;
-- and whether the server may be asked for its own.
SELECT
    head.ledger_id, database.oid::text AS database_id,
    has_function_privilege('pg_control_system()', 'EXECUTE') AS tells_server
FROM ledger_head AS head
JOIN pg_database AS database ON database.datname = current_database()
WHERE head.id = 1

-- name: server_id
-- Return what tells the server's cluster from others. Its physical copies have the same.
SELECT system_identifier::text FROM pg_control_system()
