"""The ledger in SQLite: commits, and what reports read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import apsw
import msgspec

from tallystick.errors import BadRequest
from tallystick.ledger.batch import COUNTERS, Batch, fold
from tallystick.ledger.parts import parts_above
from tallystick.ledger.store import (
    CUBE_GROUPS,
    ENTITY_DAY_GROUPS,
    ActivityFilter,
    CommittedEvent,
    EntityDayType,
    EntityRef,
    EventFilter,
    EventPage,
    GroupBy,
    SumRow,
)
from tallystick.runtime.ids import event_time
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.budget_commit import Charges, charge, charges_of
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.rows import committed_event, event_row
from tallystick.stores.sqlite.transactions import Row, fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")
_INTEGER_MIN = -(2**63)
_INTEGER_MAX = 2**63 - 1
_MILLISECOND = 1000
_CURSOR = re.compile(r"([0-9]{1,18}):([0-9]{1,18})", re.ASCII)


class SqliteLedger:
    """`LedgerStore` and `LedgerReader`."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def watermark(self, producer_id: str) -> int:
        def work(connection: apsw.Connection) -> int:
            rows = fetch(connection, _SQL["watermark"], (producer_id,))
            return int(rows[0][0]) if rows else 0

        return await self._database.read(work)

    async def commit(self, batch: Batch) -> int:
        now = microseconds(self._database.clock.now())
        return await self._database.write(lambda connection: _commit(connection, batch, now=now))

    async def commit_many(self, batches: Sequence[Batch]) -> dict[str, int]:
        now = microseconds(self._database.clock.now())
        return await self._database.write(lambda connection: _commit_many(connection, batches, now=now))

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        position, seq = _parse_cursor(cursor)
        query = "events_after" if where.event_id is None else "event_after"
        arguments = {**_arguments(where, limit), "position": position, "seq": seq}

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL[query], arguments)

        events = tuple(committed_event(row) for row in await self._database.read(work))
        return EventPage(events=events, next=events[-1].cursor if events else cursor)

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        arguments = {**_arguments(where, limit), "offset": offset}

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL[_narrowest(where)], arguments)

        return tuple(committed_event(row) for row in await self._database.read(work))

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        query = "count_events" if where.provider_response_id is None else "count_events_of_answer"

        def work(connection: apsw.Connection) -> int:
            ((count,),) = fetch(connection, _SQL[query], _arguments(where, at_most))
            return int(count)

        return await self._database.read(work)

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["total"], (entity_type, entity_id, member_id))

        rows = await self._database.read(work)
        return _total_row(rows[0] if rows else (entity_id, member_id, *(0 for _ in COUNTERS)))

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["totals"], (entity_type, limit))

        return tuple(_total_row(row) for row in await self._database.read(work))

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["spend_of"], (msgspec.json.encode(list(spend)).decode(),))

        spend = dict.fromkeys(entities, 0)
        for *entity, cost_nano_usd in await self._database.read(work):
            entity_type, entity_id, member_id = entity
            spend[entity_type, entity_id, member_id] = cost_nano_usd
        return spend

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        arguments = {
            "group_by": group_by,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "limit": limit,
            "key_hash": key_hash,
        }

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["daily"], arguments)

        return tuple(_sum_row({group_by: row[0]}, row[1:]) for row in await self._database.read(work))

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        lists = {name: _json_or_none(getattr(where, name)) for name in where.__struct_fields__}
        arguments = {**lists, "first": first.isoformat(), "last": last.isoformat(), "limit": limit}
        return await self._groups(_SQL["activity"], arguments, CUBE_GROUPS)

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
        arguments = {
            "entity_type": entity_type,
            "entity_ids": _json_or_none(entity_ids),
            "models": _json_or_none(models),
            "first": first.isoformat(),
            "last": last.isoformat(),
            "limit": limit,
        }
        return await self._groups(_SQL["entity_activity"], arguments, ENTITY_DAY_GROUPS)

    async def _groups(
        self, statement: str, arguments: Mapping[str, str | int | None], names: tuple[str, ...]
    ) -> tuple[SumRow, ...]:
        def work(connection: apsw.Connection) -> tuple[SumRow, ...]:
            rows = fetch(connection, statement, arguments)
            width = len(names)
            return tuple(_sum_row(dict(zip(names, row[:width], strict=True)), row[width:]) for row in rows)

        return await self._database.read(work)


class _Producer(NamedTuple):
    number: int
    watermark: int


class _Rows(NamedTuple):
    """What a batch writes, as values to bind."""

    batch: Batch
    events: list[Row]
    daily: list[Row]
    daily_entities: list[Row]
    totals: list[Row]
    charges: Charges


def _commit(connection: apsw.Connection, batch: Batch, *, now: int) -> int:
    # Rows are made before the lock is taken, from an unlocked glance at the watermark, so that it is held shortly.
    glance = _producer(connection, batch.producer_id)
    rows = None
    if glance is not None:
        rows = _rows(connection, batch, glance)
        if rows is None:
            return glance.watermark
    with immediate(connection):
        producer = _producer(connection, batch.producer_id)
        if producer is None:
            if batch.first_seq > 1:
                return 0
            producer = _insert_producer(connection, batch.producer_id, now=now)
        if producer != glance:
            rows = _rows(connection, batch, producer)
        if rows is None:
            return producer.watermark
        _write(connection, rows, producer.number, now=now)
        return rows.batch.last_seq


