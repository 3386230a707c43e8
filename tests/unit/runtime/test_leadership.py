"""Who leads, as one instance sees it: its jobs run while it may trust its lease, and no moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ledger_kit import value_of
from tallystick.runtime.leadership import Leadership, LeadershipStore
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock
from tallystick.testing.leaderships import MemoryLeaderships


class Instance:
    """One instance with one job, which notes when it runs."""

    def __init__(self, holder: str, store: LeadershipStore, clock: FakeClock) -> None:
        self.starts = 0
        self.is_running = False
        self.metrics = Metrics()
        self.leadership = Leadership(
            "jobs",
            store=store,
            holder=holder,
            jobs=[SupervisedLoop("job", self._run, clock=clock, metrics=self.metrics)],
            lease_seconds=10,
            clock=clock,
            metrics=self.metrics,
        )

    async def _run(self) -> None:
        self.starts += 1
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def pass_time(clock: FakeClock, seconds: float, check: Callable[[], None] = lambda: None) -> None:
    """Let time pass in small steps, in each of which everybody does what is due."""
    for _ in range(round(seconds / 0.25)):
        clock.advance(0.25)
        await settle()
        check()


async def test_the_jobs_run_while_leading_and_one_other_follows_when_it_is_stopped() -> None:
    clock = FakeClock()
    store = MemoryLeaderships(clock=clock)
    first, second = Instance("first", store, clock), Instance("second", store, clock)
    await first.leadership.start()
    await settle()
    await second.leadership.start()
    await pass_time(clock, 60)
    assert (first.starts, first.is_running, second.starts) == (1, True, 0)
    assert (first.leadership.is_leader, second.leadership.is_leader) == (True, False)
    status = second.leadership.status()
    assert (status.name, status.holder, status.term) == ("jobs", "first", 1)
    assert (value_of(first.metrics.is_leader), value_of(second.metrics.is_leader)) == (1, 0)

    await first.leadership.stop()
    assert not first.is_running
    await pass_time(clock, 1.25)  # It asks each second; nobody waits until the lease is over.
    assert second.is_running
    assert (second.leadership.status().term, value_of(first.metrics.is_leader)) == (2, 0)
    await second.leadership.stop()
    assert not second.is_running


async def test_a_leader_that_hears_nothing_ends_its_jobs_before_another_may_begin() -> None:
    clock = FakeClock()
    store = MemoryLeaderships(clock=clock)
    cut_off = Cut(store)
    first, second = Instance("first", cut_off, clock), Instance("second", store, clock)
    await first.leadership.start()
    await settle()
    await second.leadership.start()
    await pass_time(clock, 5)
    assert first.is_running

    def at_most_one() -> None:
        assert not (first.is_running and second.is_running)

    cut_off.is_cut = True
    await pass_time(clock, 15, at_most_one)
    assert second.is_running
    assert not first.leadership.is_leader
    cut_off.is_cut = False
    await pass_time(clock, 15, at_most_one)
    assert (second.is_running, first.leadership.status().holder) == (True, "second")
    await first.leadership.stop()
    await second.leadership.stop()


async def test_a_leader_that_was_paused_knows_at_once_that_it_leads_no_more() -> None:
    clock = FakeClock()
    instance = Instance("a", MemoryLeaderships(clock=clock), clock)
    await instance.leadership.start()
    await settle()
    assert instance.leadership.is_leader
    clock.advance(7.6)  # As for a process that was suspended: nothing has run meanwhile.
    assert not instance.leadership.is_leader
    await instance.leadership.stop()


async def test_a_leader_that_was_paused_ends_its_jobs_before_it_asks_again() -> None:
    clock = FakeClock()
    store = Slow(MemoryLeaderships(clock=clock), clock)
    instance = Instance("a", store, clock)
    await instance.leadership.start()
    await settle()
    assert instance.is_running
    store.holds = True  # It asks, and hears nothing for a while.
    clock.advance(7.6)
    await settle()
    assert not instance.is_running
    await instance.leadership.stop()


async def test_a_lease_is_trusted_from_before_it_was_asked_for() -> None:
    clock = FakeClock()
    store = Slow(MemoryLeaderships(clock=clock), clock)
    store.seconds = 0.9
    instance = Instance("a", store, clock)
    await instance.leadership.start()
    await settle()
    assert instance.leadership.is_leader
    clock.advance(7.5 - 0.9)
    assert not instance.leadership.is_leader, "the store counts the lease from when it was asked"
    await instance.leadership.stop()


class Slow:
    """A store whose answers take their time, or never come."""

    def __init__(self, store: MemoryLeaderships, clock: FakeClock) -> None:
        self._store = store
        self._clock = clock
        self.seconds = 0.0
        self.holds = False

    async def take(self, name, holder, *, seconds):
        if self.holds:
            await asyncio.Event().wait()
        standing = await self._store.take(name, holder, seconds=seconds)
        if self.seconds:
            self._clock.advance(self.seconds)
        return standing

    async def give_up(self, name, holder):
        await self._store.give_up(name, holder)


async def test_where_the_store_is_away_nobody_leads_and_later_somebody_does() -> None:
    clock = FakeClock()
    store = MemoryLeaderships(clock=clock)
    store.away = True
    instance = Instance("a", store, clock)
    await instance.leadership.start()
    await pass_time(clock, 5)
    assert (instance.starts, instance.leadership.status().holder) == (0, "")
    store.away = False
    await pass_time(clock, 2.5)
    assert instance.is_running
    store.away = True
    await pass_time(clock, 8)
    assert not instance.is_running
    await instance.leadership.stop()


class Cut:
    """A way to the store that can be cut."""

    def __init__(self, store: MemoryLeaderships) -> None:
        self._store = store
        self.is_cut = False

    async def take(self, name, holder, *, seconds):
        self._store.away = self.is_cut
        try:
            return await self._store.take(name, holder, seconds=seconds)
        finally:
            self._store.away = False

    async def give_up(self, name, holder):
        await self._store.give_up(name, holder)
