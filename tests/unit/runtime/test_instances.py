"""The heartbeat: it goes on over outages, and says goodbye."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from tallystick.errors import StoreUnavailable
from tallystick.runtime.instances import BEAT_SECONDS, Heartbeat, Instance
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock
from tallystick.testing.instances import MemoryInstances

INSTANCE = Instance(
    instance_id="i",
    host="alpha",
    pid=7,
    version="1",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    revision=1,
    producer_id="p",
    events_pending=0,
    journal_bytes=0,
)


class Failing(MemoryInstances):
    is_away = False
    tries = 0

    async def beat(self, instance: Instance) -> None:
        self.tries += 1
        if self.is_away:
            raise StoreUnavailable("away")
        await super().beat(instance)

    async def leave(self, instance_id: str) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        await super().leave(instance_id)


async def until_asleep(clock: FakeClock) -> None:
    await asyncio.sleep(0)
    while not clock.sleepers:
        await asyncio.sleep(0)


async def test_it_beats_over_an_outage_and_leaves_at_the_end() -> None:
    clock = FakeClock()
    store = Failing(clock=clock)
    revision = 1
    heartbeat = Heartbeat(
        store,
        instance_id=INSTANCE.instance_id,
        describe=lambda: msgspec.structs.replace(INSTANCE, revision=revision),
        clock=clock,
        metrics=Metrics(),
    )
    await heartbeat.start()
    await until_asleep(clock)
    (seen,) = await store.seen(limit=9)
    assert seen.instance.revision == 1

    store.is_away, revision = True, 2
    for tries in (2, 3):
        clock.advance(BEAT_SECONDS)
        await until_asleep(clock)
        assert store.tries == tries
    assert heartbeat.health().restarts == 0

    store.is_away = False
    clock.advance(BEAT_SECONDS)
    await until_asleep(clock)
    (seen,) = await store.seen(limit=9)
    assert (seen.instance.revision, seen.silent_seconds) == (2, 0)
    await heartbeat.stop()
    assert await store.seen(limit=9) == ()


async def test_it_stops_while_the_store_is_away() -> None:
    clock = FakeClock()
    store = Failing(clock=clock)
    store.is_away = True
    heartbeat = Heartbeat(
        store, instance_id=INSTANCE.instance_id, describe=lambda: INSTANCE, clock=clock, metrics=Metrics()
    )
    await heartbeat.start()
    await heartbeat.stop()
