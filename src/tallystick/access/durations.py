"""Durations as LiteLLM writes them: a number and a unit, as in `30s`, `15m`, `24h`, `30d`, `2w`, `1mo`."""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timedelta
from typing import Final

import msgspec

from tallystick.errors import BadRequest

_SHAPE: Final = re.compile(r"([0-9]{1,10})(s|m|h|d|w|mo)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MONTHS_MAX: Final = 1_200
_SECONDS_MAX: Final = _MONTHS_MAX * 31 * 86_400


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """A length of time. Months are kept apart, because they are not equally long."""

    seconds: int = 0
    months: int = 0

    def after(self, moment: datetime) -> datetime:
        """Return the end of this duration when it begins at `moment`.

        A month ends on the same day of the next month, or on that month's last day where there is no such day.
        """
        month_index = moment.year * 12 + moment.month - 1 + self.months
        year, month = month_index // 12, month_index % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return moment.replace(year=year, month=month, day=day) + timedelta(seconds=self.seconds)


def parse_duration(text: str, *, param: str = "duration") -> Duration:
    """Return the duration that `text` names. Raises BadRequest, which names `param`; 100 years is the most."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise BadRequest(
            f"'{param}' must be a number and a unit (s, m, h, d, w, mo), such as '30s', '24h', '30d' or '1mo', "
            f"not {text[:40]!r}.",
            param=param,
        )
    number, unit = int(match[1]), match[2]
    duration = Duration(months=number) if unit == "mo" else Duration(seconds=number * _UNIT_SECONDS[unit])
    if number == 0:
        raise BadRequest(f"'{param}' must be more than zero, not {text[:40]!r}.", param=param)
    if duration.months > _MONTHS_MAX or duration.seconds > _SECONDS_MAX:
        raise BadRequest(f"'{param}' must be at most 100 years, not {text[:40]!r}.", param=param)
    return duration
