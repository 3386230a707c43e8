"""Retention: which segments of a journal may go, because everybody who reads it has passed them.

Some readers may be left behind when the journal has no room: then the oldest segments go before they have read them,
and they are told what they missed, so that it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from tallystick.ledger.segments import Segment, last_seq_in


class SegmentHolder(Protocol):
    """A reader of a journal that is not its committer."""

    @property
    def may_be_left_behind(self) -> bool:
        """Whether segments go before it has read them, rather than that the journal is full."""

    def first_needed(self) -> int:
        """Return the ordinal of the oldest segment that it has not passed."""

    def has_read(self, producer_id: str, last_seq: int) -> bool:
        """Whether nothing up to this number is left for it."""

    def miss(self, segment: Segment, last_seq: int) -> None:
        """Hear that a segment is removed that it has not passed; its last event has the number `last_seq`."""


class Retention:
    """The readers of one journal, and what they keep. The committer keeps everything until it has said more."""

    def __init__(self, segments: deque[Segment], remove: Callable[[Segment], None]) -> None:
        self._segments = segments
        self._remove = remove
        self._holders: list[SegmentHolder] = []
        self._committed_before = 0

    def hold(self, holder: SegmentHolder) -> None:
        """Keep segments for one more reader."""
        self._holders.append(holder)

    def commit_before(self, ordinal: int) -> None:
        """Note that everything in the segments before this one is committed, and remove what nobody needs.

        A lower number than before: the store has lost what it had confirmed, and what is still here is needed again.
        """
        self._committed_before = ordinal
        self.remove_passed()

    def remove_passed(self) -> None:
        """Remove the segments that all have passed."""
        needed = min((self._committed_before, *(holder.first_needed() for holder in self._holders)))
        while len(self._segments) > 1 and self._segments[0].ordinal < needed:
            self._remove(self._segments[0])

    def give_way(self) -> bool:
        """Remove the oldest segment, when only readers need it that may be left behind; False when it stays."""
        if not self.may_give_way:
            return False
        segment = self._segments[0]
        behind = [holder for holder in self._holders if holder.first_needed() <= segment.ordinal]
        last_seq = self._last_seq(segment) if behind else 0
        for holder in behind:
            holder.miss(segment, last_seq)
        self._remove(segment)
        return True

    @property
    def may_give_way(self) -> bool:
        """Whether `give_way` would remove something."""
        if len(self._segments) < 2:
            return False
        ordinal = self._segments[0].ordinal
        return self._committed_before > ordinal and all(
            holder.may_be_left_behind or holder.first_needed() > ordinal for holder in self._holders
        )

    def all_have_read(self, producer_id: str, last_seq: int) -> bool:
        return all(holder.has_read(producer_id, last_seq) for holder in self._holders)

    def _last_seq(self, segment: Segment) -> int:
        following = self._segments[1]
        return following.first_seq - 1 if following.producer_id == segment.producer_id else last_seq_in(segment)


def first_ordinal_with(segments: Sequence[Segment], producer_id: str, seq: int) -> int:
    """Return the ordinal of the segment that has, or will have, a number; of the oldest where none of a producer is."""
    found = segments[0].ordinal if segments else 0
    for segment in segments:
        if segment.producer_id == producer_id and segment.first_seq <= seq:
            found = segment.ordinal
    return found
