"""Hear of changes as soon as they are committed: LISTEN, on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import structlog

from tallystick.errors import StoreUnavailable
from tallystick.stores.postgres.connection import DirectConnection
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.errors import translated

_CHANNEL = "tallystick_changes"
_SILENCE_SECONDS_MAX = 30.0
ANSWER_SECONDS_MAX = 2.0
_log = structlog.get_logger(__name__)


class ChangeListener:
    """Waits for notifications. A connection that broke is made again by the next wait, which lasts longer by that.

    Where sessions are not ours (PgBouncer in transaction mode, `statement_cache_size=0`) there is nothing to hear.
    """

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._clock = database.clock
        self._connection: DirectConnection | None = None
        self._connecting = asyncio.Lock()
        self._heard = asyncio.Event()
        self._alive_at = 0.0

    async def wait(self, *, timeout_seconds: float) -> None:
        """Return at the next notification since the last return, when the connection was lost, or after the timeout."""
        if self._database.keeps_sessions:
            await self._listen()
        hearing = asyncio.ensure_future(self._heard.wait())
        passing = asyncio.ensure_future(self._clock.sleep(timeout_seconds))
        try:
            await asyncio.wait((hearing, passing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
            passing.cancel()
            await asyncio.gather(hearing, passing, return_exceptions=True)
            self._heard.clear()

    async def _listen(self) -> None:
        async with self._connecting:
            try:
                await self._prove_alive()
                if self._connection is None:
                    self._connection = await self._connect()
                    # What was notified before we listened was not heard.
                    self._heard.set()
            except StoreUnavailable as error:
                _log.debug("change_listener_unavailable", reason=str(error))

    async def _connect(self) -> DirectConnection:
        connection = await self._database.open_direct()
        try:
            with translated():
                connection.add_termination_listener(self._lost)
                await connection.add_listener(_CHANNEL, self._notified)
        except BaseException:
            connection.terminate()
            raise
        self._alive_at = self._clock.monotonic()
        return connection

    async def _prove_alive(self) -> None:
        """Ask a connection that has been silent for long whether it is there: a broken one may not say so."""
        connection = self._connection
        if connection is None or self._clock.monotonic() - self._alive_at < _SILENCE_SECONDS_MAX:
            return
        try:
            with translated():
                await connection.fetchval(self._database.queries["ping"], timeout=ANSWER_SECONDS_MAX)
            self._alive_at = self._clock.monotonic()
        except StoreUnavailable:
            connection.terminate()
            self._connection = None
            raise

    # asyncpg calls these; its own types name the pool's proxy as well.

    def _notified(self, *_notification: Any) -> None:  # Any: connection, process, channel, payload.
        self._alive_at = self._clock.monotonic()
        self._heard.set()

    def _lost(self, connection: asyncpg.Connection[asyncpg.Record] | Any) -> None:  # Any: or the pool's proxy.
        if self._connection is connection:
            self._connection = None
        self._heard.set()
