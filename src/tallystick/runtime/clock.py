"""Time is given, never taken: logic asks a Clock, so that tests can hold it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the time is, and how to wait."""

    def now(self) -> datetime:
        """The wall clock, UTC. It may jump; nothing about order or correctness may rest on it."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
