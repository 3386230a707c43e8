"""Budget windows: from a duration and a moment to the window that the moment lies in.

Windows are aligned as LiteLLM's are: `1d` at midnight, `7d` and weeks on Monday, `30d` and months on the first,
seconds, minutes and hours at multiples of the unit. Other numbers of days are counted from a fixed Monday, so that the
same duration has the same windows everywhere and at all times.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from tallystick.access.durations import Duration, parse_duration

_MONDAY: Final = date(1970, 1, 5)
_DAY: Final = 86_400
_MONTH_DAYS: Final = 30


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From `start` up to, and without, `end`; both in UTC."""

    start: datetime
    end: datetime


def window_at(duration_text: str, moment: datetime, *, zone: tzinfo = UTC) -> Window:
    """Return the window of this duration in which `moment` lies. Days begin at midnight of `zone`.

    Raises BadRequest for a duration that is none.
    """
    duration = parse_duration(duration_text, param="budget_duration")
    local = moment.astimezone(zone)
    if duration.months or duration.seconds == _MONTH_DAYS * _DAY:
        return _months(local, duration.months or 1)
    if duration.seconds % _DAY == 0:
        return _days(local, duration.seconds // _DAY)
    return _clock_units(moment, duration)


def _months(local: datetime, months: int) -> Window:
    index = (local.year * 12 + local.month - 1) // months * months
    return Window(start=_first_of(index, local), end=_first_of(index + months, local))


def _first_of(month_index: int, local: datetime) -> datetime:
    return datetime(month_index // 12, month_index % 12 + 1, 1, tzinfo=local.tzinfo).astimezone(UTC)


def _days(local: datetime, days: int) -> Window:
    first = _MONDAY + timedelta(days=(local.date() - _MONDAY).days // days * days)
    return Window(start=_midnight(first, local), end=_midnight(first + timedelta(days=days), local))


def _midnight(day: date, local: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=local.tzinfo).astimezone(UTC)


def _clock_units(moment: datetime, duration: Duration) -> Window:
    """Seconds, minutes and hours are counted in UTC, where none is left out or comes twice."""
    length = timedelta(seconds=duration.seconds)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start = epoch + (moment - epoch) // length * length
    return Window(start=start, end=start + length)
