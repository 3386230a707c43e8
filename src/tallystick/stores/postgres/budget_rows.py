"""Windows of budgets as PostgreSQL has them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from tallystick.access.budget_store import WindowSum
from tallystick.access.scopes import Scope, Window


class Alias(NamedTuple):
    """A further id under which events count in a scope."""

    scope_type: str
    scope_id: str
    entity_id: str


Columns = list[list[Any]]  # Any: text and times, a list for each column of a window's key.


def columns_of_windows(windows: Sequence[Window]) -> Columns:
    """Return the six columns of the keys of windows."""
    return [
        [window.scope.type for window in windows],
        [window.scope.id for window in windows],
        [window.scope.member_id for window in windows],
        [window.scope.model for window in windows],
        [window.starts_at for window in windows],
        [window.ends_at for window in windows],
    ]


def key_of(window: Window) -> tuple[str, ...]:
    """Return the columns of a window's key as text."""
    return (*window.scope, str(window.starts_at), str(window.ends_at))


def columns_of_aliases(aliases: Sequence[Alias]) -> Columns:
    """Return the three columns of aliases."""
    return [[getattr(alias, name) for alias in aliases] for name in Alias._fields]


def window_of(row: asyncpg.Record) -> Window:
    """Return the window of a row that has its key."""
    return Window(
        scope=Scope(type=row["scope_type"], id=row["scope_id"], member_id=row["member_id"], model=row["model"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
    )


def sum_of(row: asyncpg.Record, window: Window, *, uncounted_nano_usd: int = 0) -> WindowSum:
    """Return what stands in a window, and what is not counted in it yet on top."""
    return WindowSum(
        window=window,
        spent_nano_usd=row["spent_nano_usd"] + uncounted_nano_usd,
        carried_nano_usd=row["carried_nano_usd"],
        leased_nano_usd=row["leased_nano_usd"],
        limit_nano_usd=row["limit_nano_usd"],
    )
