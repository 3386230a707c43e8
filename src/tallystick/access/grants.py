"""How much of a budget an instance may lease: the arithmetic that all stores share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tallystick.access.budget_store import LeaseRequest

WANTED_SECONDS: Final = 5.0
"""How long a window stays marked as wanted: long enough for every holder to ask."""


_NOTICE_SHARE: Final = 0.1
_NOTICE_SECONDS_MAX: Final = 5.0


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a window holds when it is locked."""

    spent_nano_usd: int
    carried_nano_usd: int
    leased_nano_usd: int
    is_wanted: bool

    def left_of(self, limit_nano_usd: int) -> int:
        """Return what can be leased; negative when the limit is passed."""
        return limit_nano_usd - self.spent_nano_usd - self.carried_nano_usd - self.leased_nano_usd


def notice_seconds(lease_seconds: float) -> float:
    """Return how long a lease lasts once more that is found past its time, before others are given it."""
    return min(lease_seconds * _NOTICE_SHARE, _NOTICE_SECONDS_MAX)


def carried_of(request: LeaseRequest, spent_nano_usd: int) -> int:
    """Return what goes into a new window of what was spent in the one before, and carried into that."""
    limit = request.previous_limit_nano_usd
    return max(0, spent_nano_usd - (request.limit_nano_usd if limit is None else limit))


def grants_of(requests: Sequence[LeaseRequest], rooms: Sequence[Room], *, share: int) -> list[int] | None:
    """Return what each request gets, None when one of them can't have what it needs.

    No grant exceeds the room: spent + carried + leased + grant ≤ limit. Only a need of 0 is met where nothing is left.
    """
    assert share >= 1
    grants = []
    for request, room in zip(requests, rooms, strict=True):
        left = room.left_of(request.limit_nano_usd)
        if request.need_nano_usd > max(left, 0):
            return None
        spare = 0 if room.is_wanted else min(request.want_nano_usd, left // share)
        grants.append(max(request.need_nano_usd, spare, 0))
    return grants


def short_of(requests: Sequence[LeaseRequest], rooms: Sequence[Room]) -> list[int]:
    """Return the positions of the requests that can't have what they need."""
    return [
        position
        for position, (request, room) in enumerate(zip(requests, rooms, strict=True))
        if request.need_nano_usd > max(room.left_of(request.limit_nano_usd), 0)
    ]
