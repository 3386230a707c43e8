"""The days that a report covers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from tallystick.admin.moments import parse_moment
from tallystick.admin.pages import total_pages
from tallystick.errors import BadRequest
from tallystick.runtime.clock import Clock

DAYS_BY_DEFAULT: Final = 30
_DAY: Final = timedelta(days=1)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Whole days of UTC, both inclusive."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def since(self) -> datetime:
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)

    @property
    def until(self) -> datetime:
        """The end, exclusive."""
        return datetime(self.last.year, self.last.month, self.last.day, tzinfo=UTC) + _DAY

    def pages(self, size: int) -> int:
        """Return how many pages of `size` days it has."""
        return total_pages(self.days, size)

    def page(self, number: int, size: int) -> Window | None:
        """Return one page of days, the newest first; None past the end."""
        if number > self.pages(size):
            return None
        last = self.last - _DAY * (number - 1) * size
        return Window(first=max(self.first, last - _DAY * (size - 1)), last=last)


def window_of(start_date: str | None, end_date: str | None, *, clock: Clock) -> Window:
    """Return the days that are asked for: by default the last thirty, and never beyond tomorrow.

    Raises BadRequest.
    """
    tomorrow = clock.now().astimezone(UTC).date() + _DAY  # Elsewhere it may be that day already.
    last = tomorrow - _DAY if end_date is None else min(_day(end_date, param="end_date"), tomorrow)
    first = last - _DAY * (DAYS_BY_DEFAULT - 1) if start_date is None else _day(start_date, param="start_date")
    if end_date is not None and first > _day(end_date, param="end_date"):
        raise BadRequest(f"'start_date' ({first}) must not be after 'end_date'.", param="start_date")
    return Window(first=min(first, last), last=last)


def _day(text: str, *, param: str) -> date:
    moment = parse_moment(text, param=param)
    assert moment is not None, "there is a text"
    if not 1970 <= moment.year < 9999:  # The years that every database can hold.
        raise BadRequest(f"'{param}' must be in the years 1970 to 9998.", param=param)
    return moment.date()
