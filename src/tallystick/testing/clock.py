"""A clock that moves only when a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeClock:
    """A `Clock`. `advance` moves both of its times and wakes the sleepers whose time has come, earliest first."""

    def __init__(self, now: datetime = _START, *, monotonic: float = 1000.0) -> None:
        self._now = now
        self._monotonic = monotonic
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by `seconds`. Zero and less only lets others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Sleepers run when the test awaits something next."""
        assert seconds >= 0, "use set_now to move the wall clock back"
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def set_now(self, now: datetime) -> None:
        """Let the wall clock jump, as clocks do; the monotonic time and the sleepers stay."""
        self._now = now

    @property
    def sleepers(self) -> int:
        """How many wait at the moment."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())
