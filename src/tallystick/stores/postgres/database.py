"""The connection to PostgreSQL: made at first use, migrated, pooled, and made again after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
import structlog

from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.stores.postgres.connection import Connection, DirectConnection
from tallystick.stores.postgres.errors import translated
from tallystick.stores.postgres.migrator import Migrator
from tallystick.stores.postgres.passwords import PasswordSource
from tallystick.stores.sql import load_queries

Isolation = Literal["read_committed", "repeatable_read"]

STATEMENTS_CACHED = 256
_WAITING_MAX = 1_000
_CONNECT_SECONDS_LEAST = 0.001
_log = structlog.get_logger(__name__)


class PostgresDatabase:
    """One database. Nothing happens at construction: the first use connects and migrates.

    While the database is away every use raises StoreUnavailable: within `connect_timeout_seconds` of its turn, for
    which it waits `pool_timeout_seconds` at most, and only 1,000 wait at once. As soon as the database is back the next
    use succeeds. `statement_cache_size=0` is for PgBouncer in transaction mode: no prepared statements and no session
    settings are left on a connection. `passwords` go before the password of the URL.
    `read_only` is for a standby: it is not migrated, and nobody listens, which a standby does not allow.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        pool_size_max: int = 10,
        connect_timeout_seconds: float = 5.0,
        pool_timeout_seconds: float = 60.0,
        idle_seconds_max: float = 60.0,
        statement_timeout_seconds: float = 30.0,
        migration_timeout_seconds: float = 600.0,
        statement_cache_size: int = STATEMENTS_CACHED,
        auto_migrate: bool = True,
        passwords: PasswordSource | None = None,
        read_only: bool = False,
    ) -> None:
        self.clock = clock
        self.queries = load_queries("tallystick.stores.postgres")
        self.uses_succeeded = 0
        """How many uses of a lent connection have ended well: while it grows, the database is there."""
        self._url = url
        self._pool_size_max = pool_size_max
        self._connect_timeout_seconds = connect_timeout_seconds
        self._pool_timeout_seconds = pool_timeout_seconds
        self._idle_seconds_max = idle_seconds_max
        self._users = 0
        self._statement_timeout_seconds = statement_timeout_seconds
        self._statement_cache_size = statement_cache_size
        self._auto_migrate = auto_migrate and not read_only
        self.is_read_only = read_only
        self._passwords = passwords
        self._migrator = Migrator(clock=clock, queries=self.queries, timeout_seconds=migration_timeout_seconds)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._direct: set[DirectConnection] = set()
        self._is_ready = False
        self._is_closed = False

    @property
    def keeps_sessions(self) -> bool:
        """Whether a connection is a session of its own, in which one may listen."""
        return self._statement_cache_size > 0 and not self.is_read_only

    @property
    def is_busy(self) -> bool:
        """Whether all connections that there may be are lent, so that the next use has to wait for its turn."""
        pool = self._pool
        return pool is not None and pool.get_size() - pool.get_idle_size() >= self._pool_size_max

    async def ping(self) -> None:
        """Prove that the database answers. Raises StoreUnavailable."""
        async with self.connection() as connection:
            await connection.fetchval(self.queries["ping"])

    async def migrate(self) -> tuple[int, ...]:
        """Bring the schema up to date whatever `auto_migrate` says; return the versions applied now.

        Any number may run at once: they wait for each other. Raises MigrationFailed, StoreUnavailable.
        """
        with translated():
            pool = await self._connected_pool()
            async with pool.acquire(timeout=self._pool_timeout_seconds) as connection:
                return await self._migrator.migrate(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection to a migrated database; errors inside come out as ours."""
        if self._users >= self._pool_size_max + _WAITING_MAX:
            raise StoreUnavailable("Too many wait for a connection to PostgreSQL.")
        self._users += 1
        try:
            with translated():
                await self._ready()
                assert self._pool is not None, "ready means that there is a pool"
                async with self._pool.acquire(timeout=self._pool_timeout_seconds) as connection:
                    yield connection
            self.uses_succeeded += 1
        except StoreUnavailable as error:
            await self._recover_from(error.__cause__)
            raise
        finally:
            self._users -= 1

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back by an exception."""
        async with self.connection() as connection, connection.transaction(isolation=isolation, readonly=readonly):
            yield connection

    async def open_direct(self) -> DirectConnection:
        """Return a connection apart from the pool; it is closed with the database. Raises StoreUnavailable."""
        with translated():
            await self._ready()
            connection = await self._connect(
                self._url,
                timeout=self._connect_timeout_seconds,
                command_timeout=self._statement_timeout_seconds,
                server_settings=self._server_settings(),
            )
        if self._is_closed:
            connection.terminate()
            raise StoreUnavailable("The connection to PostgreSQL has been closed.")
        self._direct.add(connection)
        connection.add_termination_listener(self._direct.discard)
        return connection

    async def close(self) -> None:
        """Close all connections; the database can't be used afterwards."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for connection in tuple(self._direct):
            connection.terminate()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(self._connect_timeout_seconds):
                    await pool.close()
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    async def _ready(self) -> None:
        """Connect and migrate once, however many ask at the same time; all of them share one result."""
        if self._is_closed:
            raise StoreUnavailable("The connection to PostgreSQL has been closed.")
        if self._is_ready:
            return
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        # One that stops waiting must not take the attempt away from the others.
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        pool = await self._connected_pool()
        async with pool.acquire(timeout=self._pool_timeout_seconds) as connection:
            if self._auto_migrate:
                await self._migrator.migrate(connection)
            else:
                await self._migrator.check(connection)
        self._is_ready = True

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is not None:
            _log.warning("postgres_open_failed", error=type(opening.exception()).__name__)

    async def _connected_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._pool is None:
            # A pool of no connections: it is made without the network, and each connection when it is needed.
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._pool_size_max,
                max_inactive_connection_lifetime=self._idle_seconds_max,
                timeout=self._connect_timeout_seconds,
                command_timeout=self._statement_timeout_seconds,
                statement_cache_size=self._statement_cache_size,
                server_settings=self._server_settings(),
                reset=_keep_session,
                connect=self._connect,
            )
        return self._pool

    async def _connect(self, *arguments: Any, **options: Any) -> DirectConnection:  # Any: asyncpg's own, passed on.
        """Open a connection, with a password that is good now; one that the server refuses is fetched anew once.

        All of that together takes no longer than `connect_timeout_seconds`.
        """
        if self._passwords is None:
            return await asyncpg.connect(*arguments, **options)
        deadline = asyncio.get_running_loop().time() + self._connect_timeout_seconds
        try:
            return await self._log_in(self._passwords, deadline, arguments, options)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return await self._log_in(self._passwords, deadline, arguments, options)

    async def _log_in(
        self,
        passwords: PasswordSource,
        deadline: float,
        arguments: tuple[Any, ...],  # Any: as above.
        options: dict[str, Any],
    ) -> DirectConnection:
        time = asyncio.get_running_loop().time
        password = await passwords.password(seconds_max=max(0.0, deadline - time()))
        seconds_left = max(_CONNECT_SECONDS_LEAST, deadline - time())
        try:
            connection: DirectConnection = await asyncpg.connect(
                *arguments, **{**options, "timeout": seconds_left, "password": password}
            )
        except asyncpg.InvalidAuthorizationSpecificationError:
            passwords.refuse(password)
            raise
        passwords.accept(password)
        return connection

    def _server_settings(self) -> dict[str, str]:
        settings = {"application_name": "tallystick"}
        if self._statement_cache_size > 0:
            milliseconds = str(round(self._statement_timeout_seconds * 1000))
            settings |= {
                # Someone who was suspended in the middle of a commit must not hold everybody's rows.
                "idle_in_transaction_session_timeout": milliseconds,
                # Planning for the values at hand is what finds the partitions and the index of a filter; it is cheap
                # against what our statements do. They are short, so compiling them is not worth it.
                "plan_cache_mode": "force_custom_plan",
                "jit": "off",
            }
        return settings

    async def _recover_from(self, cause: BaseException | None) -> None:
        """Give up what an outage has made stale."""
        if isinstance(cause, asyncpg.UndefinedTableError):
            self._is_ready = False  # Someone has put another database in this one's place: migrate it at next use.
        is_standby = isinstance(cause, asyncpg.ReadOnlySQLTransactionError)
        if is_standby and not self.is_read_only and self._pool is not None:
            await self._pool.expire_connections()  # After a failover they lead to the former primary.


async def _keep_session(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Replace asyncpg's reset, which costs a round trip: we set nothing but within a transaction."""
