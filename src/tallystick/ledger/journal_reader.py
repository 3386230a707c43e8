"""Reading a journal: the events in the order of their numbers, whatever state the files are in.

A reader follows the segments while they are written. Where bytes are damaged it goes on at the next good frame; the
numbers that are missing come out without a payload, so that their loss is recorded instead of blocking what follows.
"""

from __future__ import annotations

import os
from collections import deque
from typing import NamedTuple, Protocol

import structlog

from tallystick.ledger.frames import EVENT_KIND, Bad, Frame, Incomplete, find_frame, read_frame
from tallystick.ledger.segments import Segment
from tallystick.ledger.slots import Slot

log = structlog.get_logger()

_WINDOW_BYTES = 1 << 20


class SegmentedLog(Protocol):
    """What a reader needs of a journal."""

    slot: Slot
    segments: deque[Segment]

    def remove_segment(self, segment: Segment) -> None: ...


class Run(NamedTuple):
    """Consecutive events of one producer. A payload of None is a number whose frame can't be read."""

    producer_id: str
    first_seq: int
    payloads: list[bytes | None]


class JournalReader:
    """A cursor over one journal. `next_run` moves it; `release` lets go of the segments it has left behind."""

    def __init__(self, journal: SegmentedLog) -> None:
        self._journal = journal
        self._fd = -1
        self._segment: Segment | None = None
        self._next_seq = 1
        self._window = b""
        self._window_start = 0
        self._offset = 0
        self.damaged_segments = 0
        """How many were found since whoever counts them last set this to 0."""

    @property
    def producer_id(self) -> str | None:
        """Who numbers the events at the cursor; None before the first segment is opened."""
        if self._segment is None:
            self._open_next()
        return self._segment.producer_id if self._segment else None

    def next_run(self, limit: int, *, above: int) -> Run | None:
        """Return up to `limit` events of the producer at the cursor whose numbers are above `above`.

        None when there is nothing more of this producer: then either `advance_producer` finds another, or all is read.
        """
        if self._segment is None and not self._open_next():
            return None
        assert self._segment is not None
        producer_id = self._segment.producer_id
        self._next_seq = max(self._next_seq, above + 1)
        run = Run(producer_id, self._next_seq, [])
        while len(run.payloads) < limit:
            frame = self._next_frame()
            if frame is None:
                if not self._open_following(producer_id, run):
                    break
                continue
            if frame.kind != EVENT_KIND or frame.seq < self._next_seq:
                continue
            run.payloads.extend([None] * (frame.seq - self._next_seq))
            run.payloads.append(frame.payload)
            self._next_seq = frame.seq + 1
        return run if run.payloads else None

    def advance_producer(self) -> bool:
        """Go on to a segment of another producer, when the cursor is at the end of the last one of this."""
        if self._segment is None or not self._is_finished():
            return False
        return self._open_next()

    def rewind(self) -> None:
        """Go back to the oldest segment that is left."""
        self._close_file()
        self._segment = None
        self._next_seq = 1

    def release(self) -> None:
        """Remove the segments before the one that the cursor is in: everything in them is committed."""
        while self._segment is not None and self._journal.segments[0] is not self._segment:
            self._journal.remove_segment(self._journal.segments[0])

    def close(self) -> None:
        self._close_file()

    # Segments

    def _following(self) -> Segment | None:
        segments = self._journal.segments
        if self._segment is None:
            return segments[0] if segments else None
        for index, segment in enumerate(segments):
            if segment is self._segment:
                return segments[index + 1] if index + 1 < len(segments) else None
        return segments[0] if segments else None

    def _open_next(self) -> bool:
        following = self._following()
        if following is None:
            return False
        continues = self._segment is not None and self._segment.producer_id == following.producer_id
        self._close_file()
        self._fd = os.open(following.path, os.O_RDONLY | os.O_CLOEXEC)
        self._segment = following
        self._offset = self._window_start = 0
        self._window = b""
        if not continues:
            self._next_seq = following.first_seq
        return True

    def _open_following(self, producer_id: str, run: Run) -> bool:
        """Cross into the next segment of the same producer; numbers that this one lost become payloads of None."""
        following = self._following()
        if following is None or following.producer_id != producer_id or not self._is_finished():
            return False
        missing = following.first_seq - self._next_seq
        if missing > 0:
            run.payloads.extend([None] * missing)
            self._next_seq = following.first_seq
        return self._open_next()

    def _is_finished(self) -> bool:
        """Whether the segment at the cursor is read to its end and is no longer written."""
        assert self._segment is not None
        return self._segment is not self._journal.segments[-1] and self._at_end()

    def _at_end(self) -> bool:
        assert self._segment is not None
        if self._offset >= self._segment.size:
            return True
        return self._is_blank()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # Frames

    def _next_frame(self) -> Frame | None:
        assert self._segment is not None
        while self._offset < self._segment.size:
            frame = read_frame(self._window, self._offset - self._window_start)
            if isinstance(frame, Frame):
                self._offset = self._window_start + frame.end
                return frame
            wanted = frame.needed if isinstance(frame, Incomplete) else 0
            available = min(self._segment.size, self._window_start + len(self._window)) - self._offset
            if isinstance(frame, Incomplete) and (wanted == 0 or wanted > available) and self._extend(wanted):
                continue
            if wanted == 0 and isinstance(frame, Incomplete):
                if self._is_blank():
                    return None
                frame = Bad("a hole")
            if not self._skip_damage(frame):
                return None
        return None

    def _is_blank(self) -> bool:
        """Whether nothing but zeroes follows: the preallocated rest of a segment that is no longer written."""
        assert self._segment is not None
        return not self._load(self._offset, self._segment.size - self._offset).strip(b"\0")

    def _extend(self, wanted: int) -> bool:
        """Load the window anew from the cursor on; False when that brings nothing more."""
        before = self._window_start + len(self._window)
        window = self._load(self._offset, max(_WINDOW_BYTES, wanted))
        if self._offset + len(window) <= before and self._window:
            return False
        self._window, self._window_start = window, self._offset
        return bool(window)

    def _load(self, offset: int, length: int) -> bytes:
        assert self._segment is not None
        return os.pread(self._fd, min(length, self._segment.size - offset), offset)

    def _skip_damage(self, frame: Bad | Incomplete) -> bool:
        """Find the next good frame of the segment and set the cursor there; report what was passed over."""
        assert self._segment is not None
        segment = self._segment
        rest = self._load(self._offset, segment.size - self._offset)
        found = find_frame(rest, 1)
        if found is None and segment is self._journal.segments[-1]:
            return False  # It is still written; what comes next tells whether this is damage.
        copy = self._journal.slot.set_aside(segment.path)
        self.damaged_segments += 1
        reason = frame.reason if isinstance(frame, Bad) else "a frame that ends too early"
        log.error("journal_damaged", segment=segment.path.name, offset=self._offset, reason=reason, copy=str(copy))
        self._offset = segment.size if found is None else self._offset + found
        self._window, self._window_start = b"", self._offset
        return True
