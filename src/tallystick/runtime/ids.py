"""Event ids: UUIDv7 (RFC 9562), so that the id tells the time and rows arrive in index order."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def new_event_id(now: datetime) -> str:
    """Return a UUIDv7 in canonical text whose first 48 bits are the milliseconds of `now`."""
    milliseconds = max(0, (now - _EPOCH) // _MILLISECOND)
    random = int.from_bytes(os.urandom(10), "big")
    high = (milliseconds << 16) | 0x7000 | (random >> 68)
    low = 0x8000000000000000 | (random & 0x3FFFFFFFFFFFFFFF)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def event_time(event_id: str) -> datetime:
    """Return the moment that a UUIDv7 carries, to the millisecond. Raises ValueError for anything else."""
    text = event_id.replace("-", "")
    if len(text) != 32 or text[12] != "7":
        raise ValueError(f"not a UUIDv7: {event_id[:64]!r}")
    return _EPOCH + int(text[:12], 16) * _MILLISECOND


def truncate_to_millisecond(moment: datetime) -> datetime:
    """Drop what a UUIDv7 can't carry."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
