"""The brain of the metered stream: passes an upstream's server-sent events on and reads what the ledger needs.

Bytes leave exactly as they came. Three things are held back: an event that is not complete yet (a client could do
nothing with it), the usage chunk that the client did not ask for, and the end, from `[DONE]` on, so that it can
leave after the ledger has the event.
"""

from __future__ import annotations

import re

import msgspec

from tallystick.wire.openai.chunk import StreamChunk, characters_of, read_chunk
from tallystick.wire.openai.usage import normalize_usage, read_error, reported_cost_nano_usd
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

HELD_BYTES_MAX = 64 * 1024
"""A longer event is no usage chunk and no end: it passes through as it comes."""
SCANNED_BYTES_MAX = 8 * 1024 * 1024
"""A longer event passes unread and is counted."""

_PASS, _HIDE, _END = 0, 1, 2
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"


class StreamScanner:
    """Reads one stream. Feed it every chunk in order and send on what it returns; `finish` gives the end."""

    __slots__ = (
        "_edge",
        "_end",
        "_held",
        "_hide_usage",
        "_long",
        "discarded_bytes",
        "error",
        "garbled_events",
        "model",
        "output_characters",
        "reported_cost_nano_usd",
        "response_id",
        "saw_done",
        "unscanned_events",
        "usage",
    )

    def __init__(self, *, hide_usage: bool) -> None:
        self.usage: Usage | None = None
        """The last usage that any chunk reported."""
        self.reported_cost_nano_usd: int | None = None
        self.response_id = ""
        self.model = ""
        self.error: ReportedError | None = None
        self.output_characters = 0
        """Length of what was generated, reasoning and tool calls included; for an estimate where usage is missing."""
        self.saw_done = False
        self.unscanned_events = 0
        self.garbled_events = 0
        """Events whose data is neither JSON nor `[DONE]`."""
        self.discarded_bytes = 0
        """What came after the end and beyond its limit."""
        self._hide_usage = hide_usage
        self._held = b""
        """The beginning of an event, not passed on yet."""
        self._long: bytearray | None = None
        """The part already passed on of an event that is too long to hold."""
        self._edge = False
        """The long event is too long to read, and only its last bytes are kept."""
        self._end: bytearray | None = None
        """`[DONE]` and what follows."""

    @property
    def begun_usage(self) -> Usage | None:
        """Nothing is told before the end."""
        return None

    @property
    def first_content(self) -> bool:
        """Whether anything generated has come yet."""
        return self.output_characters > 0

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes from the upstream and return those that may go to the client now."""
        if (
            not self._held
            and chunk.find(b"\n") == len(chunk) - 2  # The usual chunk: one whole event of one line.
            and chunk.startswith(b"data: {")
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
            and self._long is None
            and self._end is None
        ):
            return b"" if self._read(chunk[6:], size=len(chunk)) else chunk
        return self._feed_any(chunk)

    def _feed_any(self, chunk: bytes) -> bytes:
        if self._end is not None:
            self._keep_end(chunk)
            return b""
        passed = 0
        if self._long is not None:
            passed = self._feed_long(chunk)
            if passed < 0:
                return chunk
        buffer = self._held + chunk if self._held else chunk
        searched = len(self._held) - 3 if len(self._held) > 3 else passed
        self._held = b""
        return self._feed_events(buffer, searched=searched, event_start=passed)

    @property
    def is_whole(self) -> bool:
        """Whether the stream said that it is over."""
        return self.saw_done

    def finish(self) -> bytes:
        """Return the end of the stream, which `feed` held back. The last event may lack its blank line."""
        if self._end is not None:
            return bytes(self._end)
        if self._long is not None:
            self._end_long()
            return b""
        held, self._held = self._held, b""
        if not held or self._scan(held) == _HIDE:
            return b""
        return held

    def _feed_events(self, buffer: bytes, *, searched: int, event_start: int) -> bytes:
        out = b""
        sent = 0
        has_carriage_return = b"\r" in buffer
        while True:
            event_end = (
                _after_blank_line(buffer, searched) if has_carriage_return else buffer.find(b"\n\n", searched) + 2
            )
            if event_end <= 1:
                break
            verdict = self._scan(buffer[event_start:event_end])
            if verdict == _HIDE:
                out += buffer[sent:event_start]
                sent = event_end
            elif verdict == _END:
                self._end = bytearray()
                self._keep_end(buffer[event_start:])
                return out + buffer[sent:event_start]
            event_start = searched = event_end
        rest = len(buffer) - event_start
        if rest > HELD_BYTES_MAX:
            self._begin_long(buffer[event_start:])
            event_start = len(buffer)
        elif rest:
            self._held = buffer[event_start:]
        if sent == 0 and event_start == len(buffer):
            return buffer
        return out + buffer[sent:event_start]

    def _scan(self, event: bytes) -> int:
        """Read one event and say whether it may pass."""
        if event.startswith(b"data: {") and event.find(b"\n") == len(event) - 2:
            data = event[6:]  # The usual form; JSON may end with white space.
        else:
            name, data = _fields_of(event)
            if data == b"[DONE]" and len(event) <= HELD_BYTES_MAX:
                self.saw_done = True
                return _END
            if not data:
                return _PASS
            if name == b"error":
                self.error = read_error(data)  # Unless the data has an error object of its own, read below.
        return self._read(data, size=len(event))

    def _read(self, data: bytes, *, size: int) -> int:
        """Read the JSON of an event of this size."""
        if size > SCANNED_BYTES_MAX:
            self.unscanned_events += 1
            return _PASS
        try:
            chunk = read_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.garbled_events += 1
            return _PASS
        if chunk.id and not self.response_id:
            self.response_id = chunk.id
        if chunk.model and not self.model:
            self.model = chunk.model
        if chunk.choices:
            for choice in chunk.choices:
                self.output_characters += characters_of(choice)
        if chunk.error:
            self.error = read_error(bytes(chunk.error)) or self.error
        if chunk.usage is None and chunk.x_groq is None:
            return _PASS
        self._read_usage(chunk)
        only_usage = chunk.usage is not None and chunk.choices is not None and not chunk.choices and not chunk.error
        return _HIDE if only_usage and self._hide_usage and size <= HELD_BYTES_MAX else _PASS

    def _read_usage(self, chunk: StreamChunk) -> None:
        reported = chunk.usage
        if reported is None:
            if chunk.x_groq is None or chunk.x_groq.usage is None:
                return
            reported = chunk.x_groq.usage
        usage = normalize_usage(reported)
        if usage is not None:
            self.usage = usage
        cost = reported_cost_nano_usd(reported)
        if cost is not None:
            self.reported_cost_nano_usd = cost

    def _keep_end(self, chunk: bytes) -> None:
        assert self._end is not None
        room = HELD_BYTES_MAX - len(self._end)
        self._end += chunk[:room]
        self.discarded_bytes += max(0, len(chunk) - room)

    def _begin_long(self, part: bytes) -> None:
        self._long = bytearray(part)
        self._edge = False
        self._shorten_long()

    def _feed_long(self, chunk: bytes) -> int:
        """Return where the long event ends in this chunk; -1 when it goes on, and all of the chunk may pass."""
        event = self._long
        assert event is not None
        before = len(event)
        event += chunk
        event_end = _after_blank_line(event, max(0, before - 3))
        if event_end <= 0:
            self._shorten_long()
            return -1
        del event[event_end:]
        self._shorten_long()
        self._end_long()
        return event_end - before

    def _shorten_long(self) -> None:
        assert self._long is not None
        if self._edge or len(self._long) > SCANNED_BYTES_MAX:
            self._edge = True
            del self._long[:-3]

    def _end_long(self) -> None:
        assert self._long is not None
        if self._edge:
            self.unscanned_events += 1
        else:
            self._scan(bytes(self._long))
        self._long = None


def _after_blank_line(buffer: bytes | bytearray, start: int) -> int:
    """Return the index after the next blank line; 0 when there is none, or when its last line end may go on."""
    found = _BLANK_LINE.search(buffer, start)
    if found is None:
        return 0
    end = found.end()
    # A carriage return at the very end may be half of a line end. What follows decides.
    return 0 if end == len(buffer) and buffer[end - 1] == 0x0D else end


def _fields_of(event: bytes) -> tuple[bytes, bytes]:
    """Return the name of an event and its data: the `data` lines, joined."""
    name = b""
    lines = []
    for line in event.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    return name, b"\n".join(lines).strip()
