"""Leaderships in PostgreSQL, by its clock."""

from __future__ import annotations

from tallystick.errors import StoreUnavailable
from tallystick.runtime.leadership import Standing
from tallystick.stores.postgres.database import PostgresDatabase


class PostgresLeaderships:
    """A `LeadershipStore`."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        """`LeadershipStore`."""
        queries = self._database.queries
        async with self._database.connection() as connection:
            # Looked at first: who does not lead asks often, and to be refused would be written down.
            row = await connection.fetchrow(queries["leadership"], name)
            if row is None or not row["is_held"] or row["holder"] == holder:
                term = await connection.fetchval(queries["take_leadership"], name, holder, seconds)
                if term is not None:
                    return Standing(holder=holder, term=term)
                row = await connection.fetchrow(queries["leadership"], name)
        if row is None:
            raise StoreUnavailable("The row of the leadership was deleted this moment.")
        return Standing(holder=row["holder"], term=row["term"])

    async def give_up(self, name: str, holder: str) -> None:
        """`LeadershipStore`."""
        async with self._database.connection() as connection:
            await connection.execute(self._database.queries["give_up_leadership"], name, holder)
