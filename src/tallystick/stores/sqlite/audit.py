"""Recompute the ledger's sums in SQLite, in one snapshot, and put them right."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from tallystick.access.scopes import Window
from tallystick.ledger.batch import COUNTERS
from tallystick.ledger.store import Audit, Difference, ProducerAudit
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.budget_rows import WIDTH, window_of
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.transactions import Row, fetch, immediate, snapshot

_SQL = load_queries("tallystick.stores.sqlite")
# Each table of sums, and how many columns its key has.
_SUMS = (("totals", 3), ("daily_spend", 10), ("daily_entity_spend", 7))
_BUDGET_COLUMNS = ("spent_nano_usd", "leased_nano_usd")
_COMMIT_COLUMNS = ("events", "dead_letters", "cost_nano_usd", "first_time", "last_time")


class SqliteAuditor:
    """`LedgerAuditor`."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def audit(self, *, difference_limit: int = 100) -> Audit:
        return await self._database.read(lambda connection: _audit(connection, difference_limit))

    async def repair(self) -> int:
        return await self._database.write(_repair)


def _audit(connection: apsw.Connection, difference_limit: int) -> Audit:
    with snapshot(connection):
        ((events, cost, _),) = fetch(connection, _SQL["audit_whole"])
        ((dead_letters, dead_letter_cost),) = fetch(connection, _SQL["audit_dead_letters"])
        producers = fetch(connection, _SQL["audit_producers"])
        kept: list[Difference] = []
        count = 0
        for difference in _differences(connection, producers):
            count += 1
            if len(kept) < difference_limit:
                kept.append(difference)
    return Audit(
        events=events,
        dead_letters=dead_letters,
        cost_nano_usd=cost,
        dead_letter_cost_nano_usd=dead_letter_cost,
        producers=tuple(
            ProducerAudit(producer_id=row[0], watermark=row[1], events=row[2], dead_letters=row[3]) for row in producers
        ),
        differences=tuple(kept),
        difference_count=count,
    )


def _differences(connection: apsw.Connection, producers: list[Row]) -> Iterator[Difference]:
    yield from _event_differences(connection)
    yield from _producer_differences(producers)
    yield from _commit_differences(connection)
    for table, key_length in _SUMS:
        for row in connection.execute(_SQL[f"audit_{table}"]):
            yield from _paired(table, "/".join(row[:key_length]), COUNTERS, row[key_length:])
    yield from _budget_differences(connection)


def _event_differences(connection: apsw.Connection) -> Iterator[Difference]:
    ((_, _, repeated_ids),) = fetch(connection, _SQL["audit_whole"])
    yield from _unequal("spend_events", "", "event_id", repeated_ids, 0)


def _producer_differences(producers: list[Row]) -> Iterator[Difference]:
    for producer_id, watermark, events, dead_letters, numbers, committed, last_committed in producers:
        yield from _unequal("producers", producer_id, "events + dead_letters", events + dead_letters, watermark)
        yield from _unequal("producers", producer_id, "numbers", numbers, watermark)
        yield from _unequal("commits", producer_id, "numbers", committed, watermark)
        yield from _unequal("commits", producer_id, "last_seq", last_committed, watermark)


def _commit_differences(connection: apsw.Connection) -> Iterator[Difference]:
    ((head, commits, newest),) = fetch(connection, _SQL["audit_positions"])
    yield from _unequal("ledger_head", "1", "position", head, newest)
    yield from _unequal("commits", "", "position", commits, newest)
    for row in connection.execute(_SQL["audit_commits"]):
        yield from _paired("commits", str(row[0]), _COMMIT_COLUMNS, row[1:])


def _budget_differences(connection: apsw.Connection) -> Iterator[Difference]:
    for row in connection.execute(_SQL["audit_budget_windows"]):
        yield from _paired("budget_windows", _label(window_of(row[:WIDTH])), _BUDGET_COLUMNS, row[WIDTH:])
    for *key, holder in connection.execute(_SQL["audit_budget_leases"]):
        yield from _unequal("budget_leases", f"{_label(window_of(tuple(key)))} {holder}", "window", 0, 1)


def _label(window: Window) -> str:
    return " ".join((*window.scope, window.starts_at.isoformat(), window.ends_at.isoformat()))


def _paired(table: str, key: str, columns: tuple[str, ...], values: Row) -> Iterator[Difference]:
    """Compare values that stand side by side: found, expected, found, expected …"""
    for column, found, expected in zip(columns, values[::2], values[1::2], strict=True):
        yield from _unequal(table, key, column, found, expected)


def _unequal(table: str, key: str, column: str, found: int, expected: int) -> Iterator[Difference]:
    if found != expected:
        yield Difference(table=table, row=key, column=column, found=found, expected=expected)


def _repair(connection: apsw.Connection) -> int:
    changed = 0
    with immediate(connection):
        for table, _ in _SUMS:
            for query in (f"remove_unfounded_{table}", f"rebuild_{table}"):
                connection.execute(_SQL[query])
                changed += connection.changes()
        for query in ("remove_unfounded_budget_leases", "rebuild_budget_windows"):
            connection.execute(_SQL[query])
            changed += connection.changes()
    return changed
