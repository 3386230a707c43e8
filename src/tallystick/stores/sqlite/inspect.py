"""How an SQLite file is."""

from __future__ import annotations

import apsw

from tallystick.ledger.inspection import StoreFacts
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import moment_of
from tallystick.stores.sqlite.transactions import fetch, snapshot

_SQL = load_queries("tallystick.stores.sqlite")


class SqliteInspector:
    """`StoreInspector`. The file has no clock of its own: the time is that of this machine, as SQLite reads it."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def inspect(self) -> StoreFacts:
        return await self._database.read(_inspect)


def _inspect(connection: apsw.Connection) -> StoreFacts:
    with snapshot(connection):
        ((dead_letters, dead_letter_cost),) = fetch(connection, _SQL["audit_dead_letters"])
        versions = fetch(connection, _SQL["applied_migrations"])
        ((microseconds,),) = fetch(connection, _SQL["current_time"])
    return StoreFacts(
        engine=f"SQLite {apsw.sqlitelibversion()}",
        schema_version=max((row[0] for row in versions), default=0),
        now=moment_of(microseconds),
        dead_letters=dead_letters,
        dead_letter_cost_nano_usd=dead_letter_cost,
    )
