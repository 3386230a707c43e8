-- name: look_budgets_up_by_hash
-- Let this transaction look every event up in a hash table of windows. The planner can't tell how many windows there are
-- under an id, and would sort all events under all their scopes instead.
SET LOCAL enable_mergejoin = off

-- name: audit_budget_windows
-- Return up to $1 places where a window differs from what follows from the events and the leases, or a lease has no
-- window, and how many there are in all.
SELECT row_label, difference.column_name, difference.found, difference.expected, count(*) OVER () AS difference_count
FROM (
    SELECT
        concat_ws(
            ' ', scope_type, scope_id, member_id, model,
            to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            to_char(ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        ) AS row_label,
        ARRAY[coalesce(found.spent_nano_usd, 0), coalesce(found.leased_nano_usd, 0)] AS found,
        ARRAY[coalesce(expected.spent_nano_usd, 0), coalesce(expected.leased_nano_usd, 0)] AS expected
    FROM budget_windows AS found
    FULL JOIN expected_budget_windows AS expected USING (
        scope_type, scope_id, member_id, model, starts_at, ends_at
    )
) AS compared
CROSS JOIN LATERAL unnest(
    ARRAY['spent_nano_usd', 'leased_nano_usd'], compared.found, compared.expected
) AS difference (column_name, found, expected)
WHERE difference.found <> difference.expected
ORDER BY row_label, difference.column_name
LIMIT $1

-- name: lock_all_budget_windows
-- Wait for the leases that are under way and keep new ones waiting; who makes windows waits for ledger_head.
SELECT count(*)
FROM (
    SELECT scope_type FROM budget_windows
    ORDER BY scope_type, scope_id, member_id, model, starts_at, ends_at
    FOR NO KEY UPDATE
) AS locked

-- name: remove_unfounded_budget_leases
-- Remove the leases of no window.
DELETE FROM budget_leases AS lease
WHERE NOT EXISTS (
    SELECT FROM budget_windows AS held
    WHERE held.scope_type = lease.scope_type AND held.scope_id = lease.scope_id
        AND held.member_id = lease.member_id AND held.model = lease.model
        AND held.starts_at = lease.starts_at AND held.ends_at = lease.ends_at
)

-- name: rebuild_budget_windows
-- Set every window to what follows from the events and the leases; those that are right stay as they are.
UPDATE budget_windows AS held
SET spent_nano_usd = expected.spent_nano_usd, leased_nano_usd = expected.leased_nano_usd
FROM expected_budget_windows AS expected
WHERE held.scope_type = expected.scope_type AND held.scope_id = expected.scope_id
    AND held.member_id = expected.member_id AND held.model = expected.model
    AND held.starts_at = expected.starts_at AND held.ends_at = expected.ends_at
    AND (held.spent_nano_usd, held.leased_nano_usd)
        IS DISTINCT FROM (expected.spent_nano_usd, expected.leased_nano_usd)

-- name: rebuild_budget_windows_count
-- Count at least the windows and aliases that there are: with a lower number commits would not look for them.
UPDATE ledger_head
SET budget_windows = there.count
FROM (
    SELECT (SELECT count(*) FROM budget_windows) + (SELECT count(*) FROM budget_aliases) AS count
) AS there
WHERE ledger_head.id = 1 AND ledger_head.budget_windows < there.count
