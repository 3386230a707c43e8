-- name: no_statement_timeout
-- Let this transaction take its time: a recomputation reads every event.
SET LOCAL statement_timeout = 0

-- name: audit_whole
-- Return how many events and dead letters there are and what they cost.
SELECT
    (SELECT count(*) FROM spend_events) AS events,
    (SELECT coalesce(sum(cost_nano_usd), 0)::bigint FROM spend_events) AS cost_nano_usd,
    (SELECT count(*) FROM dead_letters) AS dead_letters,
    (SELECT coalesce(sum(cost_nano_usd), 0)::bigint FROM dead_letters) AS dead_letter_cost_nano_usd

-- name: audit_producers
-- Return for each producer what it has: rows by kind, how many different numbers, the least and the greatest number,
-- what its commits cover. A number without a producer's row counts for a producer of its own.
SELECT
    coalesce(producers.producer_id, '#' || numbers.producer_no, '#' || covered.producer_no) AS producer_id,
    coalesce(producers.watermark, 0) AS watermark,
    coalesce(numbers.events, 0) AS events,
    coalesce(numbers.dead_letters, 0) AS dead_letters,
    coalesce(numbers.different, 0) AS different,
    coalesce(numbers.first_seq, 1) AS first_seq,
    coalesce(numbers.last_seq, 0) AS last_seq,
    coalesce(covered.numbers, 0)::bigint AS committed
FROM producers
FULL JOIN (
    SELECT
        producer_no,
        count(*) FILTER (WHERE is_event) AS events,
        count(*) FILTER (WHERE NOT is_event) AS dead_letters,
        count(DISTINCT seq) AS different,
        min(seq) AS first_seq,
        max(seq) AS last_seq
    FROM (
        SELECT producer_no, seq, TRUE AS is_event FROM spend_events
        UNION ALL
        SELECT producer_no, seq, FALSE FROM dead_letters
    ) AS rows
    GROUP BY producer_no
) AS numbers ON numbers.producer_no = producers.producer_no
FULL JOIN (
    SELECT producer_no, sum(last_seq - first_seq + 1) AS numbers FROM commits GROUP BY producer_no
) AS covered ON covered.producer_no = coalesce(producers.producer_no, numbers.producer_no)
ORDER BY 1

-- name: audit_positions
-- Return the head of the feed, and what the commits say that it should be; how many windows and aliases of budgets were
-- ever made, and how many there are.
SELECT
    (SELECT position FROM ledger_head WHERE id = 1) AS head,
    (SELECT coalesce(sum(budget_windows), 0)::bigint FROM ledger_head WHERE id = 1) AS budget_windows,
    (SELECT count(*) FROM budget_windows) + (SELECT count(*) FROM budget_aliases) AS budget_windows_there,
    (SELECT count(*) FROM commits) AS commits,
    (SELECT coalesce(max(position), 0) FROM commits) AS last_position

-- name: audit_commits
-- Return up to $1 places where a commit differs from the events and dead letters that it covers, and how many there are
-- in all. Events are looked for in the commit's own time range, as readers of the feed do.
SELECT row_label, difference.column_name, difference.found, difference.expected, count(*) OVER () AS difference_count
FROM (
    SELECT
        'position ' || commits.position AS row_label,
        ARRAY[commits.events, commits.dead_letters, commits.cost_nano_usd] AS found,
        ARRAY[event.events, letter.dead_letters, event.cost_nano_usd] AS expected
    FROM commits
    CROSS JOIN LATERAL (
        SELECT count(*) AS events, coalesce(sum(spend_events.cost_nano_usd), 0)::bigint AS cost_nano_usd
        FROM spend_events
        WHERE spend_events.producer_no = commits.producer_no
            AND spend_events.seq BETWEEN commits.first_seq AND commits.last_seq
            AND spend_events.event_time BETWEEN commits.first_time AND commits.last_time
    ) AS event
    CROSS JOIN LATERAL (
        SELECT count(*) AS dead_letters
        FROM dead_letters
        WHERE dead_letters.producer_no = commits.producer_no
            AND dead_letters.seq BETWEEN commits.first_seq AND commits.last_seq
    ) AS letter
) AS compared
CROSS JOIN LATERAL unnest(
    ARRAY['events', 'dead_letters', 'cost_nano_usd'], compared.found, compared.expected
) AS difference (column_name, found, expected)
WHERE difference.found <> difference.expected
ORDER BY row_label, difference.column_name
LIMIT $1

-- name: audit_event_ids
-- Return up to $1 event ids that more than one event has, and how many there are in all.
SELECT
    event_id::text AS row_label, 'events' AS column_name, count(*) AS found, 1 AS expected,
    count(*) OVER () AS difference_count
FROM spend_events
GROUP BY event_id
HAVING count(*) > 1
ORDER BY event_id
LIMIT $1

