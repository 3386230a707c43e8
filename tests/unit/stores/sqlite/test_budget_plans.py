"""No statement of budgets reads a whole table, and no comparison of sums reads one table for each row of another."""

from __future__ import annotations

import re

import apsw
import pytest

from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite import SqliteDatabase
from tallystick.testing import FakeClock

SQL = load_queries("tallystick.stores.sqlite")
TABLES = "spend_events|daily_spend|daily_entity_spend|totals|budget_windows|budget_leases|budget_aliases|w|l|b"
BY_INDEX = sorted(
    name
    for name in SQL
    if ("budget" in name and not re.search("audit|rebuild|unfounded|made", name)) or name.startswith("spent_")
)
COMPARISONS = [
    name for name in SQL if re.fullmatch("audit_(totals|daily_spend|daily_entity_spend|budget_windows)", name)
]


@pytest.fixture
async def connection(tmp_path):
    database = SqliteDatabase(tmp_path / "ledger.db", clock=FakeClock())
    await database.migrate()
    await database.close()
    connection = apsw.Connection(str(tmp_path / "ledger.db"))
    yield connection
    connection.close()


def plan_of(connection: apsw.Connection, name: str) -> list[str]:
    statement = SQL[name]
    named = dict.fromkeys(re.findall(r":([a-z_]+)", statement))
    numbers = [int(number) for number in re.findall(r"\?([0-9]+)", statement)]
    arguments = named or (None,) * (max(numbers) if numbers else statement.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]


@pytest.mark.parametrize("name", BY_INDEX)
def test_a_statement_goes_by_an_index(connection, name: str) -> None:
    plan = plan_of(connection, name)
    assert not [line for line in plan if re.match(f"SCAN ({TABLES})\\b", line)], plan


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_reads_each_table_once(connection, name: str) -> None:
    plan = plan_of(connection, name)
    assert not [line for line in plan if re.match("SCAN .*(LEFT|RIGHT)-JOIN", line)], plan
