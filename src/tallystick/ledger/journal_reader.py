"""Reading a journal: the events in the order of their numbers, whatever state the files are in.

A reader follows the segments while they are written. Where bytes are damaged it goes on at the next good frame; the
numbers that are missing come out without a payload, so that their loss is recorded instead of blocking what follows.
"""

from __future__ import annotations

import os
from collections import deque
from typing import NamedTuple, Protocol

import structlog

from tallystick.ledger.frames import EVENT_KIND, INTENT_KIND, Bad, Frame, Incomplete, find_frame, read_frame
from tallystick.ledger.segments import Segment, event_id_in
from tallystick.ledger.slots import Slot

log = structlog.get_logger()

_WINDOW_BYTES = 1 << 20
_INTENTS_MAX = 1_000
_RUN_BYTES_MAX = 1 << 30


class SegmentedLog(Protocol):
    """What a reader needs of a journal."""

    slot: Slot
    segments: deque[Segment]


class Run(NamedTuple):
    """Consecutive events of one producer. A payload of None is a number whose frame can't be read."""

    producer_id: str
    first_seq: int
    payloads: list[bytes | None]


class JournalReader:
    """A cursor over one journal. `next_run` moves it, `rewind` takes it back."""

    def __init__(self, journal: SegmentedLog, *, collects_intents: bool = False) -> None:
        """With `collects_intents`, the intents that are passed are kept for `take_intents`."""
        self._journal = journal
        self._fd = -1
        self._segment: Segment | None = None
        self._next_seq = 1
        self._window = b""
        self._window_start = 0
        self._offset = 0
        self.damaged_segments = 0
        """How many were found since whoever counts them last set this to 0."""
        self._collects_intents = collects_intents
        self._intents: dict[str, bytes] = {}

    @property
    def producer_id(self) -> str | None:
        """Who numbers the events at the cursor; None before the first segment is opened."""
        if self._segment is None:
            self._open_next()
        return self._segment.producer_id if self._segment else None

    def next_run(self, limit: int, *, above: int, bytes_max: int = _RUN_BYTES_MAX) -> Run | None:
        """Return up to `limit` events of the producer at the cursor whose numbers are above `above`.

        It ends with the event with which it has `bytes_max`.

        None when there is nothing more of this producer: then either `advance_producer` finds another, or all is read.
        It may be less than there is, when many intents are collected.
        """
        if self._segment is None and not self._open_next():
            return None
        assert self._segment is not None
        producer_id = self._segment.producer_id
        self._next_seq = max(self._next_seq, above + 1)
        self._skip_segments(producer_id)
        run = Run(producer_id, self._next_seq, [])
        size = 0
        while len(run.payloads) < limit and size < bytes_max and len(self._intents) < _INTENTS_MAX:
            frame = self._next_frame()
            if frame is None:
                if not self._open_following(producer_id, run):
                    break
                continue
            if self._collects_intents:
                self._collect(frame)
            if frame.kind != EVENT_KIND or frame.seq < self._next_seq:
                continue
            run.payloads.extend([None] * (frame.seq - self._next_seq))
            run.payloads.append(frame.payload)
            size += len(frame.payload)
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
        self._intents.clear()

    def take_intents(self) -> list[bytes]:
        """Return the intents that were passed since this was asked last, without those whose event was passed too."""
        taken, self._intents = self._intents, {}
        return list(taken.values())

    @property
    def ordinal(self) -> int:
        """The segment that the cursor is in; 0 before the first one is opened."""
        return self._segment.ordinal if self._segment else 0

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

    def _skip_segments(self, producer_id: str) -> None:
        """Go to the segment in which the next number is: those before it are kept for others, and need not be read."""
        target, is_behind = None, False
        for segment in self._journal.segments:
            if is_behind and (segment.producer_id != producer_id or segment.first_seq > self._next_seq):
                break
            if is_behind:
                target = segment
            is_behind = is_behind or segment is self._segment
        if target is not None:
            self._open(target, continues=True)

    def _open_next(self) -> bool:
        following = self._following()
        if following is None:
            return False
        before = self._segment
        self._open(following, continues=before is not None and before.producer_id == following.producer_id)
        return True

    def _open(self, segment: Segment, *, continues: bool) -> None:
        self._close_file()
        self._fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self._segment = segment
        self._offset = self._window_start = 0
        self._window = b""
        if not continues:
            self._next_seq = segment.first_seq

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

    def _collect(self, frame: Frame) -> None:
        if frame.kind == INTENT_KIND:
            self._intents[event_id_in(frame.payload)] = frame.payload
        elif frame.kind == EVENT_KIND:
            self._intents.pop(event_id_in(frame.payload), None)

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
