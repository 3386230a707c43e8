-- name: audit_whole
-- Return how many events there are, what they cost, and how many of their ids are there twice.
SELECT count(*), coalesce(sum(cost_nano_usd), 0), count(*) - count(DISTINCT event_id) FROM spend_events;

-- name: audit_dead_letters
-- Return how many dead letters there are, and their money.
SELECT count(*), coalesce(sum(cost_nano_usd), 0) FROM dead_letters;

-- name: audit_positions
-- Return the newest position, how many commits there are, and the highest position among them.
SELECT h.position, (SELECT count(*) FROM commits), (SELECT coalesce(max(position), 0) FROM commits)
FROM ledger_head AS h;

-- name: audit_producers
-- Return of each producer what it has: events, dead letters, its different numbers up to the watermark, its commits.
WITH numbers AS (
  SELECT producer_no, seq, 1 AS events, 0 AS dead_letters FROM spend_events
  UNION ALL
  SELECT producer_no, seq, 0, 1 FROM dead_letters
),
held AS (
  SELECT n.producer_no, sum(n.events) AS events, sum(n.dead_letters) AS dead_letters,
    count(DISTINCT CASE WHEN n.seq BETWEEN 1 AND p.watermark THEN n.seq END) AS numbers
  FROM numbers AS n
  JOIN producers AS p ON p.producer_no = n.producer_no
  GROUP BY n.producer_no
),
committed AS (
  SELECT producer_no, sum(last_seq - first_seq + 1) AS numbers, max(last_seq) AS last_seq
  FROM commits
  GROUP BY producer_no
)
SELECT
  p.producer_id, p.watermark, coalesce(h.events, 0), coalesce(h.dead_letters, 0), coalesce(h.numbers, 0),
  coalesce(c.numbers, 0), coalesce(c.last_seq, 0)
FROM producers AS p
LEFT JOIN held AS h ON h.producer_no = p.producer_no
LEFT JOIN committed AS c ON c.producer_no = p.producer_no
ORDER BY p.producer_id;

-- name: audit_commits
-- Return the commits that do not say what their events and dead letters say.
WITH held AS (
  SELECT
    c.position,
    c.events, (
      SELECT count(*) FROM spend_events AS e
      WHERE e.producer_no = c.producer_no AND e.seq BETWEEN c.first_seq AND c.last_seq
    ) AS events_expected,
    c.dead_letters, (
      SELECT count(*) FROM dead_letters AS d
      WHERE d.producer_no = c.producer_no AND d.seq BETWEEN c.first_seq AND c.last_seq
    ) AS dead_letters_expected,
    c.cost_nano_usd, (
      SELECT coalesce(sum(e.cost_nano_usd), 0) FROM spend_events AS e
      WHERE e.producer_no = c.producer_no AND e.seq BETWEEN c.first_seq AND c.last_seq
    ) AS cost_expected,
    coalesce(c.first_time, 0) AS first_time, (
      SELECT coalesce(min(e.event_time), 0) FROM spend_events AS e
      WHERE e.producer_no = c.producer_no AND e.seq BETWEEN c.first_seq AND c.last_seq
    ) AS first_time_expected,
    coalesce(c.last_time, 0) AS last_time, (
      SELECT coalesce(max(e.event_time), 0) FROM spend_events AS e
      WHERE e.producer_no = c.producer_no AND e.seq BETWEEN c.first_seq AND c.last_seq
    ) AS last_time_expected
  FROM commits AS c
)
SELECT
  position, events, events_expected, dead_letters, dead_letters_expected, cost_nano_usd, cost_expected,
  first_time, first_time_expected, last_time, last_time_expected
FROM held
WHERE (events, dead_letters, cost_nano_usd, first_time, last_time)
  IS NOT (events_expected, dead_letters_expected, cost_expected, first_time_expected, last_time_expected);

-- name: audit_totals
-- Return the running sums that differ from the events: key, then found and expected of each counter.
-- In two parts: SQLite has no quick way to join both at once.
SELECT
  expected.entity_type, expected.entity_id, expected.member_id,
  coalesce(found.requests, 0), expected.requests, coalesce(found.successful_requests, 0),
  expected.successful_requests, coalesce(found.failed_requests, 0), expected.failed_requests,
  coalesce(found.input_tokens, 0), expected.input_tokens, coalesce(found.output_tokens, 0),
  expected.output_tokens, coalesce(found.cache_read_tokens, 0), expected.cache_read_tokens,
  coalesce(found.cache_write_tokens, 0), expected.cache_write_tokens, coalesce(found.reasoning_tokens, 0),
  expected.reasoning_tokens, coalesce(found.cost_nano_usd, 0), expected.cost_nano_usd
