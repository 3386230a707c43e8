"""Services start in order, stop in reverse, and come back after a crash."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tallystick.errors import LedgerUnavailable
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.service import ServiceGroup, SupervisedLoop
from tallystick.runtime.telemetry import Metrics


@pytest.fixture(autouse=True)
def logs():
    with capture_logs() as lines:
        yield lines


class Recorder:
    def __init__(self, name, journal, *, fail_start=False, fail_stop=False):
        self.name = name
        self.journal = journal
        self.fail_start = fail_start
        self.fail_stop = fail_stop

    async def start(self):
        if self.fail_start:
            raise OSError("no room")
        self.journal.append(f"+{self.name}")

    async def stop(self):
        self.journal.append(f"-{self.name}")
        if self.fail_stop:
            raise OSError("stuck")


async def test_start_in_order_and_stop_in_reverse():
    journal = []
    group = ServiceGroup([Recorder(name, journal) for name in "abc"])
    assert [health.state for health in group.health()] == ["stopped"] * 3
    await group.start()
    assert all(health.healthy for health in group.health())
    await group.stop()
    await group.stop()
    assert journal == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_failed_start_stops_what_was_started():
    journal = []
    group = ServiceGroup([Recorder("a", journal), Recorder("b", journal, fail_start=True), Recorder("c", journal)])
    with pytest.raises(OSError, match="no room"):
        await group.start()
    assert journal == ["+a", "-a"]


async def test_a_start_that_fails_for_a_said_reason_shows_no_traceback(logs):
    class Refused(Recorder):
        async def start(self):
            raise LedgerUnavailable("the journal directory /j can't be used: Read-only file system")

    with pytest.raises(LedgerUnavailable):
        await ServiceGroup([Refused("ledger", [])]).start()
    with pytest.raises(OSError, match="no room"):
        await ServiceGroup([Recorder("b", [], fail_start=True)]).start()

    said, unexpected = logs
    assert (said["event"], said["service"], said["log_level"]) == ("service_start_failed", "ledger", "error")
    assert "Read-only file system" in said["reason"]
    assert "exc_info" not in said
    assert unexpected["exc_info"] is True


async def test_an_error_while_stopping_does_not_keep_the_others():
    journal = []
    group = ServiceGroup([Recorder("a", journal), Recorder("b", journal, fail_stop=True)])
    await group.start()
    await group.stop()
    assert journal == ["+a", "+b", "-b", "-a"]


class WaitClock:
    """Records the waits and lets each pass at once; `seconds` is moved by the test."""

    def __init__(self):
        self.seconds = 0.0
        self.waits = []

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await asyncio.sleep(0)


def loop_of(run, clock, metrics):
    return SupervisedLoop("committer", run, clock=clock, metrics=metrics, jitter=lambda _low, high: high)


async def test_a_crashed_loop_is_started_again_with_growing_bounded_waits():
    clock, metrics = WaitClock(), Metrics()
    runs = 0
    done = asyncio.Event()

    async def run():
        nonlocal runs
        runs += 1
        if runs > 9:
            done.set()
            await asyncio.Event().wait()
        if runs == 9:
            clock.seconds += 100
        raise ValueError("sk-abcdefgh12345678 broke")

    loop = loop_of(run, clock, metrics)
    await loop.start()
    await done.wait()
    health = loop.health()
    assert (health.state, health.restarts) == ("running", 9)
    assert health.last_error == "ValueError: sk-*** broke"
    assert clock.waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 0.1]
    assert b'tallystick_service_restarts_total{service="committer"} 9.0' in metrics.render()
    await loop.stop()
    assert loop.health().state == "stopped"


async def test_health_says_that_a_loop_waits_for_its_restart():
    clock = WaitClock()
    waiting = asyncio.Event()

    async def sleep(_seconds):
        waiting.set()
        await asyncio.Event().wait()

    clock.sleep = sleep

    async def run():
        raise ValueError("broken")

    loop = loop_of(run, clock, Metrics())
    group = ServiceGroup([loop])
    await group.start()
    await waiting.wait()
    (health,) = group.health()
    assert health.state == "restarting"
    assert not health.healthy
    await group.stop()


async def test_stop_waits_until_the_loop_has_cleaned_up():
    cleaned = []

    async def run():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    loop = loop_of(run, WaitClock(), Metrics())
    await loop.start()
    await asyncio.sleep(0)
    await loop.stop()
    await loop.stop()
    assert cleaned == [True]


async def test_a_loop_that_returns_has_finished():
    async def run():
        await asyncio.sleep(0)

    loop = loop_of(run, WaitClock(), Metrics())
    await loop.start()
    await loop.join()
    assert loop.health().state == "finished"
    assert loop.health().healthy
    await loop.stop()


async def test_a_loop_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    loop = SupervisedLoop("stubborn", stubborn, clock=SystemClock(), metrics=Metrics())
    await loop.start()
    await asyncio.sleep(0)
    await loop.stop()

    assert swallowed.is_set()
    assert loop.health().state == "stopped"
