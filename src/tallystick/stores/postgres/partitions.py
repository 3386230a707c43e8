"""One partition of spend_events for each UTC day, made before its first event is written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, timedelta

import asyncpg
import structlog

from tallystick.errors import RowRefused
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase

DAYS_AHEAD = 3
# A call that began outside of these years is a broken clock's.
FIRST_YEAR = 1970
LAST_YEAR = 9998

_DAY = timedelta(days=1)
_PREFIX = "spend_events_"
_log = structlog.get_logger(__name__)


class EventPartitions:
    """Knows which days have their partition, so that a commit asks the database only about a new day."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._known: set[date] = set()

    async def ensure(self, days: Collection[date]) -> None:
        """Make the missing partitions of `days`.

        Raises RowRefused for a day that can't be, StoreUnavailable when one can't be made now.
        """
        for day in days:
            if not FIRST_YEAR <= day.year <= LAST_YEAR:
                raise RowRefused(f"PostgreSQL keeps no events of the year {day.year}.")
        needed = set(days) - self._known
        if needed:
            await self._create(needed)

    async def ensure_ahead(self) -> None:
        """Make the missing partitions of today and of the next days. Raises StoreUnavailable."""
        self.forget()
        today = self._database.clock.now().astimezone(UTC).date()
        await self._create({today + _DAY * ahead for ahead in range(DAYS_AHEAD + 1)})

    def forget(self) -> None:
        """Look again at next use: after an outage the database may be another one."""
        self._known.clear()

    async def _create(self, days: set[date]) -> None:
        queries = self._database.queries
        async with self._database.transaction() as connection:
            existing = await self._existing(connection)
            if not days <= existing:
                await connection.execute(queries["lock_event_partitions"])
                await connection.execute(queries["limit_lock_wait"])
                existing = await self._existing(connection)
            for day in sorted(days - existing):
                await self._create_one(connection, day)
        self._known |= days

    async def _create_one(self, connection: Connection, day: date) -> None:
        statement = self._database.queries["create_event_partition"].format(
            name=_name_of(day), first=day.isoformat(), until=(day + _DAY).isoformat()
        )
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except (asyncpg.DuplicateTableError, asyncpg.CheckViolationError):
            # Somebody has detached this day's partition, and kept the table or not. Late events of the day go to the
            # default one: they are safe there.
            _log.warning("partition_is_detached", day=day.isoformat())

    async def _existing(self, connection: Connection) -> set[date]:
        rows = await connection.fetch(self._database.queries["event_partitions"])
        return {day for row in rows if (day := day_of(row["relname"])) is not None}


def _name_of(day: date) -> str:
    return f"{_PREFIX}{day:%Y%m%d}"


def day_of(name: str) -> date | None:
    """Return the day whose partition has this name; None for another table's name."""
    digits = name.removeprefix(_PREFIX)
    if len(digits) != 8 or not digits.isdigit():
        return None
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