FROM expected_totals AS expected
LEFT JOIN totals AS found
  USING (entity_type, entity_id, member_id)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens,
    expected.reasoning_tokens, expected.cost_nano_usd
  )
UNION ALL
SELECT
  entity_type, entity_id, member_id,
  requests, 0, successful_requests, 0, failed_requests, 0, input_tokens, 0, output_tokens, 0,
  cache_read_tokens, 0, cache_write_tokens, 0, reasoning_tokens, 0, cost_nano_usd, 0
FROM totals
WHERE (
    entity_type, entity_id, member_id
  ) NOT IN (
    SELECT
      entity_type, entity_id, member_id
    FROM expected_totals
  );

-- name: audit_daily_spend
-- Return the rows of the cube that differ from the events: key, then found and expected of each counter.
-- In two parts: SQLite has no quick way to join both at once.
SELECT
  expected.day, expected.key_hash, expected.user_id, expected.team_id, expected.organization_id,
  expected.model_group, expected.model, expected.provider, expected.endpoint, expected.tool,
  coalesce(found.requests, 0), expected.requests, coalesce(found.successful_requests, 0),
  expected.successful_requests, coalesce(found.failed_requests, 0), expected.failed_requests,
  coalesce(found.input_tokens, 0), expected.input_tokens, coalesce(found.output_tokens, 0),
  expected.output_tokens, coalesce(found.cache_read_tokens, 0), expected.cache_read_tokens,
  coalesce(found.cache_write_tokens, 0), expected.cache_write_tokens, coalesce(found.reasoning_tokens, 0),
  expected.reasoning_tokens, coalesce(found.cost_nano_usd, 0), expected.cost_nano_usd
FROM expected_daily_spend AS expected
LEFT JOIN daily_spend AS found
  USING (day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens,
    expected.reasoning_tokens, expected.cost_nano_usd
  )
UNION ALL
SELECT
  day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool,
  requests, 0, successful_requests, 0, failed_requests, 0, input_tokens, 0, output_tokens, 0,
  cache_read_tokens, 0, cache_write_tokens, 0, reasoning_tokens, 0, cost_nano_usd, 0
FROM daily_spend
WHERE (
    day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
  ) NOT IN (
    SELECT
      day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
    FROM expected_daily_spend
  );

-- name: audit_daily_entity_spend
-- Return the days of end users and tags that differ from the events: key, then found and expected by counter.
-- In two parts: SQLite has no quick way to join both at once.
SELECT
  expected.entity_type, expected.entity_id, expected.day, expected.model_group, expected.model,
  expected.provider, expected.endpoint,
  coalesce(found.requests, 0), expected.requests, coalesce(found.successful_requests, 0),
  expected.successful_requests, coalesce(found.failed_requests, 0), expected.failed_requests,
  coalesce(found.input_tokens, 0), expected.input_tokens, coalesce(found.output_tokens, 0),
  expected.output_tokens, coalesce(found.cache_read_tokens, 0), expected.cache_read_tokens,
  coalesce(found.cache_write_tokens, 0), expected.cache_write_tokens, coalesce(found.reasoning_tokens, 0),
  expected.reasoning_tokens, coalesce(found.cost_nano_usd, 0), expected.cost_nano_usd
FROM expected_daily_entity_spend AS expected
LEFT JOIN daily_entity_spend AS found
  USING (entity_type, entity_id, day, model_group, model, provider, endpoint)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens,
    expected.reasoning_tokens, expected.cost_nano_usd
  )
UNION ALL
SELECT
  entity_type, entity_id, day, model_group, model, provider, endpoint,
  requests, 0, successful_requests, 0, failed_requests, 0, input_tokens, 0, output_tokens, 0,
  cache_read_tokens, 0, cache_write_tokens, 0, reasoning_tokens, 0, cost_nano_usd, 0
FROM daily_entity_spend
WHERE (
    entity_type, entity_id, day, model_group, model, provider, endpoint
  ) NOT IN (
    SELECT
      entity_type, entity_id, day, model_group, model, provider, endpoint
    FROM expected_daily_entity_spend
  );
