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
    folding = Folding()
    folding.add(events)
    return folding.deltas()


class Folding:
    """A fold that is fed in slices, so that a server can do other things in between. Same result as in one piece."""

    def __init__(self) -> None:
        self._cube: dict[CubeKey, Counters] = {}
        self._entity_days: dict[EntityDayKey, Counters] = {}
        self._days: dict[int, date] = {}

    def add(self, events: Iterable[SpendEvent]) -> None:
        """Count some more events."""
        cube, entity_days, days = self._cube, self._entity_days, self._days
        for event in events:
            counters = _counters(event)
            moment = event.started_at.astimezone(UTC)
            # One object for each day: equal keys are then compared by identity, which is most of the sorting below.
            day = days.get(moment.toordinal()) or days.setdefault(moment.toordinal(), moment.date())
            group, model, provider, endpoint = event.model_group, event.model, event.provider, event.endpoint
            cube_key = (
                day,
                event.key_hash,
                event.user_id,
                event.team_id,
                event.organization_id,
                group,
                model,
                provider,
                endpoint,
                event.tool,
            )
            _add(cube, cube_key, counters)
            if event.end_user_id:
                _add(entity_days, (day, "end_user", event.end_user_id, group, model, provider, endpoint), counters)
            for tag in dict.fromkeys(event.tags):
                _add(entity_days, (day, "tag", tag, group, model, provider, endpoint), counters)

    def daily(self) -> dict[CubeKey, Counters]:
        """Return what was added, by cube row."""
        return _in_key_order(self._cube)

    def daily_entities(self) -> dict[EntityDayKey, Counters]:
        """Return what was added, by day of end user and tag."""
        return _in_key_order(self._entity_days)

    def totals(self) -> dict[TotalKey, Counters]:
        """Return what was added, by entity."""
        return _in_key_order(_totals(self._cube, self._entity_days))

    def deltas(self) -> Deltas:
        """Return all of it."""
        return Deltas(daily=self.daily(), daily_entities=self.daily_entities(), totals=self.totals())


def _totals(cube: dict[CubeKey, Counters], entity_days: dict[EntityDayKey, Counters]) -> dict[TotalKey, Counters]:
    """Derive the entities' sums from the cube: it has far fewer rows than there are events."""
    callers: dict[tuple[str, str, str, str], Counters] = {}
    places: dict[tuple[str, str, str], Counters] = {}
    for (_, key, user, team, organization, group, model, provider, _, _), counters in cube.items():
        _add(callers, (key, user, team, organization), counters)
        _add(places, (group, model, provider), counters)
    totals: dict[TotalKey, Counters] = {}
    for (key, user, team, organization), counters in callers.items():
        _add(totals, ("global", "", ""), counters)
        _add_named(totals, (("key", key), ("user", user), ("team", team), ("organization", organization)), counters)
        if team and user:
            _add(totals, ("team_member", team, user), counters)
    for (group, model, provider), counters in places.items():
        _add_named(totals, (("model_group", group), ("model", model), ("provider", provider)), counters)
    for (_, entity_type, entity_id, *_rest), counters in entity_days.items():
        _add(totals, (entity_type, entity_id, ""), counters)
    return totals


def _add_named(totals: dict[TotalKey, Counters], entities: tuple[tuple[str, str], ...], counters: Counters) -> None:
    for entity_type, entity_id in entities:
        if entity_id:
            _add(totals, (entity_type, entity_id, ""), counters)


def _in_key_order(sums: dict[KeyT, Counters]) -> dict[KeyT, Counters]:
    return {key: sums[key] for key in sorted(sums)}  # type: ignore[type-var]  # All keys are tuples of text and days.


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
        # Written out: this is the innermost loop of a commit, and a loop over the indexes takes twice the time.
        row[0] += counters[0]
        row[1] += counters[1]
        row[2] += counters[2]
        row[3] += counters[3]
        row[4] += counters[4]
        row[5] += counters[5]
        row[6] += counters[6]
        row[7] += counters[7]
        row[8] += counters[8]
