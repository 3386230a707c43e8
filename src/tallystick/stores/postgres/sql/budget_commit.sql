-- name: budget_windows_of_scopes
-- Return the windows of scopes, under the ids of the scopes and under those that they are aliases of, that have any part
-- of the time from $4 to $5. Parameters as in add_daily_entity_spend.
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

-- name: lock_counted_budget_windows
-- Lock windows in key order; return whether anybody has leased from them. One that is not there any more is passed over.
SELECT coalesce(bool_or(locked.leased_nano_usd > 0), FALSE)
FROM (
    SELECT held.leased_nano_usd
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
        AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at)
    JOIN budget_windows AS held USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
    ORDER BY held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at
    FOR NO KEY UPDATE OF held
) AS locked

-- name: leases_of_counted_budget_windows
-- Return for those of the windows, which are locked, of which producer $7 has a lease, what it holds and from which number
-- on it pays. Locked in key order, as whoever renews leases takes them.
SELECT asked.place, lease.amount_nano_usd, lease.since_seq
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
JOIN budget_leases AS lease USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE lease.holder = $7
ORDER BY lease.scope_type, lease.scope_id, lease.member_id, lease.model, lease.starts_at, lease.ends_at
FOR NO KEY UPDATE OF lease

-- name: count_in_budget_windows
-- On windows that are locked: add $8 to what was spent, take $9 off what is leased, and off the lease of producer $7, which
-- is settled up to $10 now.
WITH asked AS MATERIALIZED (
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, spent, paid
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $8::bigint[], $9::bigint[]
    ) AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, spent, paid)
),
leases AS (
    UPDATE budget_leases AS lease
    SET amount_nano_usd = lease.amount_nano_usd - asked.paid, settled_seq = greatest(lease.settled_seq, $10)
    FROM asked
    WHERE lease.scope_type = asked.scope_type AND lease.scope_id = asked.scope_id
        AND lease.member_id = asked.member_id AND lease.model = asked.model
        AND lease.starts_at = asked.starts_at AND lease.ends_at = asked.ends_at
        AND lease.holder = $7
)
UPDATE budget_windows AS held
SET spent_nano_usd = held.spent_nano_usd + asked.spent, leased_nano_usd = held.leased_nano_usd - asked.paid
FROM asked
WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
        AND held.member_id = asked.member_id AND held.model = asked.model
        AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at
