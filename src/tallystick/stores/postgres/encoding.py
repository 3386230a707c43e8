"""A batch as the database takes it: rows for COPY and columns for upserts, made in slices.

The work is cut up so that the event loop does other things in between, and so that it is done while the database is
busy with the statement before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tallystick.ledger.batch import Batch, Counters, Folding
from tallystick.stores.postgres.rows import Record, records_of

# Events that are counted or encoded at a stretch: a few milliseconds, in which the event loop does nothing else.
SLICE = 250


async def records_in_slices(batch: Batch, *, producer_no: int) -> AsyncIterator[Record]:
    """Yield the rows of a batch as COPY takes them in."""
    for start in range(0, len(batch.events), SLICE):
        end = start + SLICE
        for record in records_of(producer_no, batch.numbers[start:end], batch.events[start:end]):
            yield record
        await asyncio.sleep(0)


async def fold_in_slices(batch: Batch) -> Folding:
    """Return the sums of a batch."""
    folding = Folding()
    for start in range(0, len(batch.events), SLICE):
        folding.add(batch.events[start : start + SLICE])
        await asyncio.sleep(0)
    return folding


async def columns_of(sums: dict[Any, Counters]) -> list[str]:
    """Return the columns of keys and counters, each as the text of an array; none when there are no rows.

    One text is several times cheaper than an array value, for asyncpg to encode and for the server to read. Any: the
    key differs from table to table, but it is always a tuple of text and days.
    """
    columns: list[str] = []
    await asyncio.sleep(0)
    for values in zip(*sums.keys(), strict=True):
        columns.append(_array_of_text(values))
        await asyncio.sleep(0)
    for numbers in zip(*sums.values(), strict=True):
        columns.append(array_of_numbers(numbers))
        await asyncio.sleep(0)
    return columns


def columns_of_keys(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the columns of keys of text, each as the text of an array. There must be at least one."""
    return [_array_of_text(column) for column in zip(*keys, strict=True)]


def array_of_numbers(numbers: Sequence[int]) -> str:
    """Return the text of an array of numbers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def _array_of_text(values: Sequence[object]) -> str:
    quoted = [str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}'
