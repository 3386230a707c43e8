"""How a window is summed: whole days in UTC from the sums by day, and what is no whole day from the events.

Windows may begin and end at any time. Of a day of which a window has the larger part, the whole day is taken and the
smaller part taken off again, so that no more than half a day of events is read at either end of a window; and of the
day that goes on, mostly none, because the part that is read has not come yet.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from tallystick.access.scopes import Window

_DAY: Final = timedelta(days=1)


class Edge(NamedTuple):
    """A part of one day, to be read from the events."""

    sign: int
    """1 when it is to be added, -1 when it is in the days already and has to be taken off."""
    since: datetime
    until: datetime

    @property
    def day(self) -> date:
        return self.since.date()

    @property
    def is_empty(self) -> bool:
        return self.since >= self.until


class WindowDays(NamedTuple):
    """What adds up to a window: the days from `first` up to, and without, `end`, and an edge on either side."""

    first: date
    end: date
    edges: tuple[Edge, Edge]


def days_of(window: Window) -> WindowDays:
    """Return the days and the edges of a window."""
    starts_at, ends_at = window.starts_at.astimezone(UTC), window.ends_at.astimezone(UTC)
    first, last = _midnight(starts_at), _midnight(ends_at)
    is_within_a_day = first == last
    if is_within_a_day and 2 * (ends_at - starts_at) < _DAY:
        return WindowDays(first.date(), first.date(), (Edge(1, starts_at, ends_at), Edge(1, ends_at, ends_at)))
    begin, end = Edge(-1, first, starts_at), Edge(1, last, ends_at)
    if not is_within_a_day and not _is_small(begin):
        begin, first = Edge(1, starts_at, first + _DAY), first + _DAY
    if is_within_a_day or not _is_small(end):
        end, last = Edge(-1, ends_at, last + _DAY), last + _DAY
    return WindowDays(first.date(), last.date(), (begin, end))


def _is_small(edge: Edge) -> bool:
    return 2 * (edge.until - edge.since) <= _DAY


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
