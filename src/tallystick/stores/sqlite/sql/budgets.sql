-- name: budget_window
-- Return what stands in a window.
SELECT spent_nano_usd, carried_nano_usd, leased_nano_usd, wanted_until, wanted_by
FROM budget_windows
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?);

-- name: add_budget_window
-- Make a window.
INSERT INTO budget_windows (
  scope_type, scope_id, member_id, model, starts_at, ends_at, spent_nano_usd, carried_nano_usd, leased_at
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_budget_windows
-- Note that so many windows and aliases were made, so that commits under way look again.
UPDATE ledger_head SET budget_windows = budget_windows + ? WHERE id = 1;

-- name: add_budget_alias
-- Let the events of an entity count in a scope; return a row when they did not before.
INSERT INTO budget_aliases (scope_type, scope_id, entity_id)
VALUES (?, ?, ?)
ON CONFLICT DO NOTHING
RETURNING entity_id;

-- name: budget_aliases_of_scope
-- Return the further ids of a scope.
SELECT entity_id FROM budget_aliases WHERE scope_type = ? AND scope_id = ? ORDER BY entity_id;

-- name: budget_windows_of_scope
-- Return the windows that a scope has, of all members and models.
SELECT scope_type, scope_id, member_id, model, starts_at, ends_at
FROM budget_windows
WHERE scope_type = ? AND scope_id = ?;

-- name: set_budget_spent
-- Set what was spent in a window.
UPDATE budget_windows
SET spent_nano_usd = ?
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?);

-- name: free_lapsed_leases
-- Delete the leases of others on a window that have lapsed; return their amounts.
DELETE FROM budget_leases
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6)
  AND holder <> ?7 AND expires_at <= ?8 AND is_noticed
RETURNING amount_nano_usd;

-- name: notice_late_leases
-- Let the leases of others last until then that are past their time for the first time.
UPDATE budget_leases
SET is_noticed = 1, expires_at = ?9
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6)
  AND holder <> ?7 AND expires_at <= ?8 AND NOT is_noticed;

-- name: budget_lease
-- Return the lease of a holder on a window.
SELECT amount_nano_usd, since_seq, settled_seq
FROM budget_leases
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?) AND holder = ?;

-- name: add_to_budget_lease
-- Add an amount to the lease of a holder on a window; a new one begins behind a number.
INSERT INTO budget_leases (
  scope_type, scope_id, member_id, model, starts_at, ends_at, holder, amount_nano_usd, since_seq, settled_seq,
  expires_at
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)
ON CONFLICT (scope_type, scope_id, member_id, model, starts_at, ends_at, holder) DO UPDATE SET
  amount_nano_usd = amount_nano_usd + excluded.amount_nano_usd,
  expires_at = excluded.expires_at,
  is_noticed = 0;

-- name: extend_budget_lease
-- Let the lease of a holder on a window, if there is one, last until then.
UPDATE budget_leases
SET expires_at = ?8, is_noticed = 0
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6) AND holder = ?7;

-- name: change_budget_leased
-- Add to what is leased of a window. Sums that are wrong are found by an audit, and stop nobody here.
UPDATE budget_windows
SET leased_nano_usd = max(0, leased_nano_usd + ?7)
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6);

-- name: add_budget_leased
-- Add what is given to what is leased of a window, and note when that was.
UPDATE budget_windows
SET leased_nano_usd = leased_nano_usd + ?7, leased_at = ?8
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6);

-- name: note_budget_limit
-- Note the limit that a lease was asked with.
UPDATE budget_windows
SET limit_nano_usd = ?7
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6)
  AND limit_nano_usd IS NOT ?7;

-- name: want_budget_window
-- Mark a window of which others hold leases as wanted by :holder until :until; by all when others want it, too.
UPDATE budget_windows
SET wanted_by = iif(wanted_until > :now AND wanted_by <> :holder, '', :holder), wanted_until = :until
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at)
    = (:scope_type, :scope_id, :member_id, :model, :starts_at, :ends_at)
  AND EXISTS (
    SELECT 1 FROM budget_leases AS l
    WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
        = (:scope_type, :scope_id, :member_id, :model, :starts_at, :ends_at)
      AND l.holder <> :holder AND l.amount_nano_usd > 0
  );

-- name: renew_budget_leases
-- Let all leases of a holder last until then.
UPDATE budget_leases SET expires_at = ?2, is_noticed = 0 WHERE holder = ?1;

-- name: budget_windows_of_holder
-- Return the windows of which a holder has leases, in key order.
SELECT scope_type, scope_id, member_id, model, starts_at, ends_at
FROM budget_leases
WHERE holder = ?
ORDER BY scope_type, scope_id, member_id, model, starts_at, ends_at;

-- name: wanted_budget_windows
-- Return the windows that others want and of which ?1 has a lease, in key order.
SELECT w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
FROM budget_leases AS l
CROSS JOIN budget_windows AS w USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
WHERE l.holder = ?1 AND w.wanted_until > ?2 AND w.wanted_by <> ?1
ORDER BY w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at;

-- name: shrink_budget_lease
-- Take an amount off the lease of a holder on a window; the higher number is what it has settled.
UPDATE budget_leases
SET amount_nano_usd = amount_nano_usd - ?8, settled_seq = max(settled_seq, ?9)
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6) AND holder = ?7;

