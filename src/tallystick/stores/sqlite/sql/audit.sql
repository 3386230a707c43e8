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
SELECT
  coalesce(found.entity_type, expected.entity_type), coalesce(found.entity_id, expected.entity_id),
  coalesce(found.member_id, expected.member_id),
  coalesce(found.requests, 0), coalesce(expected.requests, 0), coalesce(found.successful_requests, 0),
  coalesce(expected.successful_requests, 0), coalesce(found.failed_requests, 0),
  coalesce(expected.failed_requests, 0), coalesce(found.input_tokens, 0), coalesce(expected.input_tokens, 0),
  coalesce(found.output_tokens, 0), coalesce(expected.output_tokens, 0), coalesce(found.cache_read_tokens, 0),
  coalesce(expected.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
  coalesce(expected.cache_write_tokens, 0), coalesce(found.reasoning_tokens, 0),
  coalesce(expected.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0), coalesce(expected.cost_nano_usd, 0)
FROM totals AS found
FULL OUTER JOIN expected_totals AS expected
  USING (entity_type, entity_id, member_id)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens, expected.reasoning_tokens,
    expected.cost_nano_usd
  );

-- name: audit_daily_spend
-- Return the rows of the cube that differ from the events: key, then found and expected of each counter.
SELECT
  coalesce(found.day, expected.day), coalesce(found.key_hash, expected.key_hash), coalesce(found.user_id,
  expected.user_id), coalesce(found.team_id, expected.team_id), coalesce(found.organization_id,
  expected.organization_id), coalesce(found.model_group, expected.model_group), coalesce(found.model,
  expected.model), coalesce(found.provider, expected.provider), coalesce(found.endpoint, expected.endpoint),
  coalesce(found.tool, expected.tool),
  coalesce(found.requests, 0), coalesce(expected.requests, 0), coalesce(found.successful_requests, 0),
  coalesce(expected.successful_requests, 0), coalesce(found.failed_requests, 0),
  coalesce(expected.failed_requests, 0), coalesce(found.input_tokens, 0), coalesce(expected.input_tokens, 0),
  coalesce(found.output_tokens, 0), coalesce(expected.output_tokens, 0), coalesce(found.cache_read_tokens, 0),
  coalesce(expected.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
  coalesce(expected.cache_write_tokens, 0), coalesce(found.reasoning_tokens, 0),
  coalesce(expected.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0), coalesce(expected.cost_nano_usd, 0)
FROM daily_spend AS found
FULL OUTER JOIN expected_daily_spend AS expected
  USING (day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens, expected.reasoning_tokens,
    expected.cost_nano_usd
  );

-- name: audit_daily_entity_spend
-- Return the days of end users and tags that differ from the events: key, then found and expected by counter.
SELECT
  coalesce(found.entity_type, expected.entity_type), coalesce(found.entity_id, expected.entity_id),
  coalesce(found.day, expected.day), coalesce(found.model_group, expected.model_group), coalesce(found.model,
  expected.model), coalesce(found.provider, expected.provider), coalesce(found.endpoint, expected.endpoint),
  coalesce(found.requests, 0), coalesce(expected.requests, 0), coalesce(found.successful_requests, 0),
  coalesce(expected.successful_requests, 0), coalesce(found.failed_requests, 0),
  coalesce(expected.failed_requests, 0), coalesce(found.input_tokens, 0), coalesce(expected.input_tokens, 0),
  coalesce(found.output_tokens, 0), coalesce(expected.output_tokens, 0), coalesce(found.cache_read_tokens, 0),
  coalesce(expected.cache_read_tokens, 0), coalesce(found.cache_write_tokens, 0),
  coalesce(expected.cache_write_tokens, 0), coalesce(found.reasoning_tokens, 0),
  coalesce(expected.reasoning_tokens, 0), coalesce(found.cost_nano_usd, 0), coalesce(expected.cost_nano_usd, 0)
FROM daily_entity_spend AS found
FULL OUTER JOIN expected_daily_entity_spend AS expected
  USING (entity_type, entity_id, day, model_group, model, provider, endpoint)
WHERE (
    found.requests, found.successful_requests, found.failed_requests, found.input_tokens, found.output_tokens,
    found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens, found.cost_nano_usd
  ) IS NOT (
    expected.requests, expected.successful_requests, expected.failed_requests, expected.input_tokens,
    expected.output_tokens, expected.cache_read_tokens, expected.cache_write_tokens, expected.reasoning_tokens,
    expected.cost_nano_usd
  );
