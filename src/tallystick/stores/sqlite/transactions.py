"""The two kinds of transaction, one writer at a time and readers who see one snapshot; and the rows of a statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apsw

from tallystick.stores.sql import load_queries

# Any: a value that SQLite can bind or has returned; the columns' types are checked by the STRICT tables.
Row = tuple[Any, ...]
Arguments = tuple[Any, ...] | Mapping[str, Any]
_SQL = load_queries("tallystick.stores.sqlite")


def fetch(connection: apsw.Connection, statement: str, arguments: Arguments = ()) -> list[Row]:
    """Run one statement to its end and return its rows."""
    return connection.execute(statement, arguments).fetchall()


@contextmanager
def immediate(connection: apsw.Connection) -> Iterator[None]:
    """Hold the write lock from the first statement; commit at the end, undo everything on an error."""
    connection.execute(_SQL["begin_write"])
    with _ended(connection):
        yield


@contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Read one state of the database, whatever is committed meanwhile."""
    connection.execute(_SQL["begin_read"])
    with _ended(connection):
        yield


@contextmanager
def _ended(connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
        connection.execute(_SQL["commit"])
    finally:
        # After an error; SQLite has undone the transaction by itself after some of them (disk full, I/O).
        if connection.in_transaction:
            connection.execute(_SQL["rollback"])
