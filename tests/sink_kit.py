"""A sink for tests that keeps what it is given, and fails as it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel, SinkPlan, SinkTerms

QUICK = {"batch_wait_seconds": 0.0, "retry_seconds_min": 0.001, "retry_seconds_max": 0.002}


class RecordingSink:
    """A `Sink`. Each number in `failures` is of a request: what is raised there, before or after it is kept."""

    kind = "recording"

    def __init__(self, *, wants_starts: bool = False) -> None:
        self.wants_starts = wants_starts
        self.parcels: list[Parcel] = []
        self.poison: set[str] = set()
        self.is_away = False
        self.loses_answers = False
        self.hangs = False
        self.closed = False

    async def send(self, parcel: Parcel) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_away:
            raise SinkUnavailable("it is away")
        if any(event.event_id in self.poison for event, _, _ in parcel.events):
            raise SinkRefused("it does not like one of them")
        self.parcels.append(parcel)
        if self.loses_answers:
            raise SinkUnavailable("its answer was lost")

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        return events

    async def aclose(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[str]:
        """Every event that it was given, in order."""
        return [event.event_id for parcel in self.parcels for event, _, _ in parcel.events]

    @property
    def repeated(self) -> set[str]:
        return {event_id for event_id, times in Counter(self.ids).items() if times > 1}


def plan_of(sink: RecordingSink, **terms: object) -> SinkPlan:
    return SinkPlan(name="rec", sink=sink, terms=SinkTerms(**{**QUICK, **terms}))  # type: ignore[arg-type]
