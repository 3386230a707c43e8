"""Budget windows: from a duration and a moment to the window that the moment lies in.

Windows are aligned as LiteLLM's are: `1d` at midnight, `7d` and weeks on Monday, `30d` and months on the first,
seconds, minutes and hours at multiples of the unit. Other numbers of days are counted from a fixed Monday, so that the
same duration has the same windows everywhere and at all times.

A rule says in which zone days begin, and at what time. Where the clocks skip that time on some day, the day begins when
it would have come on clocks that did not skip; where it comes twice, at the first. So each moment is in exactly one
window of a duration, and days are as long as the zone makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

import msgspec

from tallystick.access.durations import Duration, parse_duration
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window

_MONDAY: Final = date(1970, 1, 5)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS: Final = 86_400
_MONTH_DAYS: Final = 30
_MOMENT: Final = timedelta(microseconds=1)


class Period(NamedTuple):
    """From `starts_at` up to, and without, `ends_at`; both in UTC."""

    starts_at: datetime
    ends_at: datetime


LIFETIME: Final = Period(LIFETIME_START, LIFETIME_END)


class WindowRule(msgspec.Struct, frozen=True, kw_only=True):
    """When windows of days, weeks and months begin."""

    zone: tzinfo = UTC
    day_starts: time = time()
    """On the clocks of the zone."""

    def window_at(self, duration_text: str, moment: datetime) -> Period:
        """Return the period of this duration in which `moment` lies; '' is the whole life of the budget.

        Raises BadRequest for a duration that is none.
        """
        if not duration_text:
            return LIFETIME
        duration = parse_duration(duration_text, param="budget_duration")
        local_day = moment.astimezone(self.zone).date()
        if duration.months or duration.seconds == _MONTH_DAYS * _DAY_SECONDS:
            months = duration.months or 1
            return _period(
                lambda index: self._first_of(index * months),
                (local_day.year * 12 + local_day.month - 1) // months,
                moment,
            )
        if duration.seconds % _DAY_SECONDS == 0:
            days = duration.seconds // _DAY_SECONDS
            return _period(
                lambda index: self._day(_MONDAY + timedelta(days=index * days)),
                (local_day - _MONDAY).days // days,
                moment,
            )
        return _clock_units(moment, duration)

    def window_of(self, scope: Scope, duration_text: str, moment: datetime) -> Window:
        """Return the window of a scope in which `moment` lies."""
        return Window(scope, *self.window_at(duration_text, moment))

    def previous(self, window: Window, duration_text: str) -> Window | None:
        """Return the window of this duration before another one; None where there is none."""
        if not duration_text:
            return None
        return self.window_of(window.scope, duration_text, window.starts_at - _MOMENT)

    def _first_of(self, month_index: int) -> datetime:
        return self._day(date(month_index // 12, month_index % 12 + 1, 1))

    def _day(self, day: date) -> datetime:
        return datetime.combine(day, self.day_starts, tzinfo=self.zone).astimezone(UTC)


MIDNIGHT_UTC: Final = WindowRule()


def _period(begins: Callable[[int], datetime], index: int, moment: datetime) -> Period:
    """Return the period of a series that a moment lies in, which is the one at `index` or a neighbour.

    The local date alone does not tell: days may begin at noon, and clocks that are turned back show a time twice.
    """
    while moment < begins(index):
        index -= 1
    while (ends_at := begins(index + 1)) <= moment:
        index += 1
    return Period(begins(index), ends_at)


def _clock_units(moment: datetime, duration: Duration) -> Period:
    """Seconds, minutes and hours are counted in UTC, where none is left out or comes twice."""
    length = timedelta(seconds=duration.seconds)
    starts_at = _EPOCH + (moment - _EPOCH) // length * length
    return Period(starts_at, starts_at + length)