def _commit_many(connection: apsw.Connection, batches: Sequence[Batch], *, now: int) -> dict[str, int]:
    with immediate(connection):
        producers = {batch.producer_id: _producer(connection, batch.producer_id) for batch in batches}
        watermarks = {producer_id: producer.watermark if producer else 0 for producer_id, producer in producers.items()}
        for part in parts_above(batches, watermarks):
            producer = producers[part.producer_id] or _insert_producer(connection, part.producer_id, now=now)
            rows = _rows(connection, part, producer)
            assert rows is not None, "a part continues the watermark"
            _write(connection, rows, producer.number, now=now)
            watermarks[part.producer_id] = part.last_seq
        return watermarks


def _producer(connection: apsw.Connection, producer_id: str) -> _Producer | None:
    rows = fetch(connection, _SQL["lock_producer"], (producer_id,))
    return _Producer(*rows[0]) if rows else None


def _insert_producer(connection: apsw.Connection, producer_id: str, *, now: int) -> _Producer:
    ((number,),) = fetch(connection, _SQL["add_producer"], (producer_id, now, now))
    return _Producer(number=number, watermark=0)


def _rows(connection: apsw.Connection, batch: Batch, producer: _Producer) -> _Rows | None:
    """Return what lies above the watermark; None when that is nothing, or when a gap lies between."""
    part = batch.above(producer.watermark)
    if part is None or part.first_seq > producer.watermark + 1:
        return None
    deltas = fold(part.events)
    numbered = zip(part.numbers, part.events, strict=True)
    return _Rows(
        batch=part,
        events=[event_row(event, producer_no=producer.number, seq=seq) for seq, event in numbered],
        daily=[(key[0].isoformat(), *key[1:], *counters) for key, counters in deltas.daily.items()],
        daily_entities=[
            (key[1], key[2], key[0].isoformat(), *key[3:], *counters) for key, counters in deltas.daily_entities.items()
        ],
        totals=[(*key, *counters) for key, counters in deltas.totals.items()],
        charges=charges_of(connection, part),
    )


def _write(connection: apsw.Connection, rows: _Rows, producer_no: int, *, now: int) -> None:
    batch = rows.batch
    connection.executemany(_SQL["add_events"], rows.events)
    connection.executemany(
        _SQL["add_dead_letters"],
        [
            (producer_no, letter.seq, letter.event_id, letter.reason, letter.cost_nano_usd, letter.payload, now)
            for letter in batch.dead_letters
        ],
    )
    connection.executemany(_SQL["add_daily_spend"], rows.daily)
    connection.executemany(_SQL["add_daily_entity_spend"], rows.daily_entities)
    connection.executemany(_SQL["add_totals"], rows.totals)
    times = [row[0] for row in rows.events]
    ((position, windows_made),) = fetch(connection, _SQL["advance_head"])
    is_as_it_was = windows_made == rows.charges.windows_made
    charge(connection, batch, rows.charges if is_as_it_was else charges_of(connection, batch))
    connection.execute(
        _SQL["insert_commit"],
        (
            position,
            producer_no,
            batch.first_seq,
            batch.last_seq,
            len(batch.events),
            len(batch.dead_letters),
            sum(event.cost_nano_usd for event in batch.events),
            min(times, default=None),
            max(times, default=None),
            now,
        ),
    )
    connection.execute(_SQL["advance_watermark"], (batch.last_seq, now, producer_no))


def _arguments(where: EventFilter, limit: int) -> dict[str, int | str | None]:
    since = _INTEGER_MIN if where.since is None else microseconds(where.since)
    until = _INTEGER_MAX if where.until is None else microseconds(where.until)
    if where.event_id is not None:
        narrowed_since, narrowed_until = _times_of(where.event_id)
        since, until = max(since, narrowed_since), min(until, narrowed_until)
    return {
        "since": since,
        "until": until,
        "event_id": where.event_id,
        "key_hash": where.key_hash,
        "user_id": where.user_id,
        "team_id": where.team_id,
        "end_user_id": where.end_user_id,
        "session_id": where.session_id,
        "model": where.model,
        "is_success": where.is_success,
        "cost_at_least": where.cost_at_least_nano_usd,
        "cost_at_most": where.cost_at_most_nano_usd,
        "provider_response_id": where.provider_response_id,
        "limit": limit,
    }


def _json_or_none(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _narrowest(where: EventFilter) -> str:
    """Return the query whose index leads to the fewest events."""
    if where.event_id is not None:
        return "events_by_time"
    if where.provider_response_id is not None:
        return "events_of_answer_by_time"
    return "events_by_time" if where.key_hash is None else "events_of_key_by_time"


def _times_of(event_id: str) -> tuple[int, int]:
    """Return the millisecond in which an event began: its id tells it, and events are found by their time."""
    try:
        began = microseconds(event_time(event_id))
    except ValueError:
        return _INTEGER_MIN, _INTEGER_MAX
    return began, began + _MILLISECOND


def _parse_cursor(cursor: str) -> tuple[int, int]:
    if not cursor:
        return 0, 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BadRequest(f"{cursor[:64]!r} is not a cursor; use the `next` of an earlier answer.", param="after")
    return int(match[1]), int(match[2])


def _total_row(row: Row) -> SumRow:
    return _sum_row({"entity_id": row[0], "member_id": row[1]}, row[2:])


def _sum_row(group: dict[str, str], counters: Row) -> SumRow:
    return SumRow(group=group, **dict(zip(COUNTERS, counters, strict=True)))
