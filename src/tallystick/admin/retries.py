"""Trying again what somebody else's change at the same moment has undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tallystick.errors import ChangedMeanwhile

_TRIES_MAX: Final = 5
_T = TypeVar("_T")


async def until_unchanged(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `attempt` returns: it reads, decides and writes what it read, and is made again from the start when
    that was changed meanwhile. Raises ChangedMeanwhile, a 409, after five times.
    """
    for _ in range(_TRIES_MAX - 1):
        try:
            return await attempt()
        except ChangedMeanwhile:
            continue
    return await attempt()
