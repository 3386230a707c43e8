"""The change feed: every change in its order, once the database can be asked, and never a step back unnoticed."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gated_store import GatedControlStore, held
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind, ObjectRef
from tallystick.errors import StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock


class Follower:
    """Notes what it was told; `broken` makes it fail as a snapshot does whose objects can't be read."""

    def __init__(self):
        self.told: list[tuple[ObjectRef, ...]] = []
        self.starts = 0
        self.broken = False

    async def follow(self, changed):
        await asyncio.sleep(0)
        if self.broken:
            raise StoreUnavailable("the objects can't be read")
        self.told.append(tuple(changed))

    async def start_over(self):
        if self.broken:
            raise StoreUnavailable("the objects can't be read")
        self.starts += 1


class Bench:
    def __init__(self, **settings):
        self.clock = FakeClock()
        self.store = GatedControlStore(clock=self.clock)
        self.first, self.second = Follower(), Follower()
        self.metrics = Metrics()
        self.feed = ChangeFeed(
            self.store, (self.first, self.second), clock=self.clock, metrics=self.metrics, **settings
        )

    def counted(self, line):
        return line in self.metrics.render().decode()


@pytest.fixture
def bench():
    with capture_logs():
        yield Bench()


TEAM, OTHER = held(Kind.TEAM, "t"), held(Kind.TEAM, "other")


async def test_followers_start_over_and_then_hear_of_every_change_in_order(bench):
    await bench.store.put(TEAM)
    assert bench.feed.revision is None
    await bench.feed.poll()
    assert (bench.feed.revision, bench.first.starts, bench.second.starts) == (1, 1, 1)
    await bench.feed.poll()
    assert bench.first.told == []
    await bench.store.put(OTHER)
    await bench.store.put(TEAM)
    await bench.store.put(OTHER)
    await bench.feed.poll()
    assert bench.first.told == [(OTHER.ref, TEAM.ref)] == bench.second.told
    assert bench.feed.revision == 4
    assert bench.counted("tallystick_change_feed_revision 4.0")


async def test_the_feed_goes_on_from_its_revision_after_an_outage(bench):
    await bench.feed.poll()
    bench.store.away = True
    for _ in range(3):
        await bench.feed.poll()
    assert bench.feed.revision == 0
    bench.store.away = False
    await bench.store.put(TEAM)
    await bench.feed.poll()
    assert bench.first.told == [(TEAM.ref,)]
    assert bench.first.starts == 1
    assert bench.counted("tallystick_change_feed_errors_total 3.0")


async def test_an_outage_is_logged_once_and_its_end_too():
    bench = Bench()
    with capture_logs() as logs:
        bench.store.away = True
        for _ in range(3):
            await bench.feed.poll()
        bench.store.away = False
        await bench.feed.poll()
        await bench.feed.poll()
    assert [entry["event"] for entry in logs] == [
        "change_feed_unavailable",
        "change_feed_started_over",
        "change_feed_available",
    ]


async def test_a_change_that_a_follower_could_not_take_is_brought_again(bench):
    await bench.feed.poll()
    await bench.store.put(TEAM)
    bench.second.broken = True
    await bench.feed.poll()
    assert bench.feed.revision == 0
    bench.second.broken = False
    await bench.store.put(OTHER)
    await bench.feed.poll()
    assert bench.second.told == [(TEAM.ref, OTHER.ref)]
    assert bench.feed.revision == 2


async def test_more_changes_than_a_page_let_followers_start_over(bench):
    await bench.feed.poll()
    for number in range(1_500):
        await bench.store.put(held(Kind.TAG, f"tag-{number}"))
    await bench.feed.poll()
    assert (bench.first.starts, bench.first.told) == (2, [])
    assert bench.feed.revision == 1_500


async def test_a_feed_that_went_back_lets_followers_start_over(bench):
    for _ in range(5):
        await bench.store.put(TEAM)
    await bench.feed.poll()
    bench.store.away = True
    await bench.feed.poll()
    bench.store.away = False
    bench.store.restore(entries=2)
    await bench.feed.poll()
    assert (bench.first.starts, bench.feed.revision) == (2, 2)
    await bench.store.put(TEAM)
    await bench.feed.poll()
    assert bench.first.told == [(TEAM.ref,)]


async def test_a_change_between_the_revision_and_the_start_over_is_seen_again(bench):
    store, start_over = bench.store, bench.first.start_over

    async def meanwhile():
        await start_over()
        await store.put(TEAM)

    bench.first.start_over = meanwhile
    await bench.feed.poll()
    assert bench.feed.revision == 0
    await bench.feed.poll()
    assert bench.first.told == [(TEAM.ref,)]


async def test_an_admin_write_is_in_force_when_catch_up_returns(bench):
    await bench.feed.catch_up(await bench.store.put(TEAM))
    assert bench.feed.revision == 1
    revision = await bench.store.put(OTHER)
    await asyncio.gather(*(bench.feed.catch_up(revision) for _ in range(5)))
    assert bench.first.told == [(OTHER.ref,)]


async def test_catch_up_does_not_wait_for_a_database_that_went_away(bench):
    await bench.feed.poll()
    bench.store.away = True
    await bench.feed.catch_up(7)
    assert bench.feed.revision == 0


async def test_the_loop_is_woken_by_a_change_and_survives_a_broken_poll():
    bench = Bench(interval_seconds=3_600)
    changes_after, broken = bench.store.changes_after, True

    async def sometimes(revision, *, limit):
        nonlocal broken
        if broken:
            broken = False
            raise ValueError("a bug")
        return await changes_after(revision, limit=limit)

    bench.store.changes_after = sometimes
    with capture_logs():
        await bench.feed.start()
        assert bench.feed.name == "change_feed"
        await turns_until(lambda: bench.feed.revision == 0)
        await turns(5)
        await bench.store.put(TEAM)
        await turns_until(lambda: bench.clock.sleepers)
        bench.clock.advance(3_600)
        await turns_until(lambda: bench.feed.revision == 1)
        await bench.store.put(OTHER)
        await turns_until(lambda: bench.feed.revision == 2)
        await bench.feed.stop()
    assert bench.feed.health().state == "stopped"


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def turns_until(is_so, turns_max=1_000):
    for _ in range(turns_max):
        if is_so():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")
