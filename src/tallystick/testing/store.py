"""The ports in plain Python, for tests: the same promises as the databases, and failures on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime

from tallystick.errors import BadRequest, RowRefused, StoreUnavailable
from tallystick.ledger.batch import COUNTERS, Batch, Counters
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.parts import parts_above
from tallystick.ledger.store import (
    CUBE_GROUPS,
    ENTITY_DAY_GROUPS,
    ActivityFilter,
    Audit,
    CommittedEvent,
    EntityDayType,
    EntityRef,
    EventFilter,
    EventPage,
    GroupBy,
    SumRow,
)
from tallystick.testing.books import Books

# Where each group stands in the key of a cube row.
_GROUPS: dict[str, int] = {
    "day": 0,
    "key": 1,
    "user": 2,
    "team": 3,
    "organization": 4,
    "model_group": 5,
    "model": 6,
    "provider": 7,
    "endpoint": 8,
}


class MemoryStore:
    """`LedgerStore`, `LedgerReader` and `LedgerAuditor`, forgotten at the end.

    Faults apply in the order in which they are asked for here: away, failing, refusing, losing the reply.
    """

    def __init__(self) -> None:
        self.books = Books()
        self.away = False
        """While true, every call raises StoreUnavailable."""
        self.calls: list[str] = []
        """The names of the port's methods that were called, in order."""
        self._failures: list[Exception] = []
        self._lost_replies = 0
        self._refused: Callable[[SpendEvent], bool] | None = None

    def fail_next(self, times: int = 1, error: Exception | None = None) -> None:
        """Let the next calls of any method raise `error` (StoreUnavailable) and do nothing."""
        self._failures += [error or StoreUnavailable("The store was told to fail.")] * times

    def lose_reply_next(self, times: int = 1) -> None:
        """Let the next commits be applied, and then raise StoreUnavailable: the caller can't know."""
        self._lost_replies += times

    def refuse(self, predicate: Callable[[SpendEvent], bool] | None) -> None:
        """Refuse every batch that holds an event like this; None refuses none any more."""
        self._refused = predicate

    # LedgerStore

    async def watermark(self, producer_id: str) -> int:
        await self._begin("watermark")
        return self.books.watermarks.get(producer_id, 0)

    async def commit(self, batch: Batch) -> int:
        await self._begin("commit")
        return self._commit((batch,))[batch.producer_id]

    async def commit_many(self, batches: Sequence[Batch]) -> dict[str, int]:
        await self._begin("commit_many")
        return self._commit(batches)

    # LedgerReader

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        await self._begin("events_after")
        after = _place(cursor) if cursor else (0, 0)
        found = [c for c in self.books.events if _place(c.cursor) > after and _matches(c.event, where)][:limit]
        return EventPage(events=tuple(found), next=found[-1].cursor if found else cursor)

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        await self._begin("latest_events")
        found = [committed for committed in self.books.events if _matches(committed.event, where)]
        found.sort(key=lambda committed: (committed.event.started_at, committed.event.event_id), reverse=True)
        return tuple(found[offset : offset + limit])

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        await self._begin("count_events")
        return min(at_most, sum(1 for committed in self.books.events if _matches(committed.event, where)))

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        await self._begin("total")
        counters = self.books.totals.get((entity_type, entity_id, member_id), [0] * len(COUNTERS))
        return _sum_row({"entity_id": entity_id, "member_id": member_id}, counters)

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        await self._begin("totals")
        rows = [
            _sum_row({"entity_id": entity_id, "member_id": member_id}, counters)
            for (kind, entity_id, member_id), counters in sorted(self.books.totals.items())
            if kind == entity_type
        ]
        return tuple(sorted(rows, key=_dearest_first)[:limit])

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        await self._begin("spend_of")
        cost = COUNTERS.index("cost_nano_usd")
        return {entity: self.books.totals[entity][cost] if entity in self.books.totals else 0 for entity in entities}

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        await self._begin("daily")
        groups: dict[str, Counters] = {}
        for key, counters in self.books.daily_spend.items():
            if first <= key[0] <= last and key_hash in {None, key[1]}:
                name = str(key[_GROUPS[group_by]])
                held = groups.get(name, [0] * len(COUNTERS))
                groups[name] = [a + b for a, b in zip(held, counters, strict=True)]
        rows = [_sum_row({group_by: name}, counters) for name, counters in sorted(groups.items())]
        return tuple(rows[:limit] if group_by == "day" else sorted(rows, key=_dearest_first)[:limit])

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        await self._begin("activity")
        rows = (
            ({name: str(key[_GROUPS[name]]) for name in CUBE_GROUPS}, counters)
            for key, counters in self.books.daily_spend.items()
            if first <= key[0] <= last
        )
        wanted = {
            "key": where.key_hashes,
            "user": where.user_ids,
            "team": where.team_ids,
            "organization": where.organization_ids,
        }
        return _grouped(
            (group, counters)
            for group, counters in rows
            if all(values is None or group[name] in values for name, values in wanted.items())
            and _is_of_models(group, where.models)
        )[:limit]

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
        await self._begin("entity_activity")
        rows = (
            (dict(zip(ENTITY_DAY_GROUPS, (key[0].isoformat(), *key[2:]), strict=True)), counters)
            for key, counters in self.books.daily_entity_spend.items()
            if first <= key[0] <= last and key[1] == entity_type and (entity_ids is None or key[2] in entity_ids)
        )
        return _grouped(row for row in rows if _is_of_models(row[0], models))[:limit]

    # LedgerAuditor

    async def audit(self, *, difference_limit: int = 100) -> Audit:
        await self._begin("audit")
        return self.books.audit(difference_limit=difference_limit)

    async def repair(self) -> int:
        await self._begin("repair")
        return self.books.repair()

    def _commit(self, batches: Sequence[Batch]) -> dict[str, int]:
        parts = parts_above(batches, self.books.watermarks)
        if self._refused is not None and any(self._refused(event) for part in parts for event in part.events):
            raise RowRefused("The store was told to refuse an event of these batches.")
        self.books.commit(parts)
        if self._lost_replies:
            self._lost_replies -= 1
            raise StoreUnavailable("The store was told to lose its reply.")
        return {batch.producer_id: self.books.watermarks.get(batch.producer_id, 0) for batch in batches}

    async def _begin(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)  # As with a database, others run before the answer is there.
        if self.away:
            raise StoreUnavailable("The store was told to be away.")
        if self._failures:
            raise self._failures.pop(0)


