"""The instances that serve on a PostgreSQL database."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from tallystick.runtime.instances import FORGOTTEN_SECONDS, Instance, SeenInstance
from tallystick.stores.postgres.database import PostgresDatabase


class PostgresInstances:
    """Implements InstanceStore."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def beat(self, instance: Instance) -> None:
        """Note what an instance says now, and forget those not heard of for a day."""
        async with self._database.connection() as connection:
            await connection.execute(
                self._queries["beat_instance"],
                instance.instance_id,
                instance.host,
                instance.pid,
                instance.version,
                instance.started_at,
                instance.revision,
                instance.producer_id,
                instance.events_pending,
                instance.journal_bytes,
                instance.is_leader,
            )
            await connection.execute(self._queries["forget_instances"], timedelta(seconds=FORGOTTEN_SECONDS))

    async def leave(self, instance_id: str) -> None:
        """Forget an instance."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["leave_instance"], instance_id)

    async def seen(self, *, limit: int) -> tuple[SeenInstance, ...]:
        """Return instances, those heard of last first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["seen_instances"], limit)
        return tuple(_seen_of(row) for row in rows)


def _seen_of(row: asyncpg.Record) -> SeenInstance:
    return SeenInstance(
        instance=Instance(
            instance_id=row["instance_id"],
            host=row["host"],
            pid=row["pid"],
            version=row["version"],
            started_at=row["started_at"],
            revision=row["revision"],
            producer_id=row["producer_id"],
            events_pending=row["events_pending"],
            journal_bytes=row["journal_bytes"],
            is_leader=row["is_leader"],
        ),
        silent_seconds=max(0.0, row["silent_seconds"]),
    )
