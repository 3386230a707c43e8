"""Answers that pass through to callers of the same dialect, for dialects whose streams are read in deltas."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.errors import UpstreamGarbled
from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.reported import AnswerFacts
from tallystick.wire.sse_frames import Frame, SSEFrames
from tallystick.wire.stream_reader import ReadEvent
from tallystick.wire.stream_tally import StreamTally

END_BYTES_MAX = 64 * 1024
"""What comes from the last event on, beyond this, is discarded."""


class NativeReading:
    """The Reading of an answer that passes through."""

    content_types = None

    __slots__ = ("_read_facts", "_stream_events")

    def __init__(self, *, read_facts: Callable[[bytes], AnswerFacts], stream_events: Callable[[], ReadEvent]) -> None:
        """`read_facts` reads a plain answer; `stream_events` returns a reader of events for one stream."""
        self._read_facts = read_facts
        self._stream_events = stream_events

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        return PlainReading(self._read_facts(body), body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return NativeStream(self._stream_events())


class NativeStream(StreamTally):
    """The meter of a stream whose bytes pass through in whole events; the last event is held back. See StreamMeter.

    An event that can't be read passes too: the caller may understand it.
    """

    __slots__ = ("_end", "_frames", "_read_event")

    def __init__(self, read_event: ReadEvent) -> None:
        super().__init__()
        self._read_event = read_event
        self._frames = SSEFrames()
        self._end = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are complete now."""
        return self._pass(self._frames.feed(chunk))

    def finish(self) -> bytes:
        """Return the last event and what came behind it."""
        rest = self._pass(self._frames.finish())
        return rest + self._end

    def _pass(self, frames: list[Frame]) -> bytes:
        out = b""
        for frame in frames:
            if not self.saw_done and frame.data:
                self._note(frame)
            if not self.saw_done:
                out += frame.raw
            elif len(self._end) < END_BYTES_MAX:
                self._end += frame.raw
        return out

    def _note(self, frame: Frame) -> None:
        try:
            deltas = self._read_event(frame.name, frame.data)
        except UpstreamGarbled:
            return
        for delta in deltas:
            self.note(delta)

    @property
    def is_whole(self) -> bool:
        return self.saw_done

    @property
    def unscanned_events(self) -> int:
        return self._frames.oversized


def _nothing(_body: bytes) -> AnswerFacts:
    return AnswerFacts(None, "", "", None)


def _no_events() -> ReadEvent:
    return lambda _name, _data: ()


COUNTED = NativeReading(read_facts=_nothing, stream_events=_no_events)
"""Of an answer that nobody pays for, such as a count of tokens."""
