"""The ledger on PostgreSQL: batches go in by COPY and one upsert for each table of sums."""

from __future__ import annotations

from datetime import date

import msgspec

from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch
from tallystick.ledger.store import CommittedEvent, EventFilter, EventPage, GroupBy, SumRow
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.errors import encoding
from tallystick.stores.postgres.feed import EventFeed
from tallystick.stores.postgres.partitions import EventPartitions
from tallystick.stores.postgres.preparation import PreparedBatch, in_slices, prepare
from tallystick.stores.postgres.rows import EVENT_COLUMNS
from tallystick.stores.postgres.sums import SumReports


class PostgresLedger:
    """Implements LedgerStore and LedgerReader; may be shared by any number of committers and readers."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries
        self._partitions = EventPartitions(database=database)
        self._feed = EventFeed(database=database)
        self._sums = SumReports(database=database)
        self._producer_numbers: dict[str, int] = {}

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
            self._producer_numbers.clear()
            raise

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        """Return a run of the feed, in the order of commits."""
        return await self._feed.events_after(cursor, limit=limit, where=where)

    async def latest_events(self, *, limit: int, where: EventFilter) -> tuple[CommittedEvent, ...]:
        """Return the newest events by `started_at`, newest first."""
        return await self._feed.latest_events(limit=limit, where=where)

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        """Return the running sum of one entity; zeros for one that never spent."""
        return await self._sums.total(entity_type, entity_id, member_id)

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        """Return the running sums of one type, dearest first."""
        return await self._sums.totals(entity_type, limit=limit)

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        """Return the cube's sums over some days by one column, dearest first."""
        return await self._sums.daily(group_by=group_by, first=first, last=last, limit=limit, key_hash=key_hash)

    async def _commit(self, batch: Batch) -> int:
        producer_no = await self._producer_number(batch.producer_id)
        while True:
            # All that takes time without the database is done before the locks, on the assumption that the batch
            # continues the watermark. When it overlaps instead, which is rare, the part above is prepared anew.
            with encoding():
                prepared = await prepare(batch, producer_no=producer_no)
            await self._partitions.ensure(prepared.days)
            outcome = await self._try_commit(prepared)
            if isinstance(outcome, int):
                return outcome
            batch, producer_no = outcome.rest, outcome.producer_no
            self._producer_numbers[batch.producer_id] = producer_no

    async def _try_commit(self, prepared: PreparedBatch) -> int | _Overlap:
        """Write a prepared batch if it continues the watermark; else say what to do instead."""
        batch = prepared.batch
        async with self._database.transaction() as connection:
            producer_no, watermark = await self._lock_producer(connection, batch.producer_id)
            rest = batch.above(watermark)
            if rest is None or rest.first_seq > watermark + 1:
                return watermark
            if rest is not batch or producer_no != prepared.producer_no:
                return _Overlap(rest=rest, producer_no=producer_no)
            await self._write(connection, prepared, watermark)
            return batch.last_seq

    async def _write(self, connection: Connection, prepared: PreparedBatch, watermark: int) -> None:
        """Write everything that belongs to the batch, tables in this order for every committer."""
        batch, queries, now = prepared.batch, self._queries, self._database.clock.now()
        await self._write_events(connection, prepared)
        await self._write_dead_letters(connection, prepared)
        for name, columns in (
            ("add_daily_entity_spend", prepared.daily_entities),
            ("add_daily_spend", prepared.daily),
            ("add_totals", prepared.totals),
        ):
            if columns:
                await connection.execute(queries[name], *columns)
        times = [event.started_at for event in batch.events]
        position = await connection.fetchval(
            queries["advance_watermark"],
            prepared.producer_no,
            watermark,
            batch.first_seq,
            batch.last_seq,
            len(batch.events),
            len(batch.dead_letters),
            prepared.cost_nano_usd,
            min(times, default=None),
            max(times, default=None),
            now,
        )
        assert position is not None, "the producer's row is locked, so its watermark is what we read"

    async def _write_events(self, connection: Connection, prepared: PreparedBatch) -> None:
        if prepared.records:
            with encoding():
                await connection.copy_records_to_table(
                    "spend_events", records=in_slices(prepared.records), columns=EVENT_COLUMNS
                )

    async def _write_dead_letters(self, connection: Connection, prepared: PreparedBatch) -> None:
        letters = prepared.batch.dead_letters
        if letters:
            await connection.execute(
                self._queries["add_dead_letters"],
                prepared.producer_no,
                [letter.seq for letter in letters],
                [_without_nul(letter.event_id) for letter in letters],
                [_without_nul(letter.reason) for letter in letters],
                [letter.cost_nano_usd for letter in letters],
                [letter.payload for letter in letters],
                self._database.clock.now(),
            )

    async def _lock_producer(self, connection: Connection, producer_id: str) -> tuple[int, int]:
        row = await connection.fetchrow(self._queries["lock_producer"], producer_id)
        if row is None:
            await connection.execute(self._queries["add_producer"], producer_id, self._database.clock.now())
            row = await connection.fetchrow(self._queries["lock_producer"], producer_id)
        assert row is not None, "the row was there or has been made"
        return row["producer_no"], row["watermark"]

    async def _producer_number(self, producer_id: str) -> int:
        number = self._producer_numbers.get(producer_id)
        if number is None:
            async with self._database.transaction() as connection:
                number, _ = await self._lock_producer(connection, producer_id)
            self._producer_numbers[producer_id] = number
        return number


class _Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """The batch was prepared for another watermark or producer number than the database has."""

    rest: Batch
    producer_no: int


def _without_nul(text: str) -> str:
    """Make a text storable whose event may have been refused for exactly this."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
