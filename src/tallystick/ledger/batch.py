"""Batch arithmetic: contiguous runs of events, and the sums that follow from them. Pure functions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import UTC, date
from typing import TypeVar

import msgspec

from tallystick.ledger.event import SpendEvent


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the store refuses for itself, kept with its reason and its money instead of blocking the rest."""

    seq: int
    event_id: str
    reason: str
    cost_nano_usd: int
    payload: bytes
    """The event in msgpack, as the journal held it."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A contiguous run of one producer's events: numbers `first_seq` to `last_seq`, none missing.

    The n-th event has number `first_seq + n`, unless dead letters are in between: `numbers` gives each event's own.
    """

    producer_id: str
    first_seq: int
    last_seq: int
    numbers: tuple[int, ...]
    events: tuple[SpendEvent, ...]
    dead_letters: tuple[DeadLetter, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.numbers) == len(self.events)
        assert self.last_seq - self.first_seq + 1 == len(self.events) + len(self.dead_letters)

    def above(self, watermark: int) -> Batch | None:
        """Return the part whose numbers are above `watermark`; None when nothing is left."""
        if watermark < self.first_seq:
            return self
        if watermark >= self.last_seq:
            return None
        return self._part(watermark + 1, self.last_seq)

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches that together are this one. There must be at least two numbers."""
        middle = (self.first_seq + self.last_seq) // 2
        return self._part(self.first_seq, middle), self._part(middle + 1, self.last_seq)

    def _part(self, first_seq: int, last_seq: int) -> Batch:
        start, end = bisect_left(self.numbers, first_seq), bisect_right(self.numbers, last_seq)
        return Batch(
            producer_id=self.producer_id,
            first_seq=first_seq,
            last_seq=last_seq,
            numbers=self.numbers[start:end],
            events=self.events[start:end],
            dead_letters=tuple(letter for letter in self.dead_letters if first_seq <= letter.seq <= last_seq),
        )


def batch_of(producer_id: str, first_seq: int, events: Iterable[SpendEvent]) -> Batch:
    """Return the batch of `events`, numbered from `first_seq` on. There must be at least one."""
    run = tuple(events)
    assert run, "a batch has at least one event"
    last_seq = first_seq + len(run) - 1
    return Batch(
        producer_id=producer_id,
        first_seq=first_seq,
        last_seq=last_seq,
        numbers=tuple(range(first_seq, last_seq + 1)),
        events=run,
    )


# The quantities that are summed, in the order in which every sum row lists them.
COUNTERS = (
    "requests",
    "successful_requests",
    "failed_requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
ENTITY_TYPES = (
    "end_user",
    "global",
    "key",
    "model",
    "model_group",
    "organization",
    "provider",
    "tag",
    "team",
    "team_member",
    "user",
)

KeyT = TypeVar("KeyT")
Counters = list[int]
# day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool
CubeKey = tuple[date, str, str, str, str, str, str, str, str, str]
# day, entity_type ('end_user' or 'tag'), entity_id, model_group, model, provider, endpoint
EntityDayKey = tuple[date, str, str, str, str, str, str]
# entity_type, entity_id, member_id (the user of a 'team_member', else '')
TotalKey = tuple[str, str, str]


class Deltas(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch adds to each sum. Keys are in ascending order, so that every committer locks rows in one order."""

    daily: dict[CubeKey, Counters]
    daily_entities: dict[EntityDayKey, Counters]
    totals: dict[TotalKey, Counters]


def fold(events: Iterable[SpendEvent]) -> Deltas:
    """Return the sums of `events` by cube row, by day of end user and tag, and by entity.

    An event with k distinct tags counts fully for each of the k (sums over tags overlap, by design); entities whose id
    is '' get no row, the whole has the id ''.
    """
    cube: dict[CubeKey, Counters] = {}
    entity_days: dict[EntityDayKey, Counters] = {}
    for event in events:
        counters = _counters(event)
        day = event.started_at.astimezone(UTC).date()
        _add(
            cube,
            (
                day,
                event.key_hash,
                event.user_id,
                event.team_id,
                event.organization_id,
                event.model_group,
                event.model,
                event.provider,
                event.endpoint,
                event.tool,
            ),
            counters,
        )
        place = (event.model_group, event.model, event.provider, event.endpoint)
        if event.end_user_id:
            _add(entity_days, (day, "end_user", event.end_user_id, *place), counters)
        for tag in dict.fromkeys(event.tags):
            _add(entity_days, (day, "tag", tag, *place), counters)
    return Deltas(
        daily=dict(sorted(cube.items())),
        daily_entities=dict(sorted(entity_days.items())),
        totals=dict(sorted(_totals(cube, entity_days).items())),
    )


def _totals(cube: dict[CubeKey, Counters], entity_days: dict[EntityDayKey, Counters]) -> dict[TotalKey, Counters]:
    """Derive the entities' sums from the cube: it has far fewer rows than there are events."""
    totals: dict[TotalKey, Counters] = {}
    for (_, key, user, team, organization, group, model, provider, _, _), counters in cube.items():
        _add(totals, ("global", "", ""), counters)
        for entity_type, entity_id in (
            ("key", key),
            ("user", user),
            ("team", team),
            ("organization", organization),
            ("model_group", group),
            ("model", model),
            ("provider", provider),
        ):
            if entity_id:
                _add(totals, (entity_type, entity_id, ""), counters)
        if team and user:
            _add(totals, ("team_member", team, user), counters)
    for (_, entity_type, entity_id, *_rest), counters in entity_days.items():
        _add(totals, (entity_type, entity_id, ""), counters)
    return totals


def _counters(event: SpendEvent) -> Counters:
    usage = event.usage
    success = event.status == "success"
    return [
        1,
        1 if success else 0,
        0 if success else 1,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cache_read_tokens or 0,
        usage.cache_write_tokens or 0,
        usage.reasoning_tokens or 0,
        event.cost_nano_usd,
    ]


def _add(sums: dict[KeyT, Counters], key: KeyT, counters: Counters) -> None:
    row = sums.get(key)
    if row is None:
        sums[key] = counters.copy()
    else:
        for index, value in enumerate(counters):
            row[index] += value
