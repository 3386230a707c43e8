"""The ledger on PostgreSQL: batches go in by COPY and one upsert for each table of sums."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, date
from typing import Any, TypeVar

from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch, Counters, Folding
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

    async def commit(self, batch: Batch) -> int:
        """Commit what of `batch` is above the watermark, once; return the watermark."""
        try:
            return await self._commit(batch)
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

    async def _commit(self, batch: Batch) -> int:
        with encoding():
            days = {event.started_at.astimezone(UTC).date() for event in batch.events}
        await self._partitions.ensure(days)
        async with self._database.transaction() as connection:
            producer_no, watermark, windows_made = await self._lock_producer(connection, batch.producer_id)
            rest = batch.above(watermark)
            if rest is None or rest.first_seq > watermark + 1:
                return watermark
            await self._write(connection, rest, producer_no, windows_made)
            return rest.last_seq

    async def _write(self, connection: Connection, batch: Batch, producer_no: int, windows_made: int) -> None:
        """Write everything that belongs to the batch, tables in this order for every committer.

        Until the first sum is written only this producer's row is locked, which nobody else needs. So what a statement
        needs is computed while the database works on the one before it.
        """
        queries = self._queries
        budgets = BudgetCommit(batch, queries=queries, windows_made=windows_made)
        folding, entities = await _meanwhile(
            self._write_events(connection, batch, producer_no), _fold_and_list_entities(batch, budgets)
        )
        await self._write_dead_letters(connection, batch, producer_no)
        await budgets.look(connection)
        daily = await _meanwhile(
            self._add(connection, queries["add_daily_entity_spend"], entities), _columns_later(folding.daily)
        )
        totals = await _meanwhile(
            self._add(connection, queries["add_daily_spend"], daily), _columns_later(folding.totals)
        )
        await _meanwhile(self._add(connection, queries["add_totals"], totals), budgets.charge())
        windows_made = await self._advance(connection, batch, producer_no)
        await budgets.write(connection, windows_made=windows_made)

    async def _write_events(self, connection: Connection, batch: Batch, producer_no: int) -> None:
        if batch.events:
            with encoding():
                await connection.copy_records_to_table(
                    "spend_events", records=records_in_slices(batch, producer_no=producer_no), columns=EVENT_COLUMNS
                )

    async def _add(self, connection: Connection, statement: str, columns: list[str]) -> None:
        if columns:
            await connection.execute(statement, *columns)

    async def _advance(self, connection: Connection, batch: Batch, producer_no: int) -> int:
        """Take the next place in the order of commits; return how many windows of budgets were ever made."""
        times = [event.started_at for event in batch.events]
        windows_made = await connection.fetchval(
            self._queries["advance_watermark"],
            producer_no,
            batch.first_seq - 1,
            batch.first_seq,
            batch.last_seq,
            len(batch.events),
            len(batch.dead_letters),
            sum(event.cost_nano_usd for event in batch.events),
            min(times, default=None),
            max(times, default=None),
            self._database.clock.now(),
        )
        assert windows_made is not None, "the producer's row is locked, so its watermark is what we read"
        return int(windows_made)

    async def _write_dead_letters(self, connection: Connection, batch: Batch, producer_no: int) -> None:
        letters = batch.dead_letters
        if letters:
            await connection.execute(
                self._queries["add_dead_letters"],
                producer_no,
                [letter.seq for letter in letters],
                [_without_nul(letter.event_id) for letter in letters],
                [_without_nul(letter.reason) for letter in letters],
                [letter.cost_nano_usd for letter in letters],
                [letter.payload for letter in letters],
                self._database.clock.now(),
            )

    async def _lock_producer(self, connection: Connection, producer_id: str) -> tuple[int, int, int]:
        row = await connection.fetchrow(self._queries["lock_producer"], producer_id)
        if row is None:
            await connection.execute(self._queries["add_producer"], producer_id, self._database.clock.now())
            row = await connection.fetchrow(self._queries["lock_producer"], producer_id)
        assert row is not None, "the row was there or has been made"
        return row["producer_no"], row["watermark"], row["budget_windows"]


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


async def _fold_and_list_entities(batch: Batch, budgets: BudgetCommit) -> tuple[Folding, list[str]]:
    folding = await fold_in_slices(batch)
    await budgets.gather()
    return folding, await columns_of(folding.daily_entities())


async def _columns_later(sums: Callable[[], dict[Any, Counters]]) -> list[str]:  # Any: each table has its own key.
    return await columns_of(sums())


def _without_nul(text: str) -> str:
    """Make a text storable whose event may have been refused for exactly this."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
