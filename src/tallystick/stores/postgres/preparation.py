"""What a batch becomes before it takes any lock: its rows and its sums, computed in slices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, date
from typing import Any

import msgspec

from tallystick.ledger.batch import Batch, Counters, Deltas, Folding
from tallystick.stores.postgres.rows import Record, records_of

# Events that are counted or encoded at a stretch: a few milliseconds, in which the event loop does nothing else.
SLICE = 250


class PreparedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch with all that its transaction writes."""

    batch: Batch
    producer_no: int
    records: list[Record]
    days: frozenset[date]
    daily_entities: list[list[Any]]
    """The columns of the rows to add, keys first, then counters. Any: text, days and numbers."""
    daily: list[list[Any]]
    totals: list[list[Any]]

    @property
    def cost_nano_usd(self) -> int:
        """The money of the events, without that of the dead letters."""
        return sum(event.cost_nano_usd for event in self.batch.events)


async def prepare(batch: Batch, *, producer_no: int) -> PreparedBatch:
    """Fold and encode a batch, letting others run in between."""
    folding = Folding()
    records: list[Record] = []
    for start in range(0, len(batch.events), SLICE):
        events = batch.events[start : start + SLICE]
        folding.add(events)
        records += records_of(producer_no, batch.numbers[start : start + SLICE], events)
        await asyncio.sleep(0)
    deltas = folding.deltas()
    await asyncio.sleep(0)
    return await _prepared(batch, producer_no, records, deltas)


async def _prepared(batch: Batch, producer_no: int, records: list[Record], deltas: Deltas) -> PreparedBatch:
    columns: list[list[list[Any]]] = []
    for sums in (deltas.daily_entities, deltas.daily, deltas.totals):
        columns.append(_columns_of(sums))
        await asyncio.sleep(0)
    return PreparedBatch(
        batch=batch,
        producer_no=producer_no,
        records=records,
        days=frozenset(record[0].astimezone(UTC).date() for record in records),
        daily_entities=columns[0],
        daily=columns[1],
        totals=columns[2],
    )


async def in_slices(records: Sequence[Record]) -> AsyncIterator[Record]:
    """Yield records to COPY, which encodes them as they come, letting others run in between."""
    for start in range(0, len(records), SLICE):
        for record in records[start : start + SLICE]:
            yield record
        await asyncio.sleep(0)


def _columns_of(sums: dict[Any, Counters]) -> list[list[Any]]:
    """Turn rows into columns. Any: the key differs from table to table, but it is always a tuple."""
    if not sums:
        return []
    return [*_transposed(sums.keys()), *_transposed(sums.values())]


def _transposed(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
