"""Leaderships in plain Python, for tests."""

from __future__ import annotations

import asyncio

from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.leadership import Standing


class MemoryLeaderships:
    """A `LeadershipStore`, forgotten at the end."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._standings: dict[str, tuple[Standing, float]] = {}
        self.away = False
        """While true, every call raises StoreUnavailable."""

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        await self._begin()
        now = self._clock.monotonic()
        standing, until = self._standings.get(name, (Standing(holder="", term=0), now))
        if until <= now:
            standing = Standing(holder=holder, term=standing.term + 1)
        if standing.holder == holder:
            self._standings[name] = (standing, now + seconds)
        return standing

    async def give_up(self, name: str, holder: str) -> None:
        await self._begin()
        held = self._standings.get(name)
        if held is not None and held[0].holder == holder:
            self._standings[name] = (held[0], self._clock.monotonic())

    async def _begin(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("The leaderships were told to be away.")
