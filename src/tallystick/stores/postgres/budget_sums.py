"""What the committed events of a scope add up to in a window, from the sums as far as they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.window_days import days_of

_TOTALLED: Final = frozenset(
    {"end_user", "global", "key", "organization", "personal", "provider", "tag", "team", "team_member", "user"}
)
"""Scopes of which `totals` tells what they have spent in all."""
_BY_ENTITY: Final = frozenset({"end_user", "tag"})


async def spent_in(connection: Connection, queries: Mapping[str, str], window: Window, ids: Sequence[str]) -> int:
    """Return what the events under these ids, which stand for the scope's own, cost in a window.

    It reads committed events only. Whoever needs the sum of all of them holds the lock on ledger_head.
    """
    scope = window.scope
    is_lifetime = (window.starts_at, window.ends_at) == (LIFETIME_START, LIFETIME_END)
    if is_lifetime and not scope.model and scope.type in _TOTALLED:
        return await _spent_in_all(connection, queries, scope, ids)
    statement, values = statement_of(queries, window, ids)
    return int(await connection.fetchval(statement, *values))


def statement_of(
    queries: Mapping[str, str], window: Window, ids: Sequence[str]
) -> tuple[str, list[Any]]:  # Any: days, times and text.
    """Return what sums the events in a window that is no lifetime, and its values."""
    scope = window.scope
    if scope.type == "session":
        return _statement(queries, "spent_between", scope, ids, [window.starts_at, window.ends_at])
    days = days_of(window)
    span: list[Any] = [days.first, days.end]
    if all(edge.is_empty for edge in days.edges):
        return _statement(queries, "spent_by_days", scope, ids, span)
    for edge in days.edges:
        span += [edge.sign, edge.day, edge.since, edge.until]
    return _statement(queries, "spent_by_days_and_times", scope, ids, span)


async def _spent_in_all(connection: Connection, queries: Mapping[str, str], scope: Scope, ids: Sequence[str]) -> int:
    if scope.type == "personal":
        return int(await connection.fetchval(queries["spent_in_all_personally"], ids))
    return int(await connection.fetchval(queries["spent_in_all"], scope.type, ids, scope.member_id))


def _statement(
    queries: Mapping[str, str], name: str, scope: Scope, ids: Sequence[str], span: list[Any]
) -> tuple[str, list[Any]]:
    values: dict[str, Any] = {
        "ids": list(ids),
        "member": scope.member_id,
        "model": scope.model,
        "type": scope.type,
    }
    placeholders = _Placeholders(first=len(span) + 1)
    by_entity = scope.type in _BY_ENTITY
    who = _condition(queries, f"counts_for_{scope.type}", scope, placeholders)
    who_by_day = who
    if by_entity and name != "spent_between":
        who_by_day = _condition(queries, "counts_for_entity", scope, placeholders)
    statement = queries[name].format(
        days="daily_entity_spend" if by_entity else "daily_spend", who=who, who_by_day=who_by_day
    )
    return statement, [*span, *(values[name] for name in placeholders.names)]


def _condition(queries: Mapping[str, str], name: str, scope: Scope, placeholders: _Placeholders) -> str:
    conditions = [queries[name], *([queries["counts_for_model"]] if scope.model else [])]
    return " AND ".join(conditions).format_map(placeholders)


class _Placeholders:
    """Numbers the values that conditions name, in the order in which they are first named."""

    def __init__(self, *, first: int) -> None:
        self._first = first
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        if name not in self.names:
            self.names.append(name)
        return f"${self._first + self.names.index(name)}"
