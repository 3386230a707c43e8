"""How far sinks have come, read from the files of the journal: no process is asked, and nothing is changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from tallystick.errors import JournalDamaged
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal_reader import JournalReader
from tallystick.ledger.segments import Segment, last_seq_in, read_segment_header
from tallystick.ledger.sinks.cursor import SinkCursor, passed_seq, read_cursor
from tallystick.ledger.slots import SEGMENT_SUFFIX, Slot, slot_directories

_TRIES: Final = 5
_decode = msgspec.msgpack.Decoder(SpendEvent).decode


class SinkStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A sink over all journals of a machine. The counts are since the journals were made."""

    name: str
    lag_events: int = 0
    oldest: datetime | None = None
    """When the oldest call ended that waits."""
    sent: int = 0
    refused: int = 0
    skipped: int = 0
    error: str = ""
    failing_since: datetime | None = None
    slots: int = 0
    """How many journals have something for it."""


class _LookedAtSlot(Slot):
    """A slot that is not ours: it is not locked, and nothing is written into it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, -1)

    def set_aside(self, segment: Path) -> Path:
        return segment


class _LookedAtLog:
    """A `SegmentedLog` of what is there now. Raises OSError when a segment goes in this moment."""

    def __init__(self, directory: Path) -> None:
        self.slot: Slot = _LookedAtSlot(directory)
        self.segments: deque[Segment] = deque()
        for path in sorted(directory.glob(f"*{SEGMENT_SUFFIX}")):
            try:
                header = read_segment_header(path)
            except JournalDamaged:
                continue
            self.segments.append(
                Segment(
                    ordinal=int(path.stem),
                    path=path,
                    producer_id=header.producer_id,
                    first_seq=header.first_seq,
                    size=path.stat().st_size,
                )
            )


def look_at_sinks(root: Path, names: Sequence[str]) -> list[SinkStanding]:
    """Return how the sinks are, over all slots below a directory."""
    return [_standing(root, name) for name in names]


def _standing(root: Path, name: str) -> SinkStanding:
    whole = SinkStanding(name=name)
    for directory in sorted(slot_directories(root)) if root.is_dir() else ():
        whole = _add(whole, _in_slot(directory, name))
    return whole


def _add(one: SinkStanding, other: SinkStanding) -> SinkStanding:
    return SinkStanding(
        name=one.name,
        lag_events=one.lag_events + other.lag_events,
        oldest=min((each for each in (one.oldest, other.oldest) if each is not None), default=None),
        sent=one.sent + other.sent,
        refused=one.refused + other.refused,
        skipped=one.skipped + other.skipped,
        error=one.error or other.error,
        failing_since=min(
            (each for each in (one.failing_since, other.failing_since) if each is not None), default=None
        ),
        slots=one.slots + other.slots,
    )


def _in_slot(directory: Path, name: str) -> SinkStanding:
    """Look at one slot; once more when a segment was removed meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return _in_slot_now(directory, name)
        except OSError:
            continue
    return _in_slot_now(directory, name)


def _in_slot_now(directory: Path, name: str) -> SinkStanding:
    cursor = read_cursor(directory, name)
    log = _LookedAtLog(directory)
    lag = _lag(log.segments, cursor)
    return SinkStanding(
        name=name,
        lag_events=lag,
        oldest=_oldest(log, cursor) if lag else None,
        sent=cursor.sent,
        refused=cursor.refused,
        skipped=cursor.skipped,
        error=cursor.error if lag else "",
        failing_since=cursor.failing_since if lag else None,
        slots=1 if lag else 0,
    )


def _lag(segments: Sequence[Segment], cursor: SinkCursor) -> int:
    producers = [segment.producer_id for segment in segments]
    lag = 0
    for index, segment in enumerate(segments):
        following = segments[index + 1] if index + 1 < len(segments) else None
        if following is not None and following.producer_id == segment.producer_id:
            last_seq = following.first_seq - 1
        else:
            last_seq = last_seq_in(segment)
        first_seq = max(segment.first_seq, passed_seq(cursor, producers, segment.producer_id) + 1)
        lag += max(0, last_seq - first_seq + 1)
    return lag


def _oldest(log: _LookedAtLog, cursor: SinkCursor) -> datetime | None:
    """Return when the oldest call ended that waits; None where that can't be read."""
    reader = JournalReader(log)
    producers = [segment.producer_id for segment in log.segments]
    try:
        while (producer_id := reader.producer_id) is not None:
            run = reader.next_run(1, above=passed_seq(cursor, producers, producer_id))
            if run is not None:
                return None if run.payloads[-1] is None else _decode(run.payloads[-1]).ended_at
            if not reader.advance_producer():
                return None
    except msgspec.MsgspecError:
        return None
    finally:
        reader.close()
    return None
