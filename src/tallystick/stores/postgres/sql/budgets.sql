-- name: lock_budget_windows
-- Return those of the windows that are there, by their place in what is asked, locked in key order; by whom they are
-- wanted: NULL when nobody does, '' when several do.
SELECT
    asked.place, held.spent_nano_usd, held.carried_nano_usd, held.leased_nano_usd,
    CASE WHEN held.wanted_until > clock_timestamp() THEN held.wanted_by END AS wanted_by
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FOR NO KEY UPDATE OF held

-- name: missing_budget_aliases
-- Return those of the aliases that nobody has made, by their place in what is asked.
SELECT asked.place
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (scope_type, scope_id, entity_id, place)
WHERE NOT EXISTS (
    SELECT FROM budget_aliases AS held
    WHERE held.scope_type = asked.scope_type AND held.entity_id = asked.entity_id AND held.scope_id = asked.scope_id
)
ORDER BY asked.place

-- name: free_and_read_budget_leases
-- Of windows that are locked, delete the leases of others that have lapsed, and give those $8 seconds more that are past
-- their time for the first time; return how much that freed, and what $7 has leased and committed.
WITH asked AS MATERIALIZED (
    SELECT place, scope_type, scope_id, member_id, model, starts_at, ends_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
        WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
),
noticed AS (
    UPDATE budget_leases AS lease
    SET is_noticed = TRUE, expires_at = clock_timestamp() + make_interval(secs => $8)
    FROM asked
    WHERE lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.expires_at <= clock_timestamp() AND NOT lease.is_noticed AND lease.holder <> $7
),
deleted AS (
    DELETE FROM budget_leases AS lease
    USING asked
    WHERE lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.expires_at <= clock_timestamp() AND lease.is_noticed AND lease.holder <> $7
    RETURNING asked.place, lease.amount_nano_usd
)
SELECT
    asked.place,
    (SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM deleted WHERE deleted.place = asked.place) AS freed_nano_usd,
    own.amount_nano_usd, own.settled_seq,
    coalesce((SELECT watermark FROM producers WHERE producer_id = $7), 0) AS watermark
FROM asked
LEFT JOIN budget_leases AS own
    ON own.scope_type = asked.scope_type AND own.scope_id = asked.scope_id
        AND own.member_id = asked.member_id AND own.model = asked.model
        AND own.starts_at = asked.starts_at AND own.ends_at = asked.ends_at
        AND own.holder = $7
ORDER BY asked.place

-- name: write_budget_leases
-- On windows that are locked: add $8 to the leases of $7 where $9 says that there is one or is to be one. It lasts $14
-- seconds from now; a new one begins behind $10. Add $11 to what each window has leased, note its limit $12, and mark
-- it as wanted by $7 for $15 seconds where $13 says so.
WITH asked AS MATERIALIZED (
    SELECT
        place, scope_type, scope_id, member_id, model, starts_at, ends_at,
        granted, has_lease, since_seq, leased_change, limit_nano_usd, becomes_wanted
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $8::bigint[], $9::boolean[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[]
    ) WITH ORDINALITY AS asked (
        scope_type, scope_id, member_id, model, starts_at, ends_at,
        granted, has_lease, since_seq, leased_change, limit_nano_usd, becomes_wanted, place
    )
),
leases AS (
    INSERT INTO budget_leases AS lease (
        scope_type, scope_id, member_id, model, starts_at, ends_at, holder,
        amount_nano_usd, since_seq, settled_seq, expires_at
    )
    SELECT
        scope_type, scope_id, member_id, model, starts_at, ends_at, $7,
        granted, since_seq, since_seq, clock_timestamp() + make_interval(secs => $14)
    FROM asked
    WHERE has_lease
    ON CONFLICT (scope_type, scope_id, member_id, model, starts_at, ends_at, holder) DO UPDATE SET
        amount_nano_usd = lease.amount_nano_usd + excluded.amount_nano_usd,
        expires_at = excluded.expires_at,
        is_noticed = FALSE
)
UPDATE budget_windows AS held
SET
    leased_nano_usd = held.leased_nano_usd + asked.leased_change,
    leased_at = CASE WHEN asked.granted > 0 THEN clock_timestamp() ELSE held.leased_at END,
    limit_nano_usd = asked.limit_nano_usd,
    wanted_until = CASE
        WHEN asked.becomes_wanted THEN clock_timestamp() + make_interval(secs => $15) ELSE held.wanted_until
    END,
    wanted_by = CASE
        WHEN NOT asked.becomes_wanted THEN held.wanted_by
        WHEN held.wanted_until > clock_timestamp() AND held.wanted_by <> $7 THEN ''
        ELSE $7
    END
