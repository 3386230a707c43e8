-- How many windows and aliases of budgets were ever made. A commit reads it for nothing along with what it reads anyway,
-- and knows from it that there are no windows, or none that it has not looked for.
ALTER TABLE ledger_head ADD COLUMN budget_windows bigint NOT NULL DEFAULT 0;

-- Where money is counted against a limit: one scope from starts_at up to ends_at. A row is made by whoever first leases
-- from it. Each commit that has events in it updates it, and so does each lease: half of each page stays free, and no
-- index has a column that changes (heap-only tuples).
CREATE TABLE budget_windows (
    spent_nano_usd bigint NOT NULL,
    carried_nano_usd bigint NOT NULL DEFAULT 0 CHECK (carried_nano_usd >= 0),
    leased_nano_usd bigint NOT NULL DEFAULT 0 CHECK (leased_nano_usd >= 0),
    limit_nano_usd bigint,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    wanted_until timestamptz,
    alerted_level integer NOT NULL DEFAULT 0,
    scope_type text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    PRIMARY KEY (scope_type, scope_id, member_id, model, starts_at, ends_at),
    CHECK (starts_at < ends_at)
) WITH (fillfactor = 50);
CREATE INDEX budget_windows_by_end ON budget_windows (ends_at);

-- Part of a window that one holder, a producer, may spend without asking. It pays for the holder's events above
-- since_seq; those up to settled_seq are taken off the amount already.
CREATE TABLE budget_leases (
    amount_nano_usd bigint NOT NULL CHECK (amount_nano_usd >= 0),
    since_seq bigint NOT NULL,
    settled_seq bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    scope_type text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    PRIMARY KEY (scope_type, scope_id, member_id, model, starts_at, ends_at, holder)
) WITH (fillfactor = 50);
CREATE INDEX budget_leases_by_holder ON budget_leases (holder);

-- Under which further ids events count in a scope: the other hashes of a key that was regenerated.
CREATE TABLE budget_aliases (
    scope_type text COLLATE "C" NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (scope_type, entity_id, scope_id)
);
CREATE INDEX budget_aliases_by_scope ON budget_aliases (scope_type, scope_id);

-- By these a new window finds what was spent in it so far: whole days in daily_spend, the rest in the events.
CREATE INDEX daily_spend_by_key ON daily_spend (key_hash, day) WHERE key_hash <> '';
CREATE INDEX daily_spend_by_user ON daily_spend (user_id, day) WHERE user_id <> '';
CREATE INDEX daily_spend_by_team ON daily_spend (team_id, day) WHERE team_id <> '';
CREATE INDEX daily_spend_by_organization ON daily_spend (organization_id, day) WHERE organization_id <> '';
CREATE INDEX totals_by_member ON totals (member_id) WHERE entity_type = 'team_member';
CREATE INDEX spend_events_by_session ON spend_events (session_id, event_time) WHERE session_id <> '';