-- name: delete_budget_lease
-- Delete the lease of a holder on a window.
DELETE FROM budget_leases
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?) AND holder = ?;

-- name: budget_sum
-- Return what reports show of a window; leases that have lapsed are not leased.
SELECT
  w.spent_nano_usd, w.carried_nano_usd,
  w.leased_nano_usd - coalesce((
    SELECT sum(l.amount_nano_usd) FROM budget_leases AS l
    WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
        = (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at)
      AND l.expires_at <= ?7
  ), 0),
  w.limit_nano_usd
FROM budget_windows AS w
WHERE (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at) = (?1, ?2, ?3, ?4, ?5, ?6);

-- name: open_budget_windows
-- Return up to ?8 windows that have not ended at ?7, in key order, behind the given one.
SELECT
  w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at, w.spent_nano_usd, w.carried_nano_usd,
  w.leased_nano_usd - coalesce((
    SELECT sum(l.amount_nano_usd) FROM budget_leases AS l
    WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
        = (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at)
      AND l.expires_at <= ?7
  ), 0),
  w.limit_nano_usd
FROM budget_windows AS w
WHERE (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at) > (?1, ?2, ?3, ?4, ?5, ?6)
  AND w.ends_at > ?7
ORDER BY w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
LIMIT ?8;

-- name: claim_budget_alert
-- Note the level of an alert; return a row unless one of this level or above is noted.
UPDATE budget_windows
SET alerted_level = ?7
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6) AND alerted_level < ?7
RETURNING alerted_level;

-- name: old_budget_windows
-- Return up to ?3 windows that had ended at ?1 and of which nobody has a lease that had not lapsed at ?2.
SELECT w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
FROM budget_windows AS w
WHERE w.ends_at <= ?1 AND NOT EXISTS (
  SELECT 1 FROM budget_leases AS l
  WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
      = (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at)
    AND l.expires_at > ?2
)
ORDER BY w.ends_at
LIMIT ?3;

-- name: idle_budget_windows
-- Return up to :limit windows of these types of scope from :starts_at up to :ends_at from which nobody has leased since
-- :before, and of which nobody has a lease that has not lapsed :now.
SELECT w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
FROM budget_windows AS w
WHERE w.scope_type IN (SELECT value FROM json_each(:types)) AND w.starts_at = :starts_at AND w.ends_at = :ends_at
  AND w.leased_at <= :before AND NOT EXISTS (
    SELECT 1 FROM budget_leases AS l
    WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at)
        = (w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at)
      AND l.expires_at > :now
  )
LIMIT :limit;

-- name: delete_idle_budget_window
-- Delete a window if still nobody has leased from it since ?7, or has a lease that has not lapsed at ?8; return a row
-- when it is gone.
DELETE FROM budget_windows
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6)
  AND leased_at <= ?7 AND NOT EXISTS (
    SELECT 1 FROM budget_leases AS l
    WHERE (l.scope_type, l.scope_id, l.member_id, l.model, l.starts_at, l.ends_at) = (?1, ?2, ?3, ?4, ?5, ?6)
      AND l.expires_at > ?8
  )
RETURNING scope_type;

-- name: delete_budget_leases_of_window
-- Delete all leases on a window.
DELETE FROM budget_leases
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?);

-- name: delete_budget_window
-- Delete a window.
DELETE FROM budget_windows
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?, ?, ?, ?, ?, ?);

-- name: budget_windows_made
-- Return how many windows and aliases were ever made.
SELECT budget_windows FROM ledger_head WHERE id = 1;

-- name: budget_places
-- Return the windows of these scopes, and of those for which their ids are aliases, that overlap with the times from
-- :first_time to :last_time; each behind the scope by which it was found.
WITH asked AS MATERIALIZED (
  SELECT value ->> 0 AS scope_type, value ->> 1 AS entity_id, value ->> 2 AS member_id FROM json_each(:scopes)
)
SELECT
  a.scope_type, a.entity_id, a.member_id,
  w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
FROM asked AS a
CROSS JOIN budget_windows AS w
  ON w.scope_type = a.scope_type AND w.scope_id = a.entity_id AND w.member_id = a.member_id
WHERE w.starts_at <= :last_time AND w.ends_at > :first_time
UNION ALL
SELECT
  a.scope_type, a.entity_id, a.member_id,
  w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
FROM asked AS a
CROSS JOIN budget_aliases AS b ON b.scope_type = a.scope_type AND b.entity_id = a.entity_id
CROSS JOIN budget_windows AS w
  ON w.scope_type = b.scope_type AND w.scope_id = b.scope_id AND w.member_id = a.member_id
WHERE w.starts_at <= :last_time AND w.ends_at > :first_time;

-- name: charge_budget_window
-- Add a cost to what was spent in a window, and take what a lease paid of it off what is leased.
UPDATE budget_windows
SET spent_nano_usd = spent_nano_usd + ?7, leased_nano_usd = max(0, leased_nano_usd - ?8)
WHERE (scope_type, scope_id, member_id, model, starts_at, ends_at) = (?1, ?2, ?3, ?4, ?5, ?6);
