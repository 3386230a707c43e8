-- name: lock_ledger_head
-- Keep commits from ending until this transaction does: those before are visible, those behind will see what it made.
SELECT position FROM ledger_head WHERE id = 1 FOR NO KEY UPDATE

-- name: missing_budget_windows
-- Return those of the windows that are not there, by their place in what is asked.
SELECT asked.place
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, place)
WHERE NOT EXISTS (
    SELECT FROM budget_windows AS held
    WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
        AND held.member_id = asked.member_id AND held.model = asked.model
        AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at
)
ORDER BY asked.place

-- name: budget_aliases_of_scopes
-- Return the further ids of scopes.
SELECT held.scope_type, held.scope_id, held.entity_id
FROM unnest($1::text[], $2::text[]) AS asked (scope_type, scope_id)
JOIN budget_aliases AS held USING (scope_type, scope_id)
ORDER BY held.scope_type, held.scope_id, held.entity_id

-- name: add_budget_alias
-- Let the events of entity $3 count in scope $2.
INSERT INTO budget_aliases (scope_type, scope_id, entity_id) VALUES ($1, $2, $3)

-- name: lock_budget_windows_of_scope
-- Return the windows that a scope has, of all members and models, locked in key order.
SELECT scope_type, scope_id, member_id, model, starts_at, ends_at
FROM budget_windows
WHERE scope_type = $1 AND scope_id = $2
ORDER BY scope_type, scope_id, member_id, model, starts_at, ends_at
FOR NO KEY UPDATE

-- name: add_to_budget_windows
-- Add to what was spent in windows that are locked.
UPDATE budget_windows AS held
SET spent_nano_usd = held.spent_nano_usd + asked.cost_nano_usd
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[]
) AS asked (scope_type, scope_id, member_id, model, starts_at, ends_at, cost_nano_usd)
WHERE held.scope_type = asked.scope_type AND held.scope_id = asked.scope_id
    AND held.member_id = asked.member_id AND held.model = asked.model
    AND held.starts_at = asked.starts_at AND held.ends_at = asked.ends_at

-- name: add_budget_windows
-- Make windows, in key order.
INSERT INTO budget_windows (
    scope_type, scope_id, member_id, model, starts_at, ends_at, spent_nano_usd, carried_nano_usd
)
SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, spent_nano_usd, carried_nano_usd
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[], $8::bigint[]
) AS asked (
    scope_type, scope_id, member_id, model, starts_at, ends_at, spent_nano_usd, carried_nano_usd
)
ORDER BY scope_type, scope_id, member_id, model, starts_at, ends_at

-- name: count_budget_windows
-- Note that so many windows and aliases were made, so that commits under way look again.
UPDATE ledger_head SET budget_windows = budget_windows + $1 WHERE id = 1
