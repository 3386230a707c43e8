"""Segments: the files of a journal, and what a slot's files say when they are opened again."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from tallystick.errors import JournalDamaged
from tallystick.ledger.frames import (
    EVENT_KIND,
    HEADER_KIND,
    INTENT_KIND,
    Frame,
    encode_frame,
    find_frame,
    read_frame,
)
from tallystick.ledger.slots import Slot

TEMPORARY_SUFFIX = ".new"


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of a segment: who numbers its events, and the number of the first."""

    producer_id: str
    first_seq: int
    format: int = 1


class EventKey(msgspec.Struct, frozen=True):
    """As much of an event's payload as it takes to match it with its intent."""

    event_id: str


@dataclass(slots=True, kw_only=True)
class Segment:
    """One file. `size` is how far it may be read: it grows while the segment is written."""

    ordinal: int
    path: Path
    producer_id: str
    first_seq: int
    size: int


class Recovered(NamedTuple):
    """What a slot's files say: its segments, the calls that were running, and where the numbers stopped."""

    segments: list[Segment]
    open_intents: dict[str, bytes]
    producer_id: str | None
    last_seq: int
    torn_bytes: int


_decode_header = msgspec.msgpack.Decoder(SegmentHeader).decode
_decode_key = msgspec.msgpack.Decoder(EventKey).decode
_encode_header = msgspec.msgpack.Encoder().encode


def create_segment(slot: Slot, *, ordinal: int, header: SegmentHeader, intents: bytes, size: int) -> tuple[int, int]:
    """Make a preallocated segment that starts with `header` and `intents`; return (file descriptor, offset).

    It gets its name when both are in it: a process that dies here leaves the previous segment as the last one. Raises
    OSError, above all when the disk is full, and then leaves nothing behind.
    """
    temporary = slot.directory / f"{ordinal:016d}{TEMPORARY_SUFFIX}"
    content = encode_frame(HEADER_KIND, 0, _encode_header(header)) + intents
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, max(size, len(content)))
        _write_whole(fd, content)
        temporary.rename(slot.segment_path(ordinal))
    except OSError:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return fd, len(content)


def _write_whole(fd: int, content: bytes) -> None:
    written = os.pwrite(fd, content, 0)
    if written != len(content):
        raise OSError(f"only {written} of {len(content)} bytes could be written")


def read_segment_header(path: Path) -> SegmentHeader:
    """Return a segment's header. Raises JournalDamaged when it has none."""
    with path.open("rb") as file:
        frame = read_frame(file.read(4096), 0)
    if not isinstance(frame, Frame) or frame.kind != HEADER_KIND:
        raise JournalDamaged(f"{path} does not start with a segment header")
    try:
        return _decode_header(frame.payload)
    except msgspec.MsgspecError as error:
        raise JournalDamaged(f"{path}: its header can't be read: {error}") from error


def recover(slot: Slot) -> Recovered:
    """Read what a slot's files say, and cut a torn tail off the last one.

    Only the last segment is scanned: a segment starts with all intents that were open when it was begun. A segment
    without a header can't be read at all: a copy is set aside, it is removed, and the numbers that are missing come out
    as dead letters when the next one is read.
    """
    for leftover in slot.directory.glob(f"*{TEMPORARY_SUFFIX}"):
        leftover.unlink()
    segments = []
    for path in slot.segments():
        try:
            header = read_segment_header(path)
        except JournalDamaged:
            slot.set_aside(path)
            path.unlink()
            continue
        segments.append(
            Segment(
                ordinal=int(path.stem),
                path=path,
                producer_id=header.producer_id,
                first_seq=header.first_seq,
                size=path.stat().st_size,
            )
        )
    if not segments:
        return Recovered([], {}, None, 0, 0)
    last = segments[-1]
    intents, last_seq, end, torn_bytes = _scan(last)
    # What was set aside and not used goes too: else each death of a process would cost the journal a whole segment.
    os.truncate(last.path, end)
    last.size = end
    return Recovered(segments, intents, last.producer_id, last_seq, torn_bytes)


def last_seq_in(segment: Segment) -> int:
    """Return the highest number in a segment that is no longer written. Reads all of it."""
    return _scan(segment)[1]


def _scan(segment: Segment) -> tuple[dict[str, bytes], int, int, int]:
    """Return the open intents, the last number, the end of the last good frame, and the bytes cut behind it."""
    buffer = segment.path.read_bytes()
    intents: dict[str, bytes] = {}
    last_seq = segment.first_seq - 1
    offset = 0
    while True:
        frame = read_frame(buffer, offset)
        if isinstance(frame, Frame):
            if frame.kind == INTENT_KIND:
                intents[event_id_in(frame.payload)] = frame.payload
            elif frame.kind == EVENT_KIND:
                intents.pop(event_id_in(frame.payload), None)
                last_seq = frame.seq
            offset = frame.end
            continue
        torn_bytes = len(buffer[offset:].rstrip(b"\0"))
        following = find_frame(buffer, offset + 1) if torn_bytes else None
        if following is None:
            return intents, last_seq, offset, torn_bytes
        offset = following  # Damage in the middle: the reader reports it when it gets there.


def event_id_in(payload: bytes) -> str:
    """Return the id in a payload; for one that can't be read, which another version may have written, a name for it."""
    try:
        return _decode_key(payload).event_id
    except msgspec.MsgspecError:
        return f"unreadable-{zlib.crc32(payload):08x}"
