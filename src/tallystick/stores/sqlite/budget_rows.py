"""Windows of budgets as SQLite has them, and back."""

from __future__ import annotations

from tallystick.access.budget_store import WindowSum
from tallystick.access.scopes import Scope, Window
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row

WIDTH = 6
"""How many columns the key of a window has."""


def key_of(window: Window) -> Row:
    """Return the key of a window."""
    return (*window.scope, microseconds(window.starts_at), microseconds(window.ends_at))


def window_of(key: Row) -> Window:
    """Return the window of a key."""
    *scope, starts_at, ends_at = key
    return Window(scope=Scope(*scope), starts_at=moment_of(starts_at), ends_at=moment_of(ends_at))


def sum_of(window: Window, row: Row) -> WindowSum:
    """Return what the columns of `budget_sum` say of a window."""
    spent, carried, leased, limit = row
    return WindowSum(
        window=window, spent_nano_usd=spent, carried_nano_usd=carried, leased_nano_usd=leased, limit_nano_usd=limit
    )
