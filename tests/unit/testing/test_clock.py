"""The clock that moves only when it is told to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tallystick.testing import FakeClock


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock = FakeClock()
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("late", 10), ("early", 5), ("now", 0)):
            tasks.create_task(sleeper(name, seconds))
        await asyncio.sleep(0)
        assert clock.sleepers == 2
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert "early" not in woken
        clock.advance(20)
    assert woken == ["now", "early", "late"]
    assert clock.sleepers == 0


async def test_both_times_advance_and_the_wall_clock_may_jump() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC), monotonic=1)
    clock.advance(90)
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=90)
    assert clock.monotonic() == 91
    clock.set_now(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.monotonic() == 91


async def test_a_sleeper_that_gave_up_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.ensure_future(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    clock.advance(6)
    assert clock.sleepers == 0
