"""No lease and no commit reads a whole table: what PostgreSQL plans with 20,000 windows and leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ledger_kit import START, make_event
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, SCOPE_TYPES, Scope, Window
from tallystick.ledger.batch import batch_of
from tallystick.ledger.budget_fold import BudgetFold
from tallystick.stores.postgres.budget_rows import columns_of_windows, key_of
from tallystick.stores.postgres.budget_sums import statement_of
from tallystick.stores.postgres.encoding import array_of_numbers, columns_of_keys
from tallystick.stores.postgres.ledger import PostgresLedger

MIDNIGHT = START.replace(hour=0, minute=0, second=0, microsecond=0)
WINDOWS = 20_000
DAYS = 20
WRITTEN = {"budget_windows", "budget_leases", "budget_aliases", "ledger_head", "producers", "daily_spend", "totals"}
SUMMED = {"daily_spend", "daily_entity_spend", "totals"}

FILL = f"""
    INSERT INTO budget_windows (scope_type, scope_id, member_id, model, starts_at, ends_at, spent_nano_usd)
    SELECT 'key', 'k' || number / {DAYS}, '', '', day, day + interval '1 day', 0
    FROM generate_series(0, {WINDOWS - 1}) AS number
    CROSS JOIN LATERAL (SELECT $1::timestamptz - number % {DAYS} * interval '1 day' AS day) AS days;
"""
FILL_LEASES = """
    INSERT INTO budget_leases (
        scope_type, scope_id, member_id, model, starts_at, ends_at, holder, amount_nano_usd, since_seq, settled_seq,
        expires_at
    )
    SELECT scope_type, scope_id, member_id, model, starts_at, ends_at, 'p' || abs(hashtext(scope_id)) % 200, 5, 0, 0,
        now() + interval '1 day'
    FROM budget_windows
"""
FILL_ALIASES = "INSERT INTO budget_aliases SELECT 'key', 'old-k' || n, 'k' || n FROM generate_series(1, 20000) AS n"
FILL_DAYS = f"""
    INSERT INTO daily_spend (
        day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool, requests,
        successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
        reasoning_tokens, cost_nano_usd
    )
    SELECT $1::date - number % {DAYS}, 'k' || number / {DAYS}, 'u' || number % 700, 't' || number % 300,
        'o' || number % 100, '', '', '', '', '', 1, 1, 0, 0, 0, 0, 0, 0, 7
    FROM generate_series(0, {WINDOWS - 1}) AS number
