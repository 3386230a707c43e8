"""Answers of Gemini that pass through to callers who speak it: as events, or as one JSON array that grows."""

from __future__ import annotations

from tallystick.errors import UpstreamGarbled
from tallystick.wire.dialect import ContentTypes, PlainReading, StreamMeter
from tallystick.wire.gemini.answer import read_facts
from tallystick.wire.gemini.events import GeminiEvents
from tallystick.wire.gemini.request import ARRAY_CONTENT_TYPE
from tallystick.wire.sse_frames import Frame, SSEFrames
from tallystick.wire.stream_tally import StreamTally

_ARRAY = ContentTypes(plain=ARRAY_CONTENT_TYPE, stream=ARRAY_CONTENT_TYPE)


class GeminiReading:
    """The Reading of an answer that passes through."""

    __slots__ = ("_as_array",)

    def __init__(self, *, as_array: bool) -> None:
        """`as_array`: the caller wants a stream as one JSON array, not as events."""
        self._as_array = as_array

    @property
    def content_types(self) -> ContentTypes | None:
        """See Reading."""
        return _ARRAY if self._as_array else None

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        return PlainReading(read_facts(body), body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return GeminiStream(as_array=self._as_array)


class ArrayOfAnswers:
    """Writes a JSON array, element by element."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    @property
    def is_empty(self) -> bool:
        """Whether no element has begun."""
        return not self._begun

    def begin_element(self) -> bytes:
        """Return what stands before the next element."""
        begun, self._begun = self._begun, True
        return b",\r\n" if begun else b"["

    def end(self) -> bytes:
        """Return the end of the array."""
        return b"\r\n]" if self._begun else b"[]"


class GeminiStream(StreamTally):
    """The meter of a stream whose events pass through; the last one is held back. See StreamMeter.

    An event that can't be read passes too: the caller may understand it.
    """

    __slots__ = ("_array", "_events", "_frames", "_held", "_in_long_event")

    def __init__(self, *, as_array: bool) -> None:
        super().__init__()
        self._events = GeminiEvents()
        self._frames = SSEFrames()
        self._array = ArrayOfAnswers() if as_array else None
        self._in_long_event = False
        self._held = b""
        """The last event since the model stopped: no event says that it is the last, only the end of the bytes does."""

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are complete now."""
        return b"".join(map(self._pass, self._frames.feed(chunk)))

    def finish(self) -> bytes:
        """Return the last event, and the end of the array."""
        rest = b"".join(map(self._pass, self._frames.finish())) + self._held
        return rest if self._array is None else rest + self._array.end()

    def _pass(self, frame: Frame) -> bytes:
        if frame.data and not self.saw_done:
            self._note(frame)
        written = frame.raw if self._array is None else self._element(frame, self._array)
        if not self.has_stopped and not self.saw_done:
            return written
        free, self._held = self._held, written
        return free

    def _note(self, frame: Frame) -> None:
        try:
            deltas = self._events.read(frame.name, frame.data)
        except UpstreamGarbled:
            return
        for delta in deltas:
            self.note(delta)

    def _element(self, frame: Frame, array: ArrayOfAnswers) -> bytes:
        """Return an event as an element; one that is too long to be read comes in pieces."""
        if frame.data:
            return array.begin_element() + frame.data
        begins = not self._in_long_event and frame.raw.startswith(b"data:")
        piece = frame.raw.removeprefix(b"data:") if begins else frame.raw
        if not begins and not self._in_long_event:
            return b""
        self._in_long_event = not frame.raw.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))
        return (array.begin_element() if begins else b"") + piece

    @property
    def unscanned_events(self) -> int:
        return self._frames.oversized
