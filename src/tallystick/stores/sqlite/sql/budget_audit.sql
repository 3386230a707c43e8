-- name: audit_budget_windows
-- Return the windows that differ from what follows from the events and the leases: key, then found and expected.
SELECT
  found.scope_type, found.scope_id, found.member_id, found.model, found.starts_at, found.ends_at,
  found.spent_nano_usd, expected.spent_nano_usd, found.leased_nano_usd, expected.leased_nano_usd
FROM expected_budget_windows AS expected
JOIN budget_windows AS found USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE (found.spent_nano_usd, found.leased_nano_usd) IS NOT (expected.spent_nano_usd, expected.leased_nano_usd);

-- name: audit_budget_leases
-- Return the leases of no window, with their holders.
SELECT l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at, l.holder
FROM budget_leases AS l
WHERE NOT EXISTS (
  SELECT 1 FROM budget_windows AS w
  WHERE (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at)
      = (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
);

-- name: remove_unfounded_budget_leases
-- Delete the leases of no window.
DELETE FROM budget_leases
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) NOT IN (
  SELECT scope_type, scope_id, member_id, model, starts_at, ends_at FROM budget_windows
);

-- name: rebuild_budget_windows
-- Set windows that differ to what follows from the events and the leases. What was carried stays: it was decided once.
UPDATE budget_windows
SET spent_nano_usd = expected.spent_nano_usd, leased_nano_usd = expected.leased_nano_usd
FROM expected_budget_windows AS expected
WHERE (
    budget_windows.scope_type, budget_windows.scope_id, budget_windows.member_id, budget_windows.model,
    budget_windows.starts_at, budget_windows.ends_at
  ) = (
    expected.scope_type, expected.scope_id, expected.member_id, expected.model, expected.starts_at, expected.ends_at
  )
  AND (budget_windows.spent_nano_usd, budget_windows.leased_nano_usd)
    IS NOT (expected.spent_nano_usd, expected.leased_nano_usd);
