"""The specs of all control objects in SQLite, for rotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.rotation import StoredSpec
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.transactions import Row, fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")
_decode = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON.


class SqliteSpecStore:
    """Implements SpecStore."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def specs_after(self, object_no: int, *, limit: int) -> tuple[StoredSpec, ...]:
        """Return the next rows above `object_no`, in ascending order."""

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["specs_after"], {"object_no": object_no, "limit": limit})

        return tuple(
            StoredSpec(object_no=row[0], ref=ObjectRef(Kind(row[1]), row[2]), revision=row[3], spec=_decode(row[4]))
            for row in await self._database.read(work)
        )

    async def replace_specs(self, specs: Sequence[StoredSpec]) -> frozenset[int]:
        """Replace the spec of each row that is still at its revision; return the numbers of those."""
        given = [
            {
                "object_no": stored.object_no,
                "revision": stored.revision,
                "spec": msgspec.json.encode(stored.spec).decode(),
            }
            for stored in specs
        ]

        def work(connection: apsw.Connection) -> frozenset[int]:
            with immediate(connection):
                return frozenset(row[0] for each in given for row in fetch(connection, _SQL["replace_spec"], each))

        return await self._database.write(work)
