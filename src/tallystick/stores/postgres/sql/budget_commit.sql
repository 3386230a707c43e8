-- name: budget_windows_of_scopes
-- Return the windows of scopes, under the ids of the scopes and under those that they are aliases of, that have any part
-- of the time from $4 to $5, in key order. In this and the next, columns come as text as in add_daily_entity_spend.
WITH asked AS MATERIALIZED (
    SELECT
        unnest((SELECT $1::text)::text[]) AS scope_type,
        unnest((SELECT $2::text)::text[]) AS entity_id,
        unnest((SELECT $3::text)::text[]) AS member_id
),
reached AS (
    SELECT scope_type, entity_id, member_id, entity_id AS scope_id FROM asked
    UNION ALL
    SELECT asked.scope_type, asked.entity_id, asked.member_id, alias.scope_id
    FROM asked
    JOIN budget_aliases AS alias ON alias.scope_type = asked.scope_type AND alias.entity_id = asked.entity_id
)
SELECT
    reached.entity_id,
    held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
FROM reached
JOIN budget_windows AS held
    ON held.scope_type = reached.scope_type AND held.scope_id = reached.scope_id
        AND held.member_id = reached.member_id AND held.starts_at <= $5 AND held.ends_at > $4
ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at

-- name: lock_counted_budget_windows
-- Lock windows in key order. One that is not there any more is passed over.
SELECT count(*)
FROM (
    SELECT held.leased_nano_usd
    FROM (
        SELECT
            unnest((SELECT $1::text)::text[]) AS scope_type,
            unnest((SELECT $2::text)::text[]) AS scope_id,
            unnest((SELECT $3::text)::text[]) AS member_id,
            unnest((SELECT $4::text)::text[]) AS model,
            unnest((SELECT $5::text)::timestamptz[]) AS starts_at,
            unnest((SELECT $6::text)::timestamptz[]) AS ends_at
    ) AS asked
    JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
    ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
    FOR NO KEY UPDATE OF held
) AS locked

-- name: count_in_budget_windows
-- On windows that are locked: add $8 to what was spent. Leases of producer $7 pay it, at most what they hold, and are
-- settled up to $10 then, if they began before number $9. Return those that began at it or behind, by the place ($11) of
-- their windows: they pay a part.
WITH asked AS MATERIALIZED (
    SELECT
        unnest((SELECT $1::text)::text[]) AS scope_type,
        unnest((SELECT $2::text)::text[]) AS scope_id,
        unnest((SELECT $3::text)::text[]) AS member_id,
        unnest((SELECT $4::text)::text[]) AS model,
        unnest((SELECT $5::text)::timestamptz[]) AS starts_at,
        unnest((SELECT $6::text)::timestamptz[]) AS ends_at,
        unnest((SELECT $8::text)::bigint[]) AS spent,
        unnest((SELECT $11::text)::integer[]) AS place
),
charged AS MATERIALIZED (
    SELECT
        asked.place, asked.scope_type, asked.scope_id, asked.member_id, asked.model, asked.starts_at, asked.ends_at,
        asked.spent, lease.since_seq, lease.amount_nano_usd,
        CASE WHEN lease.since_seq < $9 THEN greatest(0, least(lease.amount_nano_usd, asked.spent)) ELSE 0 END AS paid
    FROM asked
    LEFT JOIN budget_leases AS lease
        ON lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.holder = $7
),
leases AS (
    UPDATE budget_leases AS lease
    SET amount_nano_usd = lease.amount_nano_usd - charged.paid, settled_seq = greatest(lease.settled_seq, $10)
    FROM charged
    WHERE lease.scope_type = charged.scope_type AND lease.scope_id = charged.scope_id
        AND lease.member_id = charged.member_id AND lease.model = charged.model
        AND lease.starts_at = charged.starts_at AND lease.ends_at = charged.ends_at
        AND lease.holder = $7 AND charged.since_seq IS NOT NULL
),
windows AS (
    UPDATE budget_windows AS held
    SET
        spent_nano_usd = held.spent_nano_usd + charged.spent,
        leased_nano_usd = held.leased_nano_usd - charged.paid
    FROM charged
    WHERE held.scope_type = charged.scope_type AND held.scope_id = charged.scope_id
        AND held.member_id = charged.member_id AND held.model = charged.model
        AND held.starts_at = charged.starts_at AND held.ends_at = charged.ends_at
)
SELECT place, amount_nano_usd, since_seq
FROM charged
WHERE since_seq >= $9 AND since_seq < $10
ORDER BY place
