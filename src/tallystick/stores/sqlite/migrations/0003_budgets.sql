-- How many windows and aliases of budgets were ever made. A commit reads it along with its place, and knows from it
-- that there are no windows, or none that it has not looked for.
ALTER TABLE ledger_head ADD COLUMN budget_windows INTEGER NOT NULL DEFAULT 0;

-- Where money is counted against a limit: one scope from starts_at up to ends_at. A window is made by whoever first
-- leases from it, with what was spent until then; afterwards each commit adds what its events cost.
CREATE TABLE budget_windows (
  scope_type TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  member_id TEXT NOT NULL,
  model TEXT NOT NULL,
  starts_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  spent_nano_usd INTEGER NOT NULL,
  carried_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (carried_nano_usd >= 0),
  leased_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (leased_nano_usd >= 0),
  limit_nano_usd INTEGER,
  -- When it was made, or somebody was last given a lease.
  leased_at INTEGER NOT NULL,
  wanted_until INTEGER NOT NULL DEFAULT 0,
  -- Who lacks what others have leased; '' when several do.
  wanted_by TEXT NOT NULL DEFAULT '',
  alerted_level INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (scope_type, scope_id, member_id, model, starts_at, ends_at),
  CHECK (starts_at < ends_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_windows_by_end ON budget_windows (ends_at);

-- Part of a window that one holder, a producer, may spend without asking. It pays for the holder's events above
-- since_seq; those up to settled_seq are taken off the amount already.
CREATE TABLE budget_leases (
  scope_type TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  member_id TEXT NOT NULL,
  model TEXT NOT NULL,
  starts_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  holder TEXT NOT NULL,
  amount_nano_usd INTEGER NOT NULL CHECK (amount_nano_usd >= 0),
  since_seq INTEGER NOT NULL,
  settled_seq INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  -- Whether it was found past its time once, and has got some more: so that after an outage whoever comes first does not
  -- take what all others are about to renew.
  is_noticed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (scope_type, scope_id, member_id, model, starts_at, ends_at, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_leases_by_holder ON budget_leases (holder);

-- Under which further ids events count in a scope: the other hashes of a key that was regenerated.
CREATE TABLE budget_aliases (
  scope_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  PRIMARY KEY (scope_type, entity_id, scope_id),
  CHECK (entity_id <> scope_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_aliases_by_scope ON budget_aliases (scope_type, scope_id);

-- By these a new window finds what was spent in it so far: whole days in daily_spend, the rest in the events.
CREATE INDEX daily_spend_by_key ON daily_spend (key_hash, day) WHERE key_hash <> '';
CREATE INDEX daily_spend_by_user ON daily_spend (user_id, day) WHERE user_id <> '';
CREATE INDEX daily_spend_by_team ON daily_spend (team_id, day) WHERE team_id <> '';
CREATE INDEX daily_spend_by_organization ON daily_spend (organization_id, day) WHERE organization_id <> '';
CREATE INDEX totals_by_member ON totals (member_id) WHERE entity_type = 'team_member';
CREATE INDEX spend_events_by_session ON spend_events (session_id, event_time) WHERE session_id <> '';

-- What windows have to hold, from the events and the leases alone. The events are read once for all scopes (and once
-- for tags), each is looked up in the windows under the ids that it has: `ledger.budget_scopes` in SQL.
CREATE VIEW expected_budget_windows AS
WITH places AS MATERIALIZED (
  SELECT scope_type, scope_id AS entity_id, scope_id, member_id, model, starts_at, ends_at
  FROM budget_windows
  UNION ALL
  SELECT w.scope_type, a.entity_id, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at
  FROM budget_aliases AS a
  JOIN budget_windows AS w ON w.scope_type = a.scope_type AND w.scope_id = a.scope_id
),
counted_types AS MATERIALIZED (
  SELECT DISTINCT scope_type FROM budget_windows WHERE scope_type <> 'tag'
),
counted AS (
  SELECT p.scope_type, p.scope_id, p.member_id, p.model, p.starts_at, p.ends_at, e.cost_nano_usd
  FROM spend_events AS e
  CROSS JOIN counted_types AS t
  CROSS JOIN places AS p
    ON p.scope_type = t.scope_type
    AND p.entity_id = CASE t.scope_type
      WHEN 'global' THEN ''
      WHEN 'key' THEN nullif(e.key_hash, '')
      WHEN 'session' THEN CASE WHEN e.key_hash <> '' THEN nullif(e.session_id, '') END
      WHEN 'user' THEN nullif(e.user_id, '')
      WHEN 'personal' THEN CASE WHEN e.team_id = '' THEN nullif(e.user_id, '') END
      WHEN 'team' THEN nullif(e.team_id, '')
      WHEN 'team_member' THEN CASE WHEN e.user_id <> '' THEN nullif(e.team_id, '') END
      WHEN 'organization' THEN nullif(e.organization_id, '')
      WHEN 'organization_member' THEN CASE WHEN e.user_id <> '' THEN nullif(e.organization_id, '') END
      WHEN 'provider' THEN nullif(e.provider, '')
      WHEN 'end_user' THEN nullif(e.end_user_id, '')
    END
    AND p.member_id = CASE t.scope_type
      WHEN 'session' THEN e.key_hash
      WHEN 'team_member' THEN e.user_id
      WHEN 'organization_member' THEN e.user_id
      ELSE ''
    END
    AND p.model IN ('', e.model_group)
    AND e.event_time >= p.starts_at AND e.event_time < p.ends_at
  UNION ALL
  SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, cost_nano_usd
  FROM (
    SELECT DISTINCT
      e.rowid AS event_row, p.scope_type, p.scope_id, p.member_id, p.model, p.starts_at, p.ends_at, e.cost_nano_usd
    FROM spend_events AS e
    CROSS JOIN json_each(e.tags) AS tag
    CROSS JOIN places AS p
      ON p.scope_type = 'tag' AND p.entity_id = tag.value AND p.member_id = ''
      AND p.model IN ('', e.model_group)
      AND e.event_time >= p.starts_at AND e.event_time < p.ends_at
    WHERE e.tags IS NOT NULL AND EXISTS (SELECT 1 FROM budget_windows WHERE scope_type = 'tag')
  )
),
spent AS (
  SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, sum(cost_nano_usd) AS spent_nano_usd
  FROM counted
  GROUP BY scope_type, scope_id, member_id, model, starts_at, ends_at
),
leased AS (
  SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, sum(amount_nano_usd) AS leased_nano_usd
  FROM budget_leases
  GROUP BY scope_type, scope_id, member_id, model, starts_at, ends_at
)
SELECT
  w.scope_type, w.scope_id, w.member_id, w.model, w.starts_at, w.ends_at,
  coalesce(s.spent_nano_usd, 0) AS spent_nano_usd, coalesce(l.leased_nano_usd, 0) AS leased_nano_usd
FROM budget_windows AS w
LEFT JOIN spent AS s USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
LEFT JOIN leased AS l USING (scope_type, scope_id, member_id, model, starts_at, ends_at);
