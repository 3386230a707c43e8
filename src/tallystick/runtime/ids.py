"""Event ids: UUIDv7 (RFC 9562), so that the id tells the time and rows arrive in index order."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_VARIANTS = {digit: f"{8 | int(digit, 16) & 3:x}" for digit in "0123456789abcdef"}
"""RFC 9562's variant in place of the two upper bits of a random hexadecimal digit."""


def new_event_id(now: datetime) -> str:
    """Return a UUIDv7 in canonical text whose first 48 bits are the milliseconds of `now`."""
    milliseconds = max(0, (now - _EPOCH) // _MILLISECOND)
    time, chance = f"{milliseconds:012x}", os.urandom(10).hex()
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{_VARIANTS[chance[3]]}{chance[4:7]}-{chance[7:19]}"


def event_time(event_id: str) -> datetime:
    """Return the moment that a UUIDv7 carries, to the millisecond. Raises ValueError for anything else."""
    text = event_id.replace("-", "")
    if len(text) != 32 or text[12] != "7":
        raise ValueError(f"not a UUIDv7: {event_id[:64]!r}")
    return _EPOCH + int(text[:12], 16) * _MILLISECOND


def truncate_to_millisecond(moment: datetime) -> datetime:
    """Drop what a UUIDv7 can't carry."""
    return moment - timedelta(microseconds=moment.microsecond % 1000)  # A third of what `replace` costs.
