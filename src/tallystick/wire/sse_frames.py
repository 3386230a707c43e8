"""Server-sent events: bytes in any pieces in, whole events out. For dialects other than OpenAI's own hot path."""

from __future__ import annotations

import re
from typing import NamedTuple

_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"
EVENT_BYTES_MAX = 8 * 1024 * 1024
"""A longer event is not kept: see `SSEFrames.oversized`."""


class Frame(NamedTuple):
    """One event."""

    raw: bytes
    """As it came, its blank line included."""
    name: bytes
    data: bytes
    """The `data` lines, joined. b'' for a comment, and for an event that was too long to be read."""


class SSEFrames:
    """Splits one stream into events. Never holds more than EVENT_BYTES_MAX and one piece."""

    __slots__ = ("_held", "_is_oversized", "oversized")

    def __init__(self) -> None:
        self.oversized = 0
        """How many events were too long; their bytes came as frames without data."""
        self._held = b""
        self._is_oversized = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes and return the events that are complete now."""
        buffer = self._held + chunk if self._held else chunk
        searched = max(0, len(self._held) - 3)
        start = 0
        frames = []
        has_carriage_return = b"\r" in buffer
        while True:
            end = _after_blank_line(buffer, searched) if has_carriage_return else buffer.find(b"\n\n", searched) + 2
            if end <= 1:
                break
            raw = buffer[start:end]
            frames.append(Frame(raw, b"", b"") if self._is_oversized else _frame(raw))
            self._is_oversized = False
            start = searched = end
        self._held = buffer[start:]
        if len(self._held) > EVENT_BYTES_MAX or self._is_oversized:
            frames.append(self._give_up())
        return frames

    def finish(self) -> list[Frame]:
        """The bytes are over; the last event may lack its blank line."""
        held, self._held = self._held, b""
        if not held:
            return []
        return [Frame(held, b"", b"") if self._is_oversized else _frame(held)]

    def _give_up(self) -> Frame:
        """Let the beginning of a long event go, but for its last bytes, which may be half of a blank line."""
        self.oversized += not self._is_oversized
        self._is_oversized = True
        held, self._held = self._held[:-3], self._held[-3:]
        return Frame(held, b"", b"")


def _after_blank_line(buffer: bytes, start: int) -> int:
    """Return the index after the next blank line; 0 when there is none, or when its last line end may go on."""
    found = _BLANK_LINE.search(buffer, start)
    if found is None:
        return 0
    end = found.end()
    # A carriage return at the very end may be half of a line end. What follows decides.
    return 0 if end == len(buffer) and buffer[end - 1] == 0x0D else end


def _frame(raw: bytes) -> Frame:
    if raw.startswith(b"event: ") and b"\r" not in raw:  # The usual form: a line of name, a line of data.
        name, _, rest = raw[len(b"event: ") :].partition(b"\n")
        if rest.startswith(b"data: ") and rest.find(b"\n") == len(rest) - 2:
            return Frame(raw, name, rest[len(b"data: ") :].strip())
    name = b""
    lines = []
    for line in raw.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    return Frame(raw, name, b"\n".join(lines).strip())