-- name: audit_daily_entity_spend
-- Return up to $1 places where daily_entity_spend differs from what follows from the events, and how many there are in all.
SELECT row_label, difference.column_name, difference.found, difference.expected, count(*) OVER () AS difference_count
FROM (
    SELECT
        concat_ws(' ', entity_type, entity_id, day, model_group, model, provider, endpoint) AS row_label,
        ARRAY[
            coalesce(found.requests, 0), coalesce(found.successful_requests, 0), coalesce(found.failed_requests,
            0), coalesce(found.input_tokens, 0), coalesce(found.output_tokens, 0),
            coalesce(found.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
            coalesce(found.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0)
        ] AS found,
        ARRAY[
            coalesce(expected.requests, 0), coalesce(expected.successful_requests, 0),
            coalesce(expected.failed_requests, 0), coalesce(expected.input_tokens, 0),
            coalesce(expected.output_tokens, 0), coalesce(expected.cache_read_tokens, 0),
            coalesce(expected.cache_write_tokens, 0), coalesce(expected.reasoning_tokens, 0),
            coalesce(expected.cost_nano_usd, 0)
        ] AS expected
    FROM daily_entity_spend AS found
    FULL JOIN expected_daily_entity_spend AS expected USING (
        entity_type, entity_id, day, model_group, model, provider, endpoint
    )
) AS compared
CROSS JOIN LATERAL unnest(
    ARRAY[
            'requests', 'successful_requests', 'failed_requests', 'input_tokens', 'output_tokens',
            'cache_read_tokens', 'cache_write_tokens', 'reasoning_tokens', 'cost_nano_usd'
    ],
    compared.found, compared.expected
) AS difference (column_name, found, expected)
WHERE compared.found <> compared.expected AND difference.found <> difference.expected
ORDER BY row_label, difference.column_name
LIMIT $1

-- name: audit_daily_spend
-- Return up to $1 places where daily_spend differs from what follows from the events, and how many there are in all.
SELECT row_label, difference.column_name, difference.found, difference.expected, count(*) OVER () AS difference_count
FROM (
    SELECT
        concat_ws(' ', day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool) AS row_label,
        ARRAY[
            coalesce(found.requests, 0), coalesce(found.successful_requests, 0), coalesce(found.failed_requests,
            0), coalesce(found.input_tokens, 0), coalesce(found.output_tokens, 0),
            coalesce(found.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
            coalesce(found.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0)
        ] AS found,
        ARRAY[
            coalesce(expected.requests, 0), coalesce(expected.successful_requests, 0),
            coalesce(expected.failed_requests, 0), coalesce(expected.input_tokens, 0),
            coalesce(expected.output_tokens, 0), coalesce(expected.cache_read_tokens, 0),
            coalesce(expected.cache_write_tokens, 0), coalesce(expected.reasoning_tokens, 0),
            coalesce(expected.cost_nano_usd, 0)
        ] AS expected
    FROM daily_spend AS found
    FULL JOIN expected_daily_spend AS expected USING (
        day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
    )
) AS compared
CROSS JOIN LATERAL unnest(
    ARRAY[
            'requests', 'successful_requests', 'failed_requests', 'input_tokens', 'output_tokens',
            'cache_read_tokens', 'cache_write_tokens', 'reasoning_tokens', 'cost_nano_usd'
    ],
    compared.found, compared.expected
) AS difference (column_name, found, expected)
WHERE compared.found <> compared.expected AND difference.found <> difference.expected
ORDER BY row_label, difference.column_name
LIMIT $1

-- name: audit_totals
-- Return up to $1 places where totals differs from what follows from the events, and how many there are in all.
SELECT row_label, difference.column_name, difference.found, difference.expected, count(*) OVER () AS difference_count
FROM (
    SELECT
        concat_ws(' ', entity_type, entity_id, member_id) AS row_label,
        ARRAY[
            coalesce(found.requests, 0), coalesce(found.successful_requests, 0), coalesce(found.failed_requests,
            0), coalesce(found.input_tokens, 0), coalesce(found.output_tokens, 0),
            coalesce(found.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
            coalesce(found.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0)
        ] AS found,
        ARRAY[
            coalesce(expected.requests, 0), coalesce(expected.successful_requests, 0),
            coalesce(expected.failed_requests, 0), coalesce(expected.input_tokens, 0),
            coalesce(expected.output_tokens, 0), coalesce(expected.cache_read_tokens, 0),
            coalesce(expected.cache_write_tokens, 0), coalesce(expected.reasoning_tokens, 0),
            coalesce(expected.cost_nano_usd, 0)
        ] AS expected
    FROM totals AS found
    FULL JOIN expected_totals AS expected USING (
        entity_type, entity_id, member_id
    )
) AS compared
CROSS JOIN LATERAL unnest(
    ARRAY[
            'requests', 'successful_requests', 'failed_requests', 'input_tokens', 'output_tokens',
            'cache_read_tokens', 'cache_write_tokens', 'reasoning_tokens', 'cost_nano_usd'
    ],
    compared.found, compared.expected
) AS difference (column_name, found, expected)
WHERE compared.found <> compared.expected AND difference.found <> difference.expected
ORDER BY row_label, difference.column_name
LIMIT $1

-- name: keep_commits_out
-- Wait for the commits that are under way and keep new ones waiting. A commit locks its producer's row first, so it
-- holds nothing else that we need when we get this.
LOCK TABLE producers IN EXCLUSIVE MODE

-- name: remove_unfounded_daily_entity_spend
-- Remove the rows that no event accounts for.
DELETE FROM daily_entity_spend AS kept
WHERE NOT EXISTS (
    SELECT FROM expected_daily_entity_spend AS expected
    WHERE kept.entity_type = expected.entity_type AND kept.entity_id = expected.entity_id AND kept.day =
        expected.day AND kept.model_group = expected.model_group AND kept.model = expected.model AND
        kept.provider = expected.provider AND kept.endpoint = expected.endpoint
)

-- name: rebuild_daily_entity_spend
-- Set every row to what follows from the events; rows that are right stay as they are.
INSERT INTO daily_entity_spend AS sums (
    entity_type, entity_id, day, model_group, model, provider, endpoint,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    entity_type, entity_id, day, model_group, model, provider, endpoint,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM expected_daily_entity_spend
ORDER BY entity_type, entity_id, day, model_group, model, provider, endpoint
ON CONFLICT (entity_type, entity_id, day, model_group, model, provider, endpoint)
DO UPDATE SET
    requests = excluded.requests,
    successful_requests = excluded.successful_requests,
    failed_requests = excluded.failed_requests,
    input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens,
    cache_read_tokens = excluded.cache_read_tokens,
    cache_write_tokens = excluded.cache_write_tokens,
    reasoning_tokens = excluded.reasoning_tokens,
    cost_nano_usd = excluded.cost_nano_usd
WHERE (sums.requests, sums.successful_requests, sums.failed_requests, sums.input_tokens,
    sums.output_tokens, sums.cache_read_tokens, sums.cache_write_tokens, sums.reasoning_tokens,
    sums.cost_nano_usd)
    IS DISTINCT FROM
    (excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens,
    excluded.reasoning_tokens, excluded.cost_nano_usd)

-- name: remove_unfounded_daily_spend
-- Remove the rows that no event accounts for.
DELETE FROM daily_spend AS kept
WHERE NOT EXISTS (
    SELECT FROM expected_daily_spend AS expected
    WHERE kept.day = expected.day AND kept.key_hash = expected.key_hash AND kept.user_id = expected.user_id
        AND kept.team_id = expected.team_id AND kept.organization_id = expected.organization_id AND
        kept.model_group = expected.model_group AND kept.model = expected.model AND kept.provider =
        expected.provider AND kept.endpoint = expected.endpoint AND kept.tool = expected.tool
)

-- name: rebuild_daily_spend
-- Set every row to what follows from the events; rows that are right stay as they are.
INSERT INTO daily_spend AS sums (
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM expected_daily_spend
ORDER BY day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
ON CONFLICT (day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool)
DO UPDATE SET
    requests = excluded.requests,
    successful_requests = excluded.successful_requests,
    failed_requests = excluded.failed_requests,
    input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens,
    cache_read_tokens = excluded.cache_read_tokens,
    cache_write_tokens = excluded.cache_write_tokens,
    reasoning_tokens = excluded.reasoning_tokens,
    cost_nano_usd = excluded.cost_nano_usd
WHERE (sums.requests, sums.successful_requests, sums.failed_requests, sums.input_tokens,
    sums.output_tokens, sums.cache_read_tokens, sums.cache_write_tokens, sums.reasoning_tokens,
    sums.cost_nano_usd)
    IS DISTINCT FROM
    (excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens,
    excluded.reasoning_tokens, excluded.cost_nano_usd)

-- name: remove_unfounded_totals
-- Remove the rows that no event accounts for.
DELETE FROM totals AS kept
WHERE NOT EXISTS (
    SELECT FROM expected_totals AS expected
    WHERE kept.entity_type = expected.entity_type AND kept.entity_id = expected.entity_id AND kept.member_id =
        expected.member_id
)

-- name: rebuild_totals
-- Set every row to what follows from the events; rows that are right stay as they are.
INSERT INTO totals AS sums (
    entity_type, entity_id, member_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
)
SELECT
    entity_type, entity_id, member_id,
    requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nano_usd
FROM expected_totals
ORDER BY entity_type, entity_id, member_id
ON CONFLICT (entity_type, entity_id, member_id)
DO UPDATE SET
    requests = excluded.requests,
    successful_requests = excluded.successful_requests,
    failed_requests = excluded.failed_requests,
    input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens,
    cache_read_tokens = excluded.cache_read_tokens,
    cache_write_tokens = excluded.cache_write_tokens,
    reasoning_tokens = excluded.reasoning_tokens,
    cost_nano_usd = excluded.cost_nano_usd
WHERE (sums.requests, sums.successful_requests, sums.failed_requests, sums.input_tokens,
    sums.output_tokens, sums.cache_read_tokens, sums.cache_write_tokens, sums.reasoning_tokens,
    sums.cost_nano_usd)
    IS DISTINCT FROM
    (excluded.requests, excluded.successful_requests, excluded.failed_requests, excluded.input_tokens,
    excluded.output_tokens, excluded.cache_read_tokens, excluded.cache_write_tokens,
    excluded.reasoning_tokens, excluded.cost_nano_usd)
