"""Changes that read several objects before they write: done again when somebody else was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tallystick.errors import ChangedMeanwhile

_TRIES_MAX: Final = 5
ResultT = TypeVar("ResultT")


async def retried(attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Return what `attempt` returns. It reads anew each time; after some tries ChangedMeanwhile goes to the caller."""
    for _ in range(_TRIES_MAX - 1):
        try:
            return await attempt()
        except ChangedMeanwhile:
            continue
    return await attempt()
