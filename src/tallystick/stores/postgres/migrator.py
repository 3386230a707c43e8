"""Apply the numbered migrations to a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import structlog

from tallystick.errors import MigrationFailed
from tallystick.runtime.clock import Clock
from tallystick.stores.migrations import AppliedMigration, Migration, MigrationPlan, load_migrations, plan
from tallystick.stores.postgres.connection import Connection

_log = structlog.get_logger(__name__)

# What may happen to a migration without its being wrong: the server goes away, or somebody else's lock is in the way.
_PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


class Migrator:
    """Each migration runs in its own transaction, which begins by taking an advisory lock and looking again.

    So concurrent runs wait for each other, and the lock needs no session of its own (PgBouncer).
    """

    def __init__(self, *, clock: Clock, queries: Mapping[str, str], timeout_seconds: float) -> None:
        self._clock = clock
        self._queries = queries
        self._timeout_seconds = timeout_seconds
        self._known = load_migrations("tallystick.stores.postgres")

    async def migrate(self, connection: Connection) -> tuple[int, ...]:
        """Apply what is pending; return the versions applied by this call. Raises MigrationFailed."""
        versions: list[int] = []
        while (await self._plan(connection)).pending:
            version = await self._apply_next(connection)
            if version is not None:
                versions.append(version)
        return tuple(versions)

    async def check(self, connection: Connection) -> None:
        """Raise MigrationFailed unless the schema is up to date."""
        pending = (await self._plan(connection)).pending
        if pending:
            names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in pending)
            raise MigrationFailed(f"The database lacks the migrations {names}: run `tallystick migrate`.")

    async def _apply_next(self, connection: Connection) -> int | None:
        async with connection.transaction():
            await connection.execute(self._queries["lock_migrations"], timeout=self._timeout_seconds)
            await connection.execute(self._queries["create_migrations_table"])
            pending = (await self._plan(connection)).pending
            if not pending:
                return None  # Another run was faster.
            await self._apply(connection, pending[0])
            return pending[0].version

    async def _apply(self, connection: Connection, migration: Migration) -> None:
        try:
            await connection.execute(migration.statements, timeout=self._timeout_seconds)
        except _PASSING:
            raise
        except asyncpg.PostgresError as error:
            label = f"{migration.version:04d}_{migration.name}"
            raise MigrationFailed(f"Migration {label} failed and was rolled back: {error}") from error
        await connection.execute(
            self._queries["record_migration"],
            migration.version,
            migration.name,
            migration.checksum,
            self._clock.now(),
        )
        _log.info("migration_applied", version=migration.version, name=migration.name)

    async def _plan(self, connection: Connection) -> MigrationPlan:
        rows: list[asyncpg.Record] = []
        if await connection.fetchval(self._queries["applied_migrations_exist"]):
            rows = await connection.fetch(self._queries["applied_migrations"])
        result = plan(
            self._known,
            (AppliedMigration(version=row["version"], name=row["name"], checksum=row["checksum"]) for row in rows),
        )
        if result.newer:
            _log.warning("database_is_newer", versions=list(result.newer))
        return result
