"""The third migration of PostgreSQL takes a ledger with history along: windows begin with what was spent before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from ledger_kit import make_event
from tallystick.access.budget_store import LeaseRequest
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.ledger.batch import batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.migrations import load_migrations
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.budgets import PostgresBudgetStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger

DAY = datetime(2026, 11, 23, tzinfo=UTC)
KEY = Window(Scope("key", "k1"), DAY, DAY + timedelta(days=1))
MORNING = Window(Scope("user", "u1"), DAY, DAY + timedelta(hours=12))
EVER = Window(Scope("team", "t1"), LIFETIME_START, LIFETIME_END)
SESSION = Window(Scope("session", "s1", "k1"), LIFETIME_START, LIFETIME_END)

HISTORY = """
    CREATE TABLE spend_events_20261123 PARTITION OF spend_events
    FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-24 00:00:00+00');
    INSERT INTO producers (producer_id, watermark, created_at, updated_at) VALUES ('p', 3, now(), now());
    INSERT INTO commits
    VALUES (1, 1, 1, 3, 3, 0, 111, '2026-11-23 09:00:00+00', '2026-11-23 15:00:00+00', now());
    UPDATE ledger_head SET position = 1;
    INSERT INTO spend_events (
        event_time, event_id, seq, producer_no, cache_hit, ended_at, cost_nano_usd, status, key_hash, user_id, team_id,
        session_id, model_group
    ) VALUES
        ('2026-11-23 09:00:00+00', gen_random_uuid(), 1, 1, false, now(), 1, 'success', 'k1', 'u1', 't1', 's1', 'gpt'),
        ('2026-11-23 09:00:00+00', gen_random_uuid(), 2, 1, false, now(), 10, 'success', 'k1', 'u1', 't1', '', 'gpt'),
        ('2026-11-23 15:00:00Z', gen_random_uuid(), 3, 1, false, now(), 100, 'success', 'k1', 'u1', 't1', 's1', 'gpt');
    INSERT INTO daily_spend SELECT
        requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens, cost_nano_usd, day, key_hash, user_id, team_id, organization_id,
        model_group, model, provider, endpoint, tool
    FROM expected_daily_spend;
    INSERT INTO totals SELECT
        requests, successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens, cost_nano_usd, entity_type, entity_id, member_id
    FROM expected_totals;
"""


async def at_second_version(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT, checksum TEXT, applied_at timestamptz)"
    )
    for migration in load_migrations("tallystick.stores.postgres")[:2]:
        await connection.execute(migration.statements)
        await connection.execute(
            "INSERT INTO schema_migrations VALUES ($1, $2, $3, now())",
            migration.version,
            migration.name,
            migration.checksum,
        )
    await connection.execute(HISTORY)
    await connection.close()


async def test_windows_begin_with_what_was_spent_before_the_migration(empty_postgres_url: str) -> None:
    await at_second_version(empty_postgres_url)
    database = PostgresDatabase(empty_postgres_url, clock=SystemClock())
    assert 3 in await database.migrate()
    ledger, budgets = PostgresLedger(database=database), PostgresBudgetStore(database=database)
    windows = [EVER, KEY, MORNING, SESSION]
    asked = [
        LeaseRequest(window=window, limit_nano_usd=1_000, need_nano_usd=200, want_nano_usd=200, since_seq=3)
        for window in windows
    ]
    reply = await budgets.lease("p", asked, seconds=60, share=1)
    assert [state.spent_nano_usd for state in reply.states] == [111, 111, 11, 101]

    more = make_event(started_at=DAY + timedelta(hours=10), session_id="s1", cost_nano_usd=50)
    assert await ledger.commit(batch_of("p", 4, [more])) == 4
    states = {state.window: state for state in await budgets.renew("p", seconds=60)}
    assert [states[window].spent_nano_usd for window in windows] == [161, 161, 61, 151]
    assert {state.amount_nano_usd for state in states.values()} == {150}
    assert (await PostgresAuditor(database=database).audit()).differences == ()
    await database.close()