"""


@pytest.fixture(params=["", "ANALYZE"])
async def connection(request: Any, postgres_database: Any) -> Any:
    """A connection to a database with many windows, whose planner knows them well or only how large they are."""
    ledger = PostgresLedger(database=postgres_database)
    for day in range(3):
        moment = START - timedelta(days=day)
        events = [make_event(started_at=moment, key_hash=f"k{n}", session_id=f"s{n}") for n in range(1000)]
        await ledger.commit(batch_of("p", day * 1000 + 1, events))
    async with postgres_database.connection() as connection:
        await connection.execute(FILL, MIDNIGHT)
        await connection.execute(FILL_LEASES)
        await connection.execute(FILL_ALIASES)
        await connection.execute(FILL_DAYS, MIDNIGHT.date())
        await connection.execute(f"VACUUM {request.param}")
        yield connection


async def scans_of(connection: Any, statement: str, values: list[Any]) -> set[str]:
    """Return the tables that are read from one end to the other."""
    text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)

    def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", []):
            yield from walk(child)

    return {node["Relation Name"] for node in walk(json.loads(text)[0]["Plan"]) if node["Node Type"] == "Seq Scan"}


async def test_leases_read_no_whole_table(connection: Any, postgres_database: Any) -> None:
    queries = postgres_database.queries
    windows = [Window(Scope("key", f"k{n}"), MIDNIGHT, MIDNIGHT + timedelta(days=1)) for n in range(12)]
    keys = columns_of_windows(windows)
    yes, ones = [True] * 12, [1] * 12
    asked: dict[str, list[Any]] = {
        "lock_budget_windows": keys,
        "missing_budget_aliases": [["key"] * 12, [f"k{n}" for n in range(12)], [f"old-k{n}" for n in range(12)]],
        "free_and_read_budget_leases": [*keys, "p1", 1.0],
        "write_budget_leases": [*keys, "p1", ones, yes, ones, ones, ones, yes, 60.0, 5.0],
        "own_budget_leases": [*keys, "p1"],
        "shrink_budget_leases": [*keys, "p1", ones, yes],
        "lock_leased_budget_windows": ["p1"],
        "renew_budget_leases": ["p1", 60.0],
        "budget_leases_of_holder": ["p1"],
        "wanted_budget_windows": ["p1"],
        "read_budget_windows": keys,
        "open_budget_windows": [*(column[0] for column in keys), MIDNIGHT, 100],
        "claim_budget_alert": [*(column[0] for column in keys), 50],
        "lock_ended_budget_windows": [MIDNIGHT - timedelta(days=DAYS - 2), 100],
        "delete_ended_budget_windows": keys,
        "missing_budget_windows": keys,
        "budget_aliases_of_scopes": [["key"] * 12, [f"k{n}" for n in range(12)]],
        "lock_budget_windows_of_scope": ["key", "k7"],
        "add_to_budget_windows": [*keys, ones],
    }
    for name, values in asked.items():
        found = await scans_of(connection, queries[name], values)
        # There is one row of ledger_head, and a handful of producers.
        assert not found & (WRITTEN - {"ledger_head", "producers"}), (name, found)


async def test_commits_read_no_whole_table(connection: Any, postgres_database: Any) -> None:
    queries = postgres_database.queries
    fold = BudgetFold(batch_of("p1", 1, [make_event(key_hash=f"k{n}", tags=("a", f"b{n}")) for n in range(200)]))
    windows = [Window(Scope("key", f"k{n}"), MIDNIGHT, MIDNIGHT + timedelta(days=1)) for n in range(200)]
    keys = columns_of_keys([key_of(window) for window in windows])
    ones, places = array_of_numbers([1] * 200), array_of_numbers(range(200))
    asked: dict[str, list[Any]] = {
        "budget_windows_of_scopes": [*columns_of_keys(fold.scopes), fold.first_time, fold.last_time],
        "lock_counted_budget_windows": list(keys),
        "count_in_budget_windows": [*keys, *columns_of_keys([("p1",)] * 200), ones, ones, ones, places],
    }
    for name, values in asked.items():
        found = await scans_of(connection, queries[name], values)
        assert not found & (WRITTEN - {"ledger_head", "producers"}), (name, found)


# What no index leads to: every row of the days in question counts, or there are few of such budgets.
WHOLE_DAYS = {"global", "provider", "personal", "end_user", "tag", "session"}


@pytest.mark.parametrize("scope_type", sorted({*SCOPE_TYPES} - WHOLE_DAYS | {"personal"}))
async def test_a_new_window_is_summed_by_index(connection: Any, postgres_database: Any, scope_type: str) -> None:
    ids = {"key": "k7", "user": "u7", "personal": "u7", "team": "t7", "team_member": "t7"}
    member = "u7" if scope_type.endswith("_member") else ""
    for model in ("", "gpt"):
        scope = Scope(scope_type, ids.get(scope_type, "o7"), member, model)
        for starts_at, ends_at in (
            (LIFETIME_START, LIFETIME_END),
            (MIDNIGHT - timedelta(days=DAYS), MIDNIGHT + timedelta(days=10)),
            (MIDNIGHT - timedelta(hours=5), MIDNIGHT + timedelta(hours=43)),
        ):
            window = Window(scope, starts_at, ends_at)
            statement, values = statement_of(postgres_database.queries, window, [scope.id])
            assert not await scans_of(connection, statement, values) & SUMMED, (window, statement)


async def test_a_session_is_found_by_index_and_only_the_days_of_a_window_are_read(
    connection: Any, postgres_database: Any
) -> None:
    session = Window(Scope("session", "s7", "k7"), LIFETIME_START, LIFETIME_END)
    found = await scans_of(connection, *statement_of(postgres_database.queries, session, ["s7"]))
    full = {f"spend_events_{START - timedelta(days=day):%Y%m%d}" for day in range(3)}
    assert not found & full
    hour = Window(Scope("user", "u7"), START - timedelta(hours=1), START)
    statement, values = statement_of(postgres_database.queries, hour, ["u7"])
    text = " ".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
    assert [f"spend_events_{START - timedelta(days=day):%Y%m%d}" in text for day in range(3)] == [True, False, False]


async def test_the_audit_reads_events_once_for_all_windows(connection: Any, postgres_database: Any) -> None:
    queries = postgres_database.queries
    async with connection.transaction():
        await connection.execute(queries["look_budgets_up_by_hash"])
        plan = " ".join(row[0] for row in await connection.fetch(f"EXPLAIN {queries['audit_budget_windows']}", 10))
    assert plan.count(f"on spend_events_{START:%Y%m%d}") == 1
    assert f"Index Scan using spend_events_{START:%Y%m%d}" not in plan
    assert "Merge Join" not in plan
