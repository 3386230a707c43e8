"""Dates and ids in query parameters."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from tallystick.errors import BadRequest
from tallystick.runtime.ids import event_time

_DATE_LENGTH: Final = len("2026-01-31")
_DAY: Final = timedelta(days=1)


def parse_moment(text: str | None, *, param: str, whole_day: bool = False) -> datetime | None:
    """Read `2026-01-31`, `2026-01-31 12:00:00` or any ISO 8601 time; UTC where it names no zone.

    With `whole_day`, a date without a time stands for the end of that day.
    """
    if text is None:
        return None
    try:
        # In a query string, the plus of a zone arrives as a space.
        moment = datetime.fromisoformat(_with_zone(text.strip()))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment + _DAY if whole_day and len(text.strip()) == _DATE_LENGTH else moment
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"'{param}' must be a date or a time such as '2026-01-31' or '2026-01-31 12:00:00', not {text[:40]!r}.",
            param=param,
        ) from error


def _with_zone(text: str) -> str:
    head, _, zone = text.rpartition(" ")
    return f"{head}+{zone}" if ":" in head and ":" in zone else text


def event_id_in(text: str) -> str | None:
    """Return the event id that `text` is, in its canonical form; None when it is none."""
    try:
        canonical = str(uuid.UUID(text))
        event_time(canonical)
    except (ValueError, OverflowError):
        return None
    return canonical
