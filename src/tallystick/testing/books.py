"""What the store in memory holds of the ledger, and its recomputation. A plain model of what the databases do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from tallystick.errors import EventRepeated, RowRefused
from tallystick.ledger.batch import (
    COUNTERS,
    Batch,
    Counters,
    CubeKey,
    DeadLetter,
    Deltas,
    EntityDayKey,
    TotalKey,
    fold,
)
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import Audit, CommittedEvent, Difference, ProducerAudit
from tallystick.testing.budget_books import BudgetBooks

KeyT = TypeVar("KeyT", bound=Hashable)
_INTEGER_MIN = -(2**63)
_INTEGER_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One transaction: its place, whose numbers, and what it held."""

    position: int
    producer_id: str
    first_seq: int
    last_seq: int
    events: int
    dead_letters: int
    cost_nano_usd: int
    first_time: datetime | None
    last_time: datetime | None


class Letter(NamedTuple):
    """A dead letter and whose it is."""

    producer_id: str
    letter: DeadLetter


@dataclass(slots=True)
class Books:
    """The tables. Tests may reach in and falsify them, to see that an audit finds it."""

    watermarks: dict[str, int] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    events: list[CommittedEvent] = field(default_factory=list)
    dead_letters: list[Letter] = field(default_factory=list)
    daily_spend: dict[CubeKey, Counters] = field(default_factory=dict)
    daily_entity_spend: dict[EntityDayKey, Counters] = field(default_factory=dict)
    totals: dict[TotalKey, Counters] = field(default_factory=dict)
    budgets: BudgetBooks = field(default_factory=BudgetBooks)
    _event_ids: set[str] = field(default_factory=set)

    def commit(self, parts: Sequence[Batch]) -> None:
        """Apply batches that each continue their producer's watermark: all of them, or none and RowRefused."""
        self._require_storable(parts)
        for part in parts:
            self._apply(part)

    def expected(self) -> Deltas:
        """Return what the sums have to be."""
        return fold(committed.event for committed in self.events)

    def repair(self) -> int:
        """Put every sum right; return how many rows were wrong."""
        expected = self.expected()
        changed = 0
        for found, wanted in self._sums(expected):
            changed += sum(1 for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        self.daily_spend = expected.daily
        self.daily_entity_spend = expected.daily_entities
        self.totals = expected.totals
        return changed + self.budgets.repair(self.events)

    def audit(self, *, difference_limit: int) -> Audit:
        """Recompute everything."""
        differences = list(self._differences())
        return Audit(
            events=len(self.events),
            dead_letters=len(self.dead_letters),
            cost_nano_usd=sum(committed.event.cost_nano_usd for committed in self.events),
            dead_letter_cost_nano_usd=sum(letter.letter.cost_nano_usd for letter in self.dead_letters),
            producers=tuple(
                ProducerAudit(
                    producer_id=producer_id,
                    watermark=watermark,
                    events=sum(1 for committed in self.events if committed.producer_id == producer_id),
                    dead_letters=sum(1 for letter in self.dead_letters if letter.producer_id == producer_id),
                )
                for producer_id, watermark in sorted(self.watermarks.items())
            ),
            differences=tuple(differences[:difference_limit]),
            difference_count=len(differences),
        )

    def _apply(self, part: Batch) -> None:
        assert part.first_seq == self.watermarks.get(part.producer_id, 0) + 1
        position = len(self.commits) + 1
        times = [event.started_at for event in part.events]
        self.commits.append(
            Commit(
                position=position,
                producer_id=part.producer_id,
                first_seq=part.first_seq,
                last_seq=part.last_seq,
                events=len(part.events),
                dead_letters=len(part.dead_letters),
                cost_nano_usd=sum(event.cost_nano_usd for event in part.events),
                first_time=min(times, default=None),
                last_time=max(times, default=None),
            )
        )
        for seq, event in zip(part.numbers, part.events, strict=True):
            cursor = f"{position}:{seq}"
            self.events.append(CommittedEvent(event=event, producer_id=part.producer_id, seq=seq, cursor=cursor))
        self.budgets.count(part.producer_id, self.events[len(self.events) - len(part.events) :])
        self.dead_letters += [Letter(part.producer_id, letter) for letter in part.dead_letters]
        self._add(fold(part.events))
        self.watermarks[part.producer_id] = part.last_seq

    def _require_storable(self, parts: Sequence[Batch]) -> None:
        seen: set[str] = set()
        for event in (event for part in parts for event in part.events):
            if event.event_id in seen or event.event_id in self._event_ids:
                raise EventRepeated(f"The event {event.event_id} is there already.")
            seen.add(event.event_id)
            _require_representable(event)
        self._event_ids |= seen

    def _add(self, deltas: Deltas) -> None:
        for found, added in self._sums(deltas):
            for key, counters in added.items():
                row = found.get(key, [0] * len(COUNTERS))
                found[key] = [held + more for held, more in zip(row, counters, strict=True)]

    def _sums(self, other: Deltas) -> tuple[tuple[dict[Any, Counters], dict[Any, Counters]], ...]:
        # Any: one of three kinds of key; whoever loops over all of them takes a key for a name only.
        return (
            (self.totals, other.totals),
            (self.daily_spend, other.daily),
            (self.daily_entity_spend, other.daily_entities),
        )

    def _differences(self) -> Iterator[Difference]:
        yield from self._number_differences()
        yield from self._commit_differences()
        tables = ("totals", "daily_spend", "daily_entity_spend")
        for table, (found, expected) in zip(tables, self._sums(self.expected()), strict=True):
            yield from _sum_differences(table, found, expected)
        yield from self.budgets.differences(self.events)

    def _number_differences(self) -> Iterator[Difference]:
        numbers = self._numbers()
        for producer_id, watermark in self.watermarks.items():
            held = numbers.get(producer_id, [])
            yield from _unequal("producers", producer_id, "events + dead_letters", len(held), watermark)
            in_range = len({seq for seq in held if 1 <= seq <= watermark})
            yield from _unequal("producers", producer_id, "numbers", in_range, watermark)
            committed = sum(c.last_seq - c.first_seq + 1 for c in self.commits if c.producer_id == producer_id)
            yield from _unequal("commits", producer_id, "numbers", committed, watermark)
        ids = Counter(committed.event.event_id for committed in self.events)
        yield from _unequal("spend_events", "", "event_id", ids.total() - len(ids), 0)

    def _commit_differences(self) -> Iterator[Difference]:
        newest = max((commit.position for commit in self.commits), default=0)
        yield from _unequal("commits", "", "position", len(self.commits), newest)
        for commit in self.commits:
            run = range(commit.first_seq, commit.last_seq + 1)
            events = [c.event for c in self.events if c.producer_id == commit.producer_id and c.seq in run]
            letters = [x for x in self.dead_letters if x.producer_id == commit.producer_id and x.letter.seq in run]
            key = str(commit.position)
            yield from _unequal("commits", key, "events", commit.events, len(events))
            yield from _unequal("commits", key, "dead_letters", commit.dead_letters, len(letters))
            cost = sum(event.cost_nano_usd for event in events)
            yield from _unequal("commits", key, "cost_nano_usd", commit.cost_nano_usd, cost)

    def _numbers(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for committed in self.events:
            numbers.setdefault(committed.producer_id, []).append(committed.seq)
        for letter in self.dead_letters:
            numbers.setdefault(letter.producer_id, []).append(letter.letter.seq)
        return numbers


def _sum_differences(
    table: str, found: Mapping[KeyT, Counters], expected: Mapping[KeyT, Counters]
) -> Iterator[Difference]:
    zeros = [0] * len(COUNTERS)
    for key in {**found, **expected}:
        pairs = zip(COUNTERS, found.get(key, zeros), expected.get(key, zeros), strict=True)
        for column, there, wanted in pairs:
            yield from _unequal(table, str(key), column, there, wanted)


def _unequal(table: str, row: str, column: str, found: int, expected: int) -> Iterator[Difference]:
    if found != expected:
        yield Difference(table=table, row=row, column=column, found=found, expected=expected)


def _require_representable(event: SpendEvent) -> None:
    """Refuse what no database can hold: text that is not Unicode, integers beyond 64 bit."""
    try:
        msgspec.json.encode(event)
    except UnicodeEncodeError as error:
        raise RowRefused(f"The event {event.event_id} holds text that is not Unicode: {error}") from error
    for number in (event.cost_nano_usd, *msgspec.structs.astuple(event.usage)):
        if number is not None and not _INTEGER_MIN <= number <= _INTEGER_MAX:
            raise RowRefused(f"The event {event.event_id} holds an integer beyond 64 bit.")