def _place(cursor: str) -> tuple[int, int]:
    position, _, seq = cursor.partition(":")
    if not (cursor.isascii() and position.isdecimal() and seq.isdecimal()):
        raise BadRequest(f"{cursor[:64]!r} is not a cursor; use the `next` of an earlier answer.", param="after")
    return int(position), int(seq)


def _matches(event: SpendEvent, where: EventFilter) -> bool:
    return (
        where.event_id in {None, event.event_id}
        and where.key_hash in {None, event.key_hash}
        and where.user_id in {None, event.user_id}
        and where.team_id in {None, event.team_id}
        and where.end_user_id in {None, event.end_user_id}
        and where.session_id in {None, event.session_id}
        and where.model in {None, event.model, event.model_group}
        and where.is_success in {None, event.status == "success"}
        and (where.cost_at_least_nano_usd is None or where.cost_at_least_nano_usd <= event.cost_nano_usd)
        and (where.cost_at_most_nano_usd is None or event.cost_nano_usd <= where.cost_at_most_nano_usd)
        and where.provider_response_id in {None, event.provider_response_id}
        and _in_time(event.started_at, where)
    )


def _in_time(moment: datetime, where: EventFilter) -> bool:
    return (where.since is None or where.since <= moment) and (where.until is None or moment < where.until)


def _is_of_models(group: dict[str, str], models: tuple[str, ...] | None) -> bool:
    return models is None or group["model_group"] in models or group["model"] in models


def _grouped(rows: Iterable[tuple[dict[str, str], Counters]]) -> tuple[SumRow, ...]:
    sums: dict[tuple[str, ...], Counters] = {}
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for group, counters in rows:
        key = tuple(group.values())
        groups[key] = group
        sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(COUNTERS)), counters, strict=True)]
    return tuple(_sum_row(groups[key], sums[key]) for key in sorted(sums))


def _sum_row(group: dict[str, str], counters: Counters) -> SumRow:
    return SumRow(group=group, **dict(zip(COUNTERS, counters, strict=True)))


def _dearest_first(row: SumRow) -> int:
    return -row.cost_nano_usd
