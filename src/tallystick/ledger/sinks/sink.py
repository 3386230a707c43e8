"""The port of a sink, what is sent to it, and on which terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from tallystick.ledger.event import SpendEvent

Wanted = Literal["all", "success", "failure"]
AtLimit = Literal["keep", "skip"]


class NumberedEvent(NamedTuple):
    """An event with its number."""

    event: SpendEvent
    producer_id: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What is sent at once: events in the order of their numbers, and intents of calls that still run."""

    events: tuple[NumberedEvent, ...] = ()
    starts: tuple[SpendEvent, ...] = ()

    def __len__(self) -> int:
        return len(self.events) + len(self.starts)

    def parts(self) -> Sequence[Parcel]:
        """Return smaller parcels that are the same together, in order. Only for a parcel of more than one thing."""
        if self.starts and self.events:
            return (replace(self, starts=()), replace(self, events=()))
        middle = len(self) // 2
        if self.events:
            return (replace(self, events=self.events[:middle]), replace(self, events=self.events[middle:]))
        return (replace(self, starts=self.starts[:middle]), replace(self, starts=self.starts[middle:]))


class Sink(Protocol):
    """A destination of events. It may be given the same event again at any time, and then keeps one."""

    @property
    def kind(self) -> str:
        """What it is: `webhook`, `supabase` …"""

    @property
    def wants_starts(self) -> bool:
        """Whether it is given the intents of calls that still run."""

    async def send(self, parcel: Parcel) -> None:
        """Deliver all of a parcel; when this returns, the destination has taken it.

        Raises SinkUnavailable when it has not, or nobody knows (it is sent again), and SinkRefused when the
        destination refuses what is in it (smaller parts are tried, and a single event is given up).
        """

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        """Return those that the destination does not have, where it can tell; else all. For a replay.

        Raises SinkUnavailable.
        """

    async def aclose(self) -> None:
        """Close its connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTerms:
    """How a sink is fed."""

    wanted: Wanted = "all"
    batch_events_max: int = 100
    batch_wait_seconds: float = 1.0
    timeout_seconds: float = 10.0
    retry_seconds_min: float = 0.5
    retry_seconds_max: float = 60.0
    at_limit: AtLimit = "skip"

    def wants(self, event: SpendEvent) -> bool:
        """Whether an event is of the kind that is sent. What did not end well is a failure."""
        return self.wanted == "all" or (event.status == "success") is (self.wanted == "success")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlan:
    """A sink by its name, with its terms."""

    name: str
    sink: Sink
    terms: SinkTerms = SinkTerms()
