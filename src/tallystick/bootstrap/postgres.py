"""PostgreSQL, opened as the settings say: the database, its read replica, and passwords that expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.bootstrap.passwords import Passwords, open_passwords
from tallystick.config.settings import Settings
from tallystick.runtime.clock import Clock

if TYPE_CHECKING:
    from tallystick.stores.postgres.database import PostgresDatabase
    from tallystick.stores.postgres.replica import ReplicatedAudit, ReplicatedReader

Loops = Mapping[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPostgres:
    """The database, and what reads from the replica where there is one. Nothing is connected before the first use."""

    database: PostgresDatabase
    replicated_reader: ReplicatedReader | None
    replicated_audit: ReplicatedAudit | None
    loops: Loops
    close: Callable[[], Awaitable[None]]


def open_postgres(settings: Settings, *, clock: Clock, on_replica_read: Callable[[str], None]) -> OpenedPostgres:
    """Return the database of `database_url` with its replica. Raises ConfigError, ImportError."""
    passwords = open_passwords(settings.database.login, url=settings.database_url, clock=clock)
    database = _database(settings, settings.database_url, clock, passwords, read_only=settings.read_only)
    url = settings.database_url_read_replica
    if url is None:
        return OpenedPostgres(
            database=database,
            replicated_reader=None,
            replicated_audit=None,
            loops=_loops(database_token=passwords),
            close=_closing((database,), passwords),
        )
    from tallystick.stores.postgres.replica import FreshReplica, ReplicaReads, ReplicatedAudit, ReplicatedReader

    replica_passwords = open_passwords(settings.database.login, url=url, clock=clock)
    replica = _database(settings, url, clock, replica_passwords, read_only=True)
    reads = ReplicaReads(clock=clock, on_read=on_replica_read)
    fresh = FreshReplica(
        primary=database,
        replica=replica,
        wait_seconds=settings.database.replica_wait_seconds,
        on_unchecked=reads.note_unchecked,
    )
    return OpenedPostgres(
        database=database,
        replicated_reader=ReplicatedReader(reads, replica=fresh, primary=database),
        replicated_audit=ReplicatedAudit(reads, replica=fresh, primary=database),
        loops=_loops(database_token=passwords, replica_token=replica_passwords),
        close=_closing((database, replica), passwords, replica_passwords),
    )


def _database(
    settings: Settings, url: str, clock: Clock, passwords: Passwords | None, *, read_only: bool
) -> PostgresDatabase:
    from tallystick.stores.postgres.database import STATEMENTS_CACHED, PostgresDatabase

    database = settings.database
    return PostgresDatabase(
        url,
        clock=clock,
        pool_size_max=settings.connections.pool_each,
        connect_timeout_seconds=database.connect_timeout_seconds,
        pool_timeout_seconds=database.pool_timeout_seconds,
        idle_seconds_max=database.idle_seconds_max,
        statement_timeout_seconds=database.statement_timeout_seconds,
        statement_cache_size=STATEMENTS_CACHED if database.statement_cache else 0,
        auto_migrate=database.auto_migrate,
        passwords=passwords.source if passwords else None,
        read_only=read_only,
    )


def _loops(**passwords: Passwords | None) -> Loops:
    return {name: each.keep_fresh for name, each in passwords.items() if each is not None}


def _closing(databases: tuple[PostgresDatabase, ...], *passwords: Passwords | None) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        for database in databases:
            await database.close()
        for each in passwords:
            if each is not None:
                await each.close()

    return close
