"""Making a window holds up all commits: whose events it reads, and that it reads none of who has none."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from conformance.budget_kit import EVERY_SCOPE, MIDNIGHT
from ledger_kit import make_event
from tallystick.access.scopes import Scope, Window
from tallystick.ledger.batch import batch_of
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.budget_sums import statement_of
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.sqlite import SqliteDatabase, SqliteLedger
from tallystick.stores.sqlite.budget_sums import spent_in

STRANGERS = [
    Scope(scope.type, scope.id and f"{scope.id} of nobody", scope.member_id)
    for scope in EVERY_SCOPE
    if scope.type not in {"global", "session"}
]
"""One of each type that has sums by day, and no events."""
ZONE_DAY = (MIDNIGHT - timedelta(hours=2), MIDNIGHT + timedelta(hours=22))
"""A day in a zone east of UTC: no whole day in UTC."""
TIMES = {
    "a day of another zone": ZONE_DAY,
    "an hour": (MIDNIGHT + timedelta(hours=11), MIDNIGHT + timedelta(hours=12)),
    "weeks of another zone": (ZONE_DAY[0] - timedelta(days=13), ZONE_DAY[1]),
}


async def fill(ledger: LedgerStore) -> None:
    moments = [MIDNIGHT + timedelta(hours=hours) for hours in range(-30, 24)]
    await ledger.commit(batch_of("p", 1, [make_event(started_at=moment) for moment in moments]))


def event_scans(plan: dict[str, Any]) -> int:
    """Return how many scans of events were begun."""
    is_scan = plan.get("Relation Name", "").startswith("spend_events")
    return (plan["Actual Loops"] if is_scan else 0) + sum(event_scans(each) for each in plan.get("Plans", []))


@pytest.mark.parametrize("times", TIMES)
async def test_postgres_reads_no_events_of_who_has_none(postgres_database, times: str) -> None:
    await fill(PostgresLedger(database=postgres_database))

    async def scans(scope: Scope) -> int:
        statement, values = statement_of(postgres_database.queries, Window(scope, *TIMES[times]), [scope.id])
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)
        return event_scans(json.loads(explained)[0]["Plan"])

    async with postgres_database.connection() as connection:
        assert {scope.type: await scans(scope) for scope in STRANGERS} == {scope.type: 0 for scope in STRANGERS}
        assert await scans(EVERY_SCOPE[0]) > 0, "who has some is looked for"


@pytest.mark.parametrize("times", TIMES)
async def test_sqlite_reads_no_events_of_who_has_none(tmp_path, times: str) -> None:
    database = SqliteDatabase(tmp_path / "ledger.db", clock=SystemClock())
    await fill(SqliteLedger(database=database))

    def check(connection: Any) -> None:
        statements: list[str] = []
        connection.exec_trace = lambda cursor, statement, values: statements.append(statement) or True
        for scope in STRANGERS:
            assert spent_in(connection, Window(scope, *TIMES[times]), [scope.id]) == 0
        connection.exec_trace = None
        assert len(statements) >= len(STRANGERS)
        assert not [each for each in statements if "spend_events" in each]

    try:
        await database.read(check)
    finally:
        await database.close()