FROM asked
WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
    AND held.member_id = asked.member_id AND held.model = asked.model
    AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at
    AND (asked.leased_change <> 0 OR asked.becomes_wanted OR asked.limit_nano_usd IS DISTINCT FROM held.limit_nano_usd)

-- name: own_budget_leases
-- Return for each of the windows, which are locked, what $7 has leased and committed.
SELECT
    asked.place, own.amount_nano_usd, own.settled_seq,
    coalesce((SELECT watermark FROM producers WHERE producer_id = $7), 0) AS watermark
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
LEFT JOIN budget_leases AS own
    ON own.scope_type = asked.scope_type AND own.scope_id = asked.scope_id
        AND own.member_id = asked.member_id AND own.model = asked.model
        AND own.starts_at = asked.starts_at AND own.ends_at = asked.ends_at
        AND own.holder = $7
ORDER BY asked.place

-- name: shrink_budget_leases
-- On windows that are locked: take $8 off the leases of $7 and off what the windows have leased; delete the leases that
-- are over, as $9 says.
WITH asked AS MATERIALIZED (
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, taken, is_over
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $8::bigint[], $9::boolean[]
    ) AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, taken, is_over)
),
deleted AS (
    DELETE FROM budget_leases AS lease
    USING asked
    WHERE lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.holder = $7 AND asked.is_over
),
kept AS (
    UPDATE budget_leases AS lease
    SET amount_nano_usd = lease.amount_nano_usd - asked.taken
    FROM asked
    WHERE lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.holder = $7 AND NOT asked.is_over
)
UPDATE budget_windows AS held
SET leased_nano_usd = held.leased_nano_usd - asked.taken
FROM asked
WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
    AND held.member_id = asked.member_id AND held.model = asked.model
    AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at

-- name: lock_leased_budget_windows
-- Return the windows of which $1 has leases, locked in key order.
SELECT held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FROM budget_leases AS lease
JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE lease.holder = $1
ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FOR NO KEY UPDATE OF held

-- name: renew_budget_leases
-- Let all leases of $1, on windows that are locked, last $2 seconds from now.
UPDATE budget_leases
SET expires_at = clock_timestamp() + make_interval(secs => $2), is_noticed = FALSE
WHERE holder = $1

-- name: budget_leases_of_holder
-- Return all leases of $1 with their windows, in key order.
SELECT
    held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at,
    held.spent_nano_usd, held.carried_nano_usd, held.leased_nano_usd,
    CASE WHEN held.wanted_until > clock_timestamp() THEN held.wanted_by END AS wanted_by,
    lease.amount_nano_usd, lease.settled_seq,
    coalesce((SELECT watermark FROM producers WHERE producer_id = $1), 0) AS watermark
FROM budget_leases AS lease
JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE lease.holder = $1
ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at

-- name: wanted_budget_windows
-- Return the windows that others want and of which $1 has a lease, in key order.
SELECT held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FROM budget_leases AS lease
JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE lease.holder = $1 AND held.wanted_until > clock_timestamp() AND held.wanted_by <> $1
ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at

-- name: read_budget_windows
-- Return those of the windows that are there, by their place in what is asked; leases that have lapsed do not count.
SELECT
    asked.place, held.spent_nano_usd, held.carried_nano_usd, held.limit_nano_usd,
    held.leased_nano_usd - (
        SELECT coalesce(sum(lease.amount_nano_usd), 0)::bigint FROM budget_leases AS lease
        WHERE lease.scope_type = held.scope_type AND lease.scope_id = held.scope_id
            AND lease.member_id = held.member_id AND lease.model = held.model
            AND lease.starts_at = held.starts_at AND lease.ends_at = held.ends_at
            AND lease.expires_at <= clock_timestamp()
    ) AS leased_nano_usd
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
ORDER BY asked.place

