"""The cursor of a sink in one slot: a small file beside the segments, replaced as a whole.

It is not synced. What a power loss takes of it is sent again, and no segment goes before its events were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

log = structlog.get_logger()

_PREFIX: Final = "sink-"
_EVERYTHING: Final = 1 << 63


class MissedRange(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that were removed before they had been sent, and are not counted yet."""

    producer_id: str
    first_seq: int
    last_seq: int


class SinkCursor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far a sink has come in a slot. Everything up to `seq` of `producer_id`, and of those before it, is done."""

    producer_id: str = ""
    seq: int = 0
    sending: int = 0
    """The last number of what is being sent: after a crash the same is sent again, not less and not more."""
    missed: list[MissedRange] = []
    sent: int = 0
    refused: int = 0
    skipped: int = 0
    error: str = ""
    """Why what is next was not taken at the last try."""
    failing_since: datetime | None = None


def read_cursor(slot: Path, sink: str) -> SinkCursor:
    """Return the cursor; a new one, with which all begins at the oldest event that is left, where there is none."""
    try:
        return msgspec.json.decode(cursor_path(slot, sink).read_bytes(), type=SinkCursor)
    except FileNotFoundError:
        return SinkCursor()
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("sink_cursor_unreadable", sink=sink, slot=slot.name, reason=type(error).__name__)
        return SinkCursor()


def write_cursor(slot: Path, sink: str, cursor: SinkCursor) -> None:
    """Replace the cursor. Where the disk refuses that, the old one stays: what it does not know is sent again."""
    path = cursor_path(slot, sink)
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(msgspec.json.encode(cursor))
        temporary.replace(path)
    except OSError as error:
        log.warning("sink_cursor_not_written", sink=sink, slot=slot.name, reason=error.strerror or str(error))


def passed_seq(cursor: SinkCursor, producers: Sequence[str], producer_id: str) -> int:
    """Return up to which number of a producer everything is done; `producers` are a slot's, in order."""
    if producer_id == cursor.producer_id:
        return cursor.seq
    if cursor.producer_id in producers[producers.index(producer_id) :]:
        return _EVERYTHING
    return 0


def cursor_path(slot: Path, sink: str) -> Path:
    return slot / f"{_PREFIX}{sink}.json"
