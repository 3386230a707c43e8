"""Leaderships in SQLite, by the machine's clock: all processes that use the file are on one machine."""

from __future__ import annotations

import apsw

from tallystick.runtime.leadership import Standing
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")
_MICROSECONDS = 1_000_000


class SqliteLeaderships:
    """A `LeadershipStore`."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        """`LeadershipStore`."""
        now = microseconds(self._database.clock.now())
        arguments = {"name": name, "holder": holder, "now": now, "until": now + round(seconds * _MICROSECONDS)}

        def work(connection: apsw.Connection) -> Standing:
            with immediate(connection):
                taken = fetch(connection, _SQL["take_leadership"], arguments)
                if taken:
                    return Standing(holder=holder, term=taken[0][0])
                ((leader, term),) = fetch(connection, _SQL["leadership"], (name,))
                return Standing(holder=leader, term=term)

        return await self._database.write(work)

    async def give_up(self, name: str, holder: str) -> None:
        """`LeadershipStore`."""
        arguments = {"name": name, "holder": holder, "now": microseconds(self._database.clock.now())}
        await self._database.write(lambda connection: fetch(connection, _SQL["give_up_leadership"], arguments))
