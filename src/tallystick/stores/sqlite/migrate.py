"""Bring a SQLite file's schema up to date. Processes that open the same file at once wait for each other."""

from __future__ import annotations

from datetime import datetime

import apsw

from tallystick.errors import MigrationFailed
from tallystick.stores.migrations import AppliedMigration, Migration, MigrationPlan, load_migrations, plan
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch, immediate, snapshot

_PACKAGE = "tallystick.stores.sqlite"
_SQL = load_queries(_PACKAGE)


def migrate(connection: apsw.Connection, *, now: datetime) -> tuple[int, ...]:
    """Apply what is pending, each in one transaction; return the versions applied here. Raises MigrationFailed."""
    known = load_migrations(_PACKAGE)
    if not pending(connection):
        return ()
    with immediate(connection):
        connection.execute(_SQL["create_migrations_table"])
    applied: list[int] = []
    for migration in known:
        with immediate(connection):
            # Asked again under the lock: another process may have been faster.
            if migration not in _plan(connection, known).pending:
                continue
            _apply(connection, migration, now=now)
            applied.append(migration.version)
    return tuple(applied)


def pending(connection: apsw.Connection) -> tuple[str, ...]:
    """Return the names of the migrations that the file does not have yet. Raises MigrationFailed for a foreign one."""
    with snapshot(connection):
        todo = _plan(connection, load_migrations(_PACKAGE)).pending
    return tuple(_label(migration) for migration in todo)


def _plan(connection: apsw.Connection, known: tuple[Migration, ...]) -> MigrationPlan:
    if not fetch(connection, _SQL["applied_migrations_exist"]):
        return plan(known, ())
    rows = fetch(connection, _SQL["applied_migrations"])
    return plan(known, [AppliedMigration(version=row[0], name=row[1], checksum=row[2]) for row in rows])


def _apply(connection: apsw.Connection, migration: Migration, *, now: datetime) -> None:
    try:
        connection.execute(migration.statements).fetchall()
    except apsw.SQLError as error:
        raise MigrationFailed(f"Migration {_label(migration)} failed: {error}") from error
    connection.execute(
        _SQL["record_migration"], (migration.version, migration.name, migration.checksum, microseconds(now))
    )


def _label(migration: Migration) -> str:
    return f"{migration.version:04d}_{migration.name}"
