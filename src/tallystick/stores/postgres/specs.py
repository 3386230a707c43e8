"""The specs of all control objects on PostgreSQL, for rotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.rotation import StoredSpec
from tallystick.stores.postgres.database import PostgresDatabase

_decode = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON.


class PostgresSpecStore:
    """Implements SpecStore."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database

    async def specs_after(self, object_no: int, *, limit: int) -> tuple[StoredSpec, ...]:
        """Return the next rows above `object_no`, in ascending order."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._database.queries["specs_after"], object_no, limit)
        return tuple(
            StoredSpec(
                object_no=row["object_no"],
                ref=ObjectRef(Kind(row["kind"]), row["object_id"]),
                revision=row["revision"],
                spec=_decode(row["spec"]),
            )
            for row in rows
        )

    async def replace_specs(self, specs: Sequence[StoredSpec]) -> frozenset[int]:
        """Replace the spec of each row that is still at its revision; return the numbers of those."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                self._database.queries["replace_specs"],
                [stored.object_no for stored in specs],
                [stored.revision for stored in specs],
                [msgspec.json.encode(stored.spec).decode() for stored in specs],
            )
        return frozenset(row["object_no"] for row in rows)
