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
from tallystick.stores.window_days import days_of

_SQL = load_queries("tallystick.stores.sqlite")
_DAY: Final = timedelta(days=1)
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
    by_days = _BY_DAYS.get(scope.type)
    if by_days is None:
        return _between(connection, scope, arguments, window.starts_at, window.ends_at)
    if not has_sums:
        return _unless_nothing(connection, by_days, scope, arguments, window)
    days = days_of(window)
    spent, _ = _on_days(connection, by_days, arguments, days.first, days.end)
    for edge in days.edges:
        if not edge.is_empty and _on_days(connection, by_days, arguments, edge.day, edge.day + _DAY)[1]:
            spent += edge.sign * _between(connection, scope, arguments, edge.since, edge.until)
    return spent


def _unless_nothing(
    connection: apsw.Connection, by_days: str, scope: Scope, arguments: Arguments, window: Window
) -> int:
    """Sum all events of a window, if there are sums of any of its days."""
    first, last = window.starts_at.astimezone(UTC).date(), window.ends_at.astimezone(UTC).date()
    _, sums = _on_days(connection, by_days, arguments, first, last + _DAY)
    return _between(connection, scope, arguments, window.starts_at, window.ends_at) if sums else 0


def _on_days(connection: apsw.Connection, name: str, arguments: Arguments, first: date, end: date) -> tuple[int, int]:
    """Return what was spent on days, and of how many sums that is: without any there is no event."""
    if first >= end:
        return 0, 0
    days = {"first_day": first.isoformat(), "end_day": end.isoformat()}
    ((spent, sums),) = fetch(connection, _SQL[name], {**arguments, **days})
    return int(spent), int(sums)


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


def _one(connection: apsw.Connection, name: str, arguments: Arguments) -> int:
    ((spent,),) = fetch(connection, _SQL[name], arguments)
    return int(spent)


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
