"""The binary framing of AWS' event streams: messages with checksums, cut out of bytes that come in any pieces.

    total length u32 | headers' length u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before it

Numbers are big-endian. A header is its name's length u8, its name, its type u8 and its value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from tallystick.errors import UpstreamGarbled

_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_FRAME_BYTES: Final = _PRELUDE.size + _CHECKSUM.size
_HEADERS_BYTES_MAX: Final = 128 * 1024
_MESSAGE_BYTES_MAX: Final = 24 * 1024 * 1024
"""What AWS allows, too."""
_TYPE_STRING: Final = 7
_TYPE_BYTES: Final = 6
_SIZES: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Of the other types: booleans, integers, a time, a UUID. Nothing is told by them."""


class StreamMessage(NamedTuple):
    """One message."""

    headers: Mapping[str, str]
    """Those that are text."""
    payload: bytes


class EventStream:
    """Cuts one stream into messages."""

    __slots__ = ("_held", "_needed")

    def __init__(self) -> None:
        self._held = bytearray()
        self._needed = _PRELUDE.size
        """Before so many bytes are there, nothing more can be said."""

    def feed(self, chunk: bytes) -> list[StreamMessage]:
        """Take the next bytes; return the messages that are complete. Raises UpstreamGarbled for a wrong checksum."""
        self._held += chunk
        if len(self._held) < self._needed:
            return []
        return list(self._messages())

    def _messages(self) -> Iterator[StreamMessage]:
        held = self._held
        while len(held) >= self._needed:
            total, headers_bytes, checksum = _PRELUDE.unpack_from(held)
            if checksum != zlib.crc32(held[: _PRELUDE.size - _CHECKSUM.size]):
                raise UpstreamGarbled("The upstream's event stream has a message whose lengths are damaged.")
            if headers_bytes > _HEADERS_BYTES_MAX or not _FRAME_BYTES + headers_bytes <= total <= _MESSAGE_BYTES_MAX:
                raise UpstreamGarbled(f"The upstream's event stream has a message of {total} bytes, which can't be.")
            if len(held) < total:
                self._needed = total
                return
            message = bytes(held[:total])
            del held[:total]
            self._needed = _PRELUDE.size
            yield _read(message, _PRELUDE.size + headers_bytes)


def _read(message: bytes, payload_start: int) -> StreamMessage:
    end = len(message) - _CHECKSUM.size
    if _CHECKSUM.unpack_from(message, end)[0] != zlib.crc32(message[:end]):
        raise UpstreamGarbled("The upstream's event stream has a message that is damaged.")
    try:
        headers = dict(_headers(message, _PRELUDE.size, payload_start))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise UpstreamGarbled("The upstream's event stream has a message whose headers can't be read.") from error
    return StreamMessage(headers, message[payload_start:end])


def _headers(message: bytes, place: int, end: int) -> Iterator[tuple[str, str]]:
    while place < end:
        name_end = place + 1 + message[place]
        name = message[place + 1 : name_end].decode()
        kind = message[name_end]
        place = name_end + 1
        if kind in (_TYPE_STRING, _TYPE_BYTES):
            start = place + _LENGTH.size
            place = start + _LENGTH.unpack_from(message, place)[0]
            if kind == _TYPE_STRING and place <= end:
                yield name, message[start:place].decode()
        else:
            place += _SIZES[kind]
    if place != end:
        raise IndexError(place)
