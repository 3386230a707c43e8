"""A StreamReader for dialects whose streams are server-sent events; each brings its reader of single events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick.wire.reply import Delta
from tallystick.wire.sse_frames import SSEFrames

ReadEvent = Callable[[bytes, bytes], Sequence[Delta]]
"""From the name of an event and its data, never b'', to deltas. Raises UpstreamGarbled. Keeps the stream's state."""


class SSEReader:
    """Reads one stream; see StreamReader."""

    __slots__ = ("_frames", "_read_event")

    def __init__(self, read_event: ReadEvent) -> None:
        self._frames = SSEFrames()
        self._read_event = read_event

    @property
    def unscanned_events(self) -> int:
        return self._frames.oversized

    def feed(self, chunk: bytes) -> list[Delta]:
        """Take the next bytes."""
        deltas: list[Delta] = []
        for frame in self._frames.feed(chunk):
            if frame.data:
                deltas += self._read_event(frame.name, frame.data)
        return deltas

    def finish(self) -> list[Delta]:
        """The bytes are over."""
        return [
            delta for frame in self._frames.finish() if frame.data for delta in self._read_event(frame.name, frame.data)
        ]
