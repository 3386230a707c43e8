"""Make windows of budgets, with what was spent in them until then, and the aliases of their scopes.

Whoever does holds the write lock, as every commit does: the commits before are in the sum that a window begins with;
those behind see, by the number of windows and aliases ever made, that they have to look again.
"""

from __future__ import annotations

import apsw

from tallystick.access.budget_store import LeaseRequest
from tallystick.access.grants import carried_of
from tallystick.access.scopes import Scope, Window
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.budget_rows import key_of, window_of
from tallystick.stores.sqlite.budget_sums import spent_in
from tallystick.stores.sqlite.transactions import fetch

_SQL = load_queries("tallystick.stores.sqlite")


def make_asked(connection: apsw.Connection, request: LeaseRequest, *, now: int) -> None:
    """Make the aliases and the window of a request where they are not there."""
    _make_aliases(connection, request)
    if not fetch(connection, _SQL["budget_window"], key_of(request.window)):
        _add(connection, request.window, carried_nano_usd=_carried(connection, request), now=now)


def make_window(connection: apsw.Connection, window: Window, *, now: int) -> None:
    """Make a window, into which nothing is carried, when it is not there."""
    if not fetch(connection, _SQL["budget_window"], key_of(window)):
        _add(connection, window, carried_nano_usd=0, now=now)


def ids_of(connection: apsw.Connection, scope: Scope) -> list[str]:
    """Return the ids under which events count in a scope."""
    return [scope.id, *(row[0] for row in fetch(connection, _SQL["budget_aliases_of_scope"], scope[:2]))]


def _add(connection: apsw.Connection, window: Window, *, carried_nano_usd: int, now: int) -> None:
    assert window.starts_at < window.ends_at
    spent = spent_in(connection, window, ids_of(connection, window.scope))
    connection.execute(_SQL["add_budget_window"], (*key_of(window), spent, carried_nano_usd, now))
    connection.execute(_SQL["count_budget_windows"], (1,))


def _make_aliases(connection: apsw.Connection, request: LeaseRequest) -> None:
    """Let the events of further ids count in the scope, also the past ones in windows that are there."""
    scope = request.window.scope
    made = 0
    for entity_id in request.entity_ids:
        if entity_id != scope.id:
            made += len(fetch(connection, _SQL["add_budget_alias"], (*scope[:2], entity_id)))
    if made:
        connection.execute(_SQL["count_budget_windows"], (made,))
        ids = ids_of(connection, scope)
        for key in fetch(connection, _SQL["budget_windows_of_scope"], scope[:2]):
            connection.execute(_SQL["set_budget_spent"], (spent_in(connection, window_of(key), ids), *key))


def _carried(connection: apsw.Connection, request: LeaseRequest) -> int:
    """Return what was spent above the limit in the window before."""
    if request.previous is None:
        return 0
    rows = fetch(connection, _SQL["budget_window"], key_of(request.previous))
    if rows:
        spent: int = rows[0][0] + rows[0][1]
    else:
        spent = spent_in(connection, request.previous, ids_of(connection, request.previous.scope))
    return carried_of(request, spent)
