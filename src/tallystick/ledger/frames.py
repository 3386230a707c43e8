"""Frames: the bytes of a journal segment.

A frame is length u32, CRC-32 u32, kind u8, sequence number u64 (little-endian), then `length` bytes of payload. The
checksum covers kind, number and payload, so that neither can be altered unseen. A segment is preallocated: a length of
zero is its end.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

HEADER_KIND = 0
INTENT_KIND = 1
EVENT_KIND = 2

PAYLOAD_BYTES_MAX = 4 * 1024 * 1024
_PREFIX = struct.Struct("<IIBQ")
_NUMBERED = struct.Struct("<BQ")
_CHECKED = struct.Struct("<II")
PREFIX_BYTES = _PREFIX.size


class Frame(NamedTuple):
    """One frame, and the offset behind it."""

    kind: int
    seq: int
    payload: bytes
    end: int


class Incomplete(NamedTuple):
    """The bytes end before the frame does; `needed` says how many it takes from its offset on."""

    needed: int


class Bad(NamedTuple):
    """What stands here is no frame."""

    reason: str


END = Incomplete(needed=0)
"""Zeroes, or nothing at all: the segment ends here."""


def encode_frame(kind: int, seq: int, payload: bytes) -> bytes:
    """Return the frame's bytes."""
    numbered = _NUMBERED.pack(kind, seq)
    checksum = zlib.crc32(payload, zlib.crc32(numbered))
    return _CHECKED.pack(len(payload), checksum) + numbered + payload


def read_frame(buffer: bytes, offset: int) -> Frame | Incomplete | Bad:
    """Read the frame at `offset`. Returns END where the segment ends."""
    if len(buffer) - offset < PREFIX_BYTES:
        return END if not any(buffer[offset:]) else Incomplete(needed=PREFIX_BYTES)
    length, checksum, kind, seq = _PREFIX.unpack_from(buffer, offset)
    if length == 0:
        return END if checksum == 0 and kind == 0 and seq == 0 else Bad("a frame without payload")
    if length > PAYLOAD_BYTES_MAX or kind > EVENT_KIND:
        return Bad("an impossible length or kind")
    start = offset + PREFIX_BYTES
    end = start + length
    if end > len(buffer):
        return Incomplete(needed=PREFIX_BYTES + length)
    if zlib.crc32(memoryview(buffer)[offset + _CHECKED.size : end]) != checksum:
        return Bad("a wrong checksum")
    return Frame(kind, seq, buffer[start:end], end)


def find_frame(buffer: bytes, offset: int) -> int | None:
    """Return the offset of the first whole frame at or after `offset`, None when there is none."""
    for candidate in range(offset, len(buffer) - PREFIX_BYTES + 1):
        if isinstance(read_frame(buffer, candidate), Frame):
            return candidate
    return None
