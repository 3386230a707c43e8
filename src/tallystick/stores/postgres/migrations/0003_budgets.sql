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
    -- When it was made, or somebody was last given a lease.
    leased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    wanted_until timestamptz,
    alerted_level integer NOT NULL DEFAULT 0,
    -- Who lacks what others have leased; '' when several do.
    wanted_by text COLLATE "C" NOT NULL DEFAULT '',
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
    -- Whether it was found past its time once, and has got some more: so that after an outage of the database whoever
    -- comes first does not take what all others are about to renew.
    is_noticed boolean NOT NULL DEFAULT false,
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
    PRIMARY KEY (scope_type, entity_id, scope_id),
    CHECK (entity_id <> scope_id)
);
CREATE INDEX budget_aliases_by_scope ON budget_aliases (scope_type, scope_id);

-- By these a new window finds what was spent in it so far: whole days in daily_spend, the rest in the events.
CREATE INDEX daily_spend_by_key ON daily_spend (key_hash, day) WHERE key_hash <> '';
CREATE INDEX daily_spend_by_user ON daily_spend (user_id, day) WHERE user_id <> '';
CREATE INDEX daily_spend_by_team ON daily_spend (team_id, day) WHERE team_id <> '';
CREATE INDEX daily_spend_by_organization ON daily_spend (organization_id, day) WHERE organization_id <> '';
CREATE INDEX totals_by_member ON totals (member_id) WHERE entity_type = 'team_member';
CREATE INDEX spend_events_by_session ON spend_events (session_id, event_time) WHERE session_id <> '';

-- What windows must hold, from the events and the leases alone: the other side of `ledger.budget_scopes.scopes_of`, for
-- audit and repair. The events are read once; each is looked up under every scope that it counts in.
CREATE VIEW expected_budget_windows AS
WITH reached AS (
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, scope_id AS entity_id FROM budget_windows
    UNION ALL
    SELECT
        held.scope_type, held.scope_id, held.member_id, held.model, held.starts_at, held.ends_at, alias.entity_id
    FROM budget_windows AS held
    JOIN budget_aliases AS alias ON alias.scope_type = held.scope_type AND alias.scope_id = held.scope_id
),
-- OFFSET 0 keeps the planner from looking the events up by the times of each window: it would read them once for each.
counting AS (
    SELECT
        scope.scope_type, scope.entity_id, scope.member_id, event.model_group, event.event_time, event.cost_nano_usd
    FROM spend_events AS event
    CROSS JOIN LATERAL (
        VALUES
            ('global', '', ''),
            ('key', event.key_hash, ''),
            ('session', CASE WHEN event.key_hash = '' THEN '' ELSE event.session_id END, event.key_hash),
            ('user', event.user_id, ''),
            ('personal', CASE WHEN event.team_id = '' THEN event.user_id ELSE '' END, ''),
            ('team', event.team_id, ''),
            ('team_member', CASE WHEN event.user_id = '' THEN '' ELSE event.team_id END, event.user_id),
            ('organization', event.organization_id, ''),
            ('organization_member', CASE WHEN event.user_id = '' THEN '' ELSE event.organization_id END, event.user_id),
            ('provider', event.provider, ''),
            ('end_user', event.end_user_id, '')
        UNION ALL
        SELECT DISTINCT 'tag', tag, '' FROM unnest(event.tags) AS tag
    ) AS scope (scope_type, entity_id, member_id)
    WHERE scope.entity_id <> '' OR scope.scope_type IN ('global', 'tag')
    OFFSET 0
),
counted AS (
    SELECT
        reached.scope_type, reached.scope_id, reached.member_id, reached.model, reached.starts_at, reached.ends_at,
        sum(counting.cost_nano_usd) AS spent_nano_usd
    FROM counting
    JOIN reached
        ON reached.scope_type = counting.scope_type AND reached.entity_id = counting.entity_id
            AND reached.member_id = counting.member_id
            AND counting.event_time >= reached.starts_at AND counting.event_time < reached.ends_at
            AND (reached.model = '' OR reached.model = counting.model_group)
    GROUP BY 1, 2, 3, 4, 5, 6
),
leased AS (
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, sum(amount_nano_usd) AS leased_nano_usd
    FROM budget_leases
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT
    scope_type, scope_id, member_id, model, starts_at, ends_at,
    coalesce(counted.spent_nano_usd, 0)::bigint AS spent_nano_usd,
    coalesce(leased.leased_nano_usd, 0)::bigint AS leased_nano_usd
FROM budget_windows
FULL JOIN leased USING (scope_type, scope_id, member_id, model, starts_at, ends_at)
LEFT JOIN counted USING (scope_type, scope_id, member_id, model, starts_at, ends_at);
