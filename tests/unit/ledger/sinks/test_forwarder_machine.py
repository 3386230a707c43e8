"""Whatever happens in whatever order, every event is sent or counted, and what is sent again is the same."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from ledger_kit import append_calls, committer_of, crash, journal_in, make_event
from sink_kit import RecordingSink, plan_of
from tallystick.errors import LedgerUnavailable, SinkUnavailable
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.ledger.sinks.cursor import read_cursor
from tallystick.ledger.sinks.forwarder import Forwarder
from tallystick.ledger.sinks.meter import SinkMeter
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore


class World:
    """One slot over many lives of its process, with a sink that fails as it likes."""

    def __init__(self, root: Path, seed: int, *, at_limit: str) -> None:
        self.draw = random.Random(seed)
        self.root = root
        self.at_limit = at_limit
        self.sink, self.store = RecordingSink(), MemoryStore()
        self.events: list[SpendEvent] = []
        self.knows_store = True
        self.open()

    def open(self) -> None:
        watermarks = {}
        if self.draw.random() < 0.7:  # Else the store can't be asked, and a new producer begins.
            watermarks = {
                audit.producer_id: audit.watermark for audit in self.store.books.audit(difference_limit=1).producers
            }
        self.journal: Journal = journal_in(
            self.root, confirmed=watermarks, bytes_max=192 * 1024, segment_bytes=16 * 1024
        )
        plan = plan_of(self.sink, batch_events_max=self.draw.choice([1, 5, 50]), at_limit=self.at_limit)
        meter = SinkMeter("rec", "recording", Metrics())
        self.forwarder = Forwarder(journal=self.journal, plan=plan, meter=meter, clock=SystemClock())
        self.committer = committer_of(self.journal, self.store)

    async def call(self) -> None:
        for _ in range(self.draw.randrange(1, 40)):
            try:
                self.events += append_calls(self.journal, 1, user_agent="x" * self.draw.randrange(900))
            except LedgerUnavailable:
                return

    async def commit(self) -> None:
        await self.committer.drain()

    async def send(self) -> None:
        self.sink.is_away = self.draw.random() < 0.3
        self.sink.loses_answers = self.draw.random() < 0.2
        with contextlib.suppress(SinkUnavailable):
            await self.forwarder.drain()
        self.sink.is_away = self.sink.loses_answers = False

    async def die(self) -> None:
        if self.draw.random() < 0.5:
            running = make_event(status="interrupted")
            try:
                self.journal.append_intent(running)
                self.events.append(running)
            except LedgerUnavailable:
                pass
        crash(self.journal)
        self.open()

    async def stop(self) -> None:
        self.committer.close()
        self.forwarder.close()
        self.journal.close()
        self.open()

    async def live(self, steps: int) -> None:
        acts = (self.call, self.call, self.call, self.commit, self.commit, self.send, self.send, self.die, self.stop)
        for _ in range(steps):
            await self.draw.choice(acts)()
        await self.committer.drain()
        await self.forwarder.drain()


@pytest.mark.parametrize("at_limit", ["skip", "keep"])
@pytest.mark.parametrize("seed", range(6))
async def test_every_event_is_sent_or_counted(tmp_path: Path, seed: int, at_limit: str) -> None:
    world = World(tmp_path, seed, at_limit=at_limit)
    await world.live(40)

    made = {event.event_id for event in world.events}
    sent = set(world.sink.ids)
    skipped = read_cursor(world.journal.slot.directory, "rec").skipped
    assert sent <= made
    assert len(made - sent) <= skipped, "what was not sent was counted"
    if at_limit == "keep":
        assert sent == made
        assert skipped == 0
    ends = {(parcel.events[0].producer_id, parcel.events[0].seq): parcel.events for parcel in world.sink.parcels}
    for parcel in world.sink.parcels:
        first = parcel.events[0]
        assert parcel.events == ends[first.producer_id, first.seq], "what began the same is the same"
    assert {each.event.event_id for each in world.store.books.events} == made, "the ledger has all"
    assert world.store.books.audit(difference_limit=10).differences == ()
    crash(world.journal)
