"""The ledger on PostgreSQL: batches go in by COPY and one upsert for each table of sums."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, date
from typing import Any, TypeVar

import asyncpg

from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch, Counters, Folding
from tallystick.ledger.parts import parts_above
from tallystick.ledger.store import (
    ActivityFilter,
    CommittedEvent,
    EntityDayType,
    EntityRef,
    EventFilter,
    EventPage,
    GroupBy,
    SumRow,
)
from tallystick.stores.postgres.budget_commit import BudgetCommit
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.encoding import columns_of, fold_in_slices, records_in_slices
from tallystick.stores.postgres.errors import encoding
from tallystick.stores.postgres.feed import EventFeed
from tallystick.stores.postgres.partitions import EventPartitions
from tallystick.stores.postgres.rows import EVENT_COLUMNS
from tallystick.stores.postgres.sums import SumReports

ResultT = TypeVar("ResultT")


class PostgresLedger:
    """Implements LedgerStore and LedgerReader; may be shared by any number of committers and readers."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries
        self._partitions = EventPartitions(database=database)
        self._feed = EventFeed(database=database)
        self._sums = SumReports(database=database)

    async def watermark(self, producer_id: str) -> int:
        """Return the highest committed number of a producer, 0 for one never seen."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(self._queries["watermark"], producer_id) or 0)

    async def ledger_id(self) -> str:
        """Return the id of this ledger in this database, by which it is told from others, its dumps among them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["ledger_id"])
            assert row is not None, "the schema comes with this row"
            parts = [row["ledger_id"], row["database_id"]]
            if row["tells_server"]:
                parts.append(await connection.fetchval(self._queries["server_id"]))
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]

    async def prepare(self) -> None:
        """Make the partitions of the coming days, so that no commit has to."""
        await self._partitions.ensure_ahead()

    async def commit(self, batch: Batch) -> int:
        """Commit what of `batch` is above the watermark, once; return the watermark."""
        return (await self.commit_many((batch,)))[batch.producer_id]

    async def commit_many(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Commit what of all batches is above their producers' watermarks, in one transaction; return those."""
        if not batches:
            return {}
        try:
            return await self._commit(batches)
        except StoreUnavailable:
            # What we know about the database may be about another one when it comes back.
            self._partitions.forget()
            raise

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        """Return a run of the feed, in the order of commits."""
        return await self._feed.events_after(cursor, limit=limit, where=where)

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        """Return the newest events by `started_at`, newest first, without the first `offset` of them."""
        return await self._feed.latest_events(limit=limit, where=where, offset=offset)

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        """Return how many events there are; counting ends at `at_most`."""
        return await self._feed.count_events(at_most=at_most, where=where)

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        """Return the running sum of one entity; zeros for one that never spent."""
        return await self._sums.total(entity_type, entity_id, member_id)

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        """Return the running sums of one type, dearest first."""
        return await self._sums.totals(entity_type, limit=limit)

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        """Return what each entity has spent in all; 0 for one that never spent."""
        return await self._sums.spend_of(entities)

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        """Return the cube's sums over some days by one column, dearest first."""
        return await self._sums.daily(group_by=group_by, first=first, last=last, limit=limit, key_hash=key_hash)

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        """Return the cube's sums over each of some days by all of its columns."""
        return await self._sums.activity(where=where, first=first, last=last, limit=limit)

    async def entity_activity(
        self,
        *,
        entity_type: EntityDayType,
        entity_ids: tuple[str, ...] | None,
        models: tuple[str, ...] | None,
        first: date,
        last: date,
        limit: int,
    ) -> tuple[SumRow, ...]:
        """Return the same of end users or tags."""
        return await self._sums.entity_activity(
            entity_type=entity_type, entity_ids=entity_ids, models=models, first=first, last=last, limit=limit
        )

    async def _commit(self, batches: Sequence[Batch]) -> dict[str, int]:
        with encoding():
            days = {event.started_at.astimezone(UTC).date() for batch in batches for event in batch.events}
        await self._partitions.ensure(days)
        producer_ids = sorted({batch.producer_id for batch in batches})
        async with self._database.transaction() as connection:
            producers = await connection.fetch(self._queries["lock_producers"], producer_ids)
            if len(producers) == len(producer_ids):
                watermarks = {row["producer_id"]: row["watermark"] for row in producers}
                parts = parts_above(batches, watermarks)
                if parts:
                    await self._write(connection, parts, producers)
                return watermarks | {part.producer_id: part.last_seq for part in parts}
        # Made apart, before any is locked: in one transaction with the locks, two commits could wait for each other.
        async with self._database.connection() as connection:
            await connection.execute(self._queries["add_producers"], producer_ids, self._database.clock.now())
        return await self._commit(batches)

    async def _write(self, connection: Connection, parts: Sequence[Batch], producers: Sequence[asyncpg.Record]) -> None:
        """Write everything that belongs to the batches, tables in this order for every committer.

        Until the first sum is written only these producers' rows are locked, which nobody else needs. So what a
        statement needs is computed while the database works on the one before it.
        """
        queries = self._queries
        numbers = {row["producer_id"]: row["producer_no"] for row in producers}
        producer_nos = [numbers[part.producer_id] for part in parts]
        budgets = BudgetCommit(parts, queries=queries, windows_made=producers[0]["budget_windows"])
        folding, entities = await _meanwhile(
            self._write_events(connection, parts, producer_nos), _fold_and_list_entities(parts, budgets)
        )
        await self._write_dead_letters(connection, parts, producer_nos)
        await budgets.look(connection)
        daily = await _meanwhile(
            self._add(connection, queries["add_daily_entity_spend"], entities), _columns_later(folding.daily)
        )
        totals = await _meanwhile(
            self._add(connection, queries["add_daily_spend"], daily), _columns_later(folding.totals)
        )
        await _meanwhile(self._add(connection, queries["add_totals"], totals), budgets.charge())
        windows_made = await self._advance(connection, parts, producer_nos)
        await budgets.write(connection, windows_made=windows_made)

    async def _write_events(self, connection: Connection, parts: Sequence[Batch], producer_nos: Sequence[int]) -> None:
        if any(part.events for part in parts):
            with encoding():
                await connection.copy_records_to_table(
                    "spend_events", records=records_in_slices(parts, producer_nos=producer_nos), columns=EVENT_COLUMNS
                )

    async def _add(self, connection: Connection, statement: str, columns: list[str]) -> None:
        if columns:
            await connection.execute(statement, *columns)

    async def _advance(self, connection: Connection, parts: Sequence[Batch], producer_nos: Sequence[int]) -> int:
        """Take the next places in the order of commits; return how many windows of budgets were ever made."""
        times = [[event.started_at for event in part.events] for part in parts]
        windows_made = await connection.fetchval(
            self._queries["advance_watermarks"],
            producer_nos,
            [part.first_seq for part in parts],
            [part.last_seq for part in parts],
            [len(part.events) for part in parts],
            [len(part.dead_letters) for part in parts],
            [sum(event.cost_nano_usd for event in part.events) for part in parts],
            [min(each, default=None) for each in times],
            [max(each, default=None) for each in times],
            self._database.clock.now(),
            len(parts),
        )
        assert windows_made is not None, "the producers' rows are locked, so their watermarks are what we read"
        return int(windows_made)

    async def _write_dead_letters(
        self, connection: Connection, parts: Sequence[Batch], producer_nos: Sequence[int]
    ) -> None:
        letters = [
            (producer_no, letter)
            for part, producer_no in zip(parts, producer_nos, strict=True)
            for letter in part.dead_letters
        ]
        if letters:
            await connection.execute(
                self._queries["add_dead_letters"],
                [producer_no for producer_no, _ in letters],
                [letter.seq for _, letter in letters],
                [_without_nul(letter.event_id) for _, letter in letters],
                [_without_nul(letter.reason) for _, letter in letters],
                [letter.cost_nano_usd for _, letter in letters],
                [letter.payload for _, letter in letters],
                self._database.clock.now(),
            )


async def _meanwhile(statement: Awaitable[None], work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Do `work` while the database does `statement`; return the work's result when both are done.

    Any: what a coroutine yields and is sent, which nobody uses.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        # The statement is awaited first, whatever becomes of the work: a rollback needs the connection at rest.
        await statement
        with encoding():
            return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _fold_and_list_entities(parts: Sequence[Batch], budgets: BudgetCommit) -> tuple[Folding, list[str]]:
    folding = await fold_in_slices(parts)
    await budgets.gather()
    return folding, await columns_of(folding.daily_entities())


async def _columns_later(sums: Callable[[], dict[Any, Counters]]) -> list[str]:  # Any: each table has its own key.
    return await columns_of(sums())


def _without_nul(text: str) -> str:
    """Make a text storable whose event may have been refused for exactly this."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
