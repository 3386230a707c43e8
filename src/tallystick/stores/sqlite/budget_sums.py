"""What was spent in a window until now: whole days from the sums by day, the rest from the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import apsw
import msgspec

from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch

_SQL = load_queries("tallystick.stores.sqlite")
Arguments = Mapping[str, str | int | None]

# How days are summed for each type of scope, and how times are. A session has no days: it is found by its own index.
_BY_DAYS: Final = {
    "end_user": "spent_by_days_of_entities",
    "global": "spent_by_days",
    "key": "spent_by_days_of_keys",
    "organization": "spent_by_days_of_organizations",
    "organization_member": "spent_by_days_of_users",
    "personal": "spent_by_days_of_users",
    "provider": "spent_by_days",
    "tag": "spent_by_days_of_entities",
    "team": "spent_by_days_of_teams",
    "team_member": "spent_by_days_of_users",
    "user": "spent_by_days_of_users",
}
_BETWEEN: Final = {"key": "spent_between_of_keys", "session": "spent_between_in_sessions"}
_OTHERS_BETWEEN: Final = "spent_between"
# The columns that the ids of a scope stand in.
_COLUMNS: Final = {
    "end_user": "end_users",
    "key": "keys",
    "organization": "organizations",
    "organization_member": "organizations",
    "personal": "users",
    "provider": "providers",
    "session": "sessions",
    "tag": "tags",
    "team": "teams",
    "team_member": "teams",
    "user": "users",
}
_WITHOUT_TOTAL: Final = {"organization_member", "session"}


def spent_in(connection: apsw.Connection, window: Window, ids: Sequence[str]) -> int:
    """Return what the committed events of a window add up to. `ids` are those under which events count in its scope."""
    scope = window.scope
    arguments = _arguments(scope, ids)
    # The sums of tags overlap: an event with two of them would count twice.
    has_sums = scope.type != "tag" or len(ids) == 1
    if has_sums and (window.starts_at, window.ends_at) == (LIFETIME_START, LIFETIME_END):
        spent = _spent_in_all(connection, scope, arguments)
        if spent is not None:
            return spent
    by_days = _BY_DAYS.get(scope.type) if has_sums else None
    first_day, end_day = _whole_days(window)
    if by_days is None or first_day >= end_day:
        return _between(connection, scope, arguments, window.starts_at, window.ends_at)
    days = {"first_day": first_day.isoformat(), "end_day": end_day.isoformat()}
    return (
        _between(connection, scope, arguments, window.starts_at, _midnight(first_day))
        + _one(connection, by_days, {**arguments, **days})
        + _between(connection, scope, arguments, _midnight(end_day), window.ends_at)
    )


def _spent_in_all(connection: apsw.Connection, scope: Scope, arguments: Arguments) -> int | None:
    """Return the running sum of a scope, None when it has none."""
    if scope.type == "global" and scope.model:
        model = {"total_type": "model_group", "ids": _json([scope.model]), "member_id": ""}
        return _one(connection, "spent_in_all", model)
    if scope.model or scope.type in _WITHOUT_TOTAL:
        return None
    if scope.type != "personal":
        return _one(connection, "spent_in_all", {**arguments, "total_type": scope.type})
    whole = _one(connection, "spent_in_all", {**arguments, "total_type": "user"})
    return whole - _one(connection, "spent_in_all_in_teams", arguments)


def _between(connection: apsw.Connection, scope: Scope, arguments: Arguments, since: datetime, until: datetime) -> int:
    if since >= until:
        return 0
    times = {"since": microseconds(since), "until": microseconds(until)}
    return _one(connection, _BETWEEN.get(scope.type, _OTHERS_BETWEEN), {**arguments, **times})


def _arguments(scope: Scope, ids: Sequence[str]) -> Arguments:
    """Return what the statements compare with: a column that does not matter is None."""
    arguments: dict[str, str | int | None] = {
        "scope_type": scope.type,
        "ids": _json(ids),
        "member_id": scope.member_id,
        "model": scope.model,
        **dict.fromkeys(_COLUMNS.values()),
    }
    if scope.type in _COLUMNS:
        arguments[_COLUMNS[scope.type]] = _json(ids)
    if scope.type == "personal":
        arguments["teams"] = _json([""])
    elif scope.type in {"team_member", "organization_member"}:
        arguments["users"] = _json([scope.member_id])
    return arguments


def _whole_days(window: Window) -> tuple[date, date]:
    """Return the first whole day of a window, and the first one that is no longer whole."""
    starts_at, ends_at = window.starts_at.astimezone(UTC), window.ends_at.astimezone(UTC)
    first_day = starts_at.date()
    if _midnight(first_day) < starts_at:
        first_day += timedelta(days=1)
    return first_day, ends_at.date()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _one(connection: apsw.Connection, name: str, arguments: Arguments) -> int:
    ((spent,),) = fetch(connection, _SQL[name], arguments)
    return int(spent)


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
