"""How a PostgreSQL database is."""

from __future__ import annotations

from tallystick.ledger.inspection import Partitions, StoreFacts
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.partitions import day_of


class PostgresInspector:
    """Implements StoreInspector."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database

    async def inspect(self) -> StoreFacts:
        queries = self._database.queries
        async with self._database.transaction(readonly=True) as connection:
            facts = await connection.fetchrow(queries["inspect"])
            names = await connection.fetch(queries["event_partitions"])
        assert facts is not None, "a row without a table is always there"
        days = [day for row in names if (day := day_of(row["relname"])) is not None]
        return StoreFacts(
            engine=f"PostgreSQL {facts['server_version']}",
            schema_version=facts["schema_version"],
            now=facts["now"],
            dead_letters=facts["dead_letters"],
            dead_letter_cost_nano_usd=facts["dead_letter_cost_nano_usd"],
            partitions=Partitions(last_day=max(days, default=None), default_is_empty=facts["default_is_empty"]),
        )
