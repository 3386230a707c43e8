"""The instances that serve on an SQLite file: the workers of one machine."""

from __future__ import annotations

from datetime import datetime, timedelta

import apsw
import msgspec

from tallystick.runtime.instances import FORGOTTEN_SECONDS, Instance, SeenInstance
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row, fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")


class SqliteInstances:
    """Implements InstanceStore. The file has no clock: the time is this machine's, as it is for all who use it."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def beat(self, instance: Instance) -> None:
        """Note what an instance says now, and forget those not heard of for a day."""
        now = self._database.clock.now()
        said = msgspec.structs.asdict(instance) | {
            "started_at": microseconds(instance.started_at),
            "is_leader": int(instance.is_leader),
            "now": microseconds(now),
        }
        since = {"since": microseconds(now - timedelta(seconds=FORGOTTEN_SECONDS))}

        def work(connection: apsw.Connection) -> None:
            with immediate(connection):
                fetch(connection, _SQL["beat_instance"], said)
                fetch(connection, _SQL["forget_instances"], since)

        await self._database.write(work)

    async def leave(self, instance_id: str) -> None:
        """Forget an instance."""

        def work(connection: apsw.Connection) -> None:
            with immediate(connection):
                fetch(connection, _SQL["leave_instance"], {"instance_id": instance_id})

        await self._database.write(work)

    async def seen(self, *, limit: int) -> tuple[SeenInstance, ...]:
        """Return instances, those heard of last first."""

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["seen_instances"], {"limit": limit})

        rows = await self._database.read(work)
        return tuple(_seen_of(row, now=self._database.clock.now()) for row in rows)


def _seen_of(row: Row, *, now: datetime) -> SeenInstance:
    return SeenInstance(
        instance=Instance(
            instance_id=row[0],
            host=row[1],
            pid=row[2],
            version=row[3],
            started_at=moment_of(row[4]),
            revision=row[5],
            producer_id=row[6],
            events_pending=row[7],
            journal_bytes=row[8],
            is_leader=bool(row[9]),
        ),
        silent_seconds=max(0.0, (now - moment_of(row[10])).total_seconds()),
    )
