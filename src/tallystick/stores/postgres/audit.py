"""The proof: every sum recomputed from the events, by the database, in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg

from tallystick.ledger.store import Audit, Difference, ProducerAudit
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase

# Where a difference is looked for row by row, with the statement that does it.
_COMPARISONS = (
    ("commits", "audit_commits"),
    ("spend_events", "audit_event_ids"),
    ("daily_entity_spend", "audit_daily_entity_spend"),
    ("daily_spend", "audit_daily_spend"),
    ("totals", "audit_totals"),
    ("budget_windows", "audit_budget_windows"),
)
# In the order of locks; leases and new windows wait only for the last part.
_REPAIRS = (
    "remove_unfounded_daily_entity_spend",
    "rebuild_daily_entity_spend",
    "remove_unfounded_daily_spend",
    "rebuild_daily_spend",
    "remove_unfounded_totals",
    "rebuild_totals",
)
_BUDGET_REPAIRS = (
    "remove_unfounded_budget_leases",
    "rebuild_budget_windows",
    "rebuild_budget_windows_count",
)


class PostgresAuditor:
    """Implements LedgerAuditor."""

    def __init__(self, *, database: PostgresDatabase, timeout_seconds: float = 3600.0) -> None:
        self._database = database
        self._queries = database.queries
        self._timeout_seconds = timeout_seconds

    async def audit(self, *, difference_limit: int = 100) -> Audit:
        """Recompute, in one snapshot, while commits go on."""
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            await connection.execute(self._queries["no_statement_timeout"])
            whole = await self._row(connection, "audit_whole")
            producers = await self._fetch(connection, "audit_producers")
            positions = await self._row(connection, "audit_positions")
            differences = [*_producer_differences(producers), *_position_differences(positions)]
            count = len(differences)
            await connection.execute(self._queries["look_budgets_up_by_hash"])
            for table, name in _COMPARISONS:
                rows = await self._fetch(connection, name, max(difference_limit, 1))
                differences += [_difference(table, row) for row in rows]
                count += rows[0]["difference_count"] if rows else 0
        return Audit(
            events=whole["events"],
            dead_letters=whole["dead_letters"],
            cost_nano_usd=whole["cost_nano_usd"],
            dead_letter_cost_nano_usd=whole["dead_letter_cost_nano_usd"],
            producers=tuple(_producer_audit(row) for row in producers),
            differences=tuple(differences[:difference_limit]),
            difference_count=count,
        )

    async def repair(self) -> int:
        """Rebuild every sum from the events, keeping commits out meanwhile; return the number of rows changed."""
        changed = 0
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["no_statement_timeout"])
            await self._execute(connection, "keep_commits_out")
            for name in _REPAIRS:
                changed += await self._execute(connection, name)
            await connection.execute(self._queries["look_budgets_up_by_hash"])
            await self._execute(connection, "lock_ledger_head")
            await self._execute(connection, "lock_all_budget_windows")
            for name in _BUDGET_REPAIRS:
                changed += await self._execute(connection, name)
        return changed

    async def _execute(self, connection: Connection, name: str) -> int:
        """Return how many rows the statement changed; of one that only takes locks the number means nothing."""
        status = await connection.execute(self._queries[name], timeout=self._timeout_seconds)
        return int(number) if (number := status.rpartition(" ")[2]).isdigit() else 0

    async def _fetch(self, connection: Connection, name: str, *values: int) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await connection.fetch(self._queries[name], *values, timeout=self._timeout_seconds)
        return rows

    async def _row(self, connection: Connection, name: str) -> asyncpg.Record:
        return (await self._fetch(connection, name))[0]


def _producer_audit(row: asyncpg.Record) -> ProducerAudit:
    return ProducerAudit(
        producer_id=row["producer_id"],
        watermark=row["watermark"],
        events=row["events"],
        dead_letters=row["dead_letters"],
    )


def _producer_differences(rows: list[asyncpg.Record]) -> Iterator[Difference]:
    """Yield where a producer's numbers are not 1 … watermark, each once, each covered by one commit."""
    for row in rows:
        watermark = row["watermark"]
        facts = (
            ("events", row["events"] + row["dead_letters"], watermark),
            ("distinct_numbers", row["different"], watermark),
            ("first_seq", row["first_seq"], 1),
            ("last_seq", row["last_seq"], watermark),
            ("committed", row["committed"], watermark),
        )
        for column, found, expected in facts:
            if found != expected:
                yield Difference(
                    table="producers", row=row["producer_id"], column=column, found=found, expected=expected
                )


def _position_differences(row: asyncpg.Record) -> Iterator[Difference]:
    for column, found in (("position", row["head"] or 0), ("last_position", row["last_position"])):
        if found != row["commits"]:
            yield Difference(table="ledger_head", row="1", column=column, found=found, expected=row["commits"])
    if row["budget_windows"] < row["budget_windows_there"]:
        yield Difference(
            table="ledger_head",
            row="1",
            column="budget_windows",
            found=row["budget_windows"],
            expected=row["budget_windows_there"],
        )


def _difference(table: str, row: asyncpg.Record) -> Difference:
    return Difference(
        table=table, row=row["row_label"], column=row["column_name"], found=row["found"], expected=row["expected"]
    )