-- name: open_budget_windows
-- Return up to $8 windows that have not ended at $7, in key order, behind the given one; leases that have lapsed do not
-- count.
SELECT
    scope_type, scope_id, member_id, model, starts_at, ends_at,
    spent_nano_usd, carried_nano_usd, limit_nano_usd,
    leased_nano_usd - (
        SELECT coalesce(sum(lease.amount_nano_usd), 0)::bigint FROM budget_leases AS lease
        WHERE lease.scope_type = held.scope_type AND lease.scope_id = held.scope_id
            AND lease.member_id = held.member_id AND lease.model = held.model
            AND lease.starts_at = held.starts_at AND lease.ends_at = held.ends_at
            AND lease.expires_at <= clock_timestamp()
    ) AS leased_nano_usd
FROM budget_windows AS held
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at)
        > ($1::text, $2::text, $3::text, $4::text, $5::timestamptz, $6::timestamptz)
    AND ends_at > $7
ORDER BY scope_type, scope_id, member_id, model, starts_at, ends_at
LIMIT $8

-- name: claim_budget_alert
-- Note the level of an alert unless one of this level or above is noted; return whether it was noted now, nothing when
-- the window is not there.
WITH held AS (
    SELECT alerted_level FROM budget_windows
    WHERE scope_type = $1 AND scope_id = $2 AND member_id = $3 AND model = $4 AND starts_at = $5 AND ends_at = $6
    FOR NO KEY UPDATE
)
UPDATE budget_windows SET alerted_level = greatest(budget_windows.alerted_level, $7)
FROM held
WHERE scope_type = $1 AND scope_id = $2 AND member_id = $3 AND model = $4 AND starts_at = $5 AND ends_at = $6
RETURNING held.alerted_level < $7

-- name: lock_ended_budget_windows
-- Lock and return up to $2 windows that ended at $1 or before, that nobody holds at this moment, and of which nobody has
-- a lease that has not lapsed. It waits for nobody, so the order is free.
SELECT
    held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FROM budget_windows AS held
WHERE held.ends_at <= $1 AND NOT EXISTS (
    SELECT FROM budget_leases AS lease
    WHERE lease.scope_type = held.scope_type AND lease.scope_id = held.scope_id
        AND lease.member_id = held.member_id AND lease.model = held.model
        AND lease.starts_at = held.starts_at AND lease.ends_at = held.ends_at
        AND lease.expires_at > clock_timestamp()
)
ORDER BY held.ends_at
LIMIT $2
FOR UPDATE OF held SKIP LOCKED

-- name: lock_idle_budget_windows
-- The same for windows of these types of scope from $2 up to $3 from which nobody has leased for $4 seconds.
SELECT
    held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FROM budget_windows AS held
WHERE held.scope_type = ANY ($1::text[]) AND held.starts_at = $2 AND held.ends_at = $3
    AND held.leased_at <= clock_timestamp() - make_interval(secs => $4) AND NOT EXISTS (
        SELECT FROM budget_leases AS lease
        WHERE lease.scope_type = held.scope_type AND lease.scope_id = held.scope_id
            AND lease.member_id = held.member_id AND lease.model = held.model
            AND lease.starts_at = held.starts_at AND lease.ends_at = held.ends_at
            AND lease.expires_at > clock_timestamp()
    )
LIMIT $5
FOR UPDATE OF held SKIP LOCKED

-- name: delete_ended_budget_windows
-- Of windows that are locked, delete those of which still nobody has a lease that has not lapsed; return how many.
WITH asked AS MATERIALIZED (
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
        AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at)
),
deleted AS (
    DELETE FROM budget_windows AS held
    USING asked
    WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
        AND held.member_id = asked.member_id AND held.model = asked.model
        AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at
        AND NOT EXISTS (
            SELECT FROM budget_leases AS lease
            WHERE lease.scope_type = held.scope_type AND lease.scope_id = held.scope_id
                AND lease.member_id = held.member_id AND lease.model = held.model
                AND lease.starts_at = held.starts_at AND lease.ends_at = held.ends_at
                AND lease.expires_at > clock_timestamp()
        )
    RETURNING held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
),
leases AS (
    DELETE FROM budget_leases AS lease
    USING deleted
    WHERE lease.scope_type = deleted.scope_type AND lease.scope_id = deleted.scope_id
        AND lease.member_id = deleted.member_id AND lease.model = deleted.model
        AND lease.starts_at = deleted.starts_at AND lease.ends_at = deleted.ends_at
)
SELECT count(*) FROM deleted
