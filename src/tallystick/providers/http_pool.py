"""The connections of one worker: kept alive, counted, and handed out in turn.

A connection is idle (in its host's `idle`), or in the hands of one call. Calls beyond a limit wait in line; whoever has
waited longest of those that can be served comes first. A slot is taken before connecting and is free again as soon as
its connection is given up or lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

from tallystick.providers.destination import Origin
from tallystick.providers.http_connection import HTTPConnection
from tallystick.providers.http_dial import Dialer

_Turn = asyncio.Future[HTTPConnection | None]  # A connection, or the right to open one.


@dataclass(slots=True, eq=False)
class _Host:
    slots: int = 0
    idle: dict[HTTPConnection, None] = field(default_factory=dict)  # Ordered: the one used last is the last.
    line: dict[_Turn, int] = field(default_factory=dict)  # Ordered: who waits longest is the first.


class ConnectionPool:
    """Connections to all origins, at most so many in all and so many to each. Belongs to one event loop."""

    def __init__(
        self,
        *,
        dialer: Dialer,
        connections_max: int,
        connections_per_host_max: int,
        keep_alive_seconds: float,
        body_bytes_max: int,
        error_bytes_max: int,
    ) -> None:
        self._dialer = dialer
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._keep_alive_seconds = keep_alive_seconds
        self._body_bytes_max = body_bytes_max
        self._error_bytes_max = error_bytes_max
        self._loop = asyncio.get_running_loop()
        self._hosts: dict[Origin, _Host] = {}
        self._connections: set[HTTPConnection] = set()
        self._slots = 0
        self._waiting = 0
        self._numbers = count()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def take_idle(self, origin: Origin, *, now: float) -> HTTPConnection | None:
        """Return the connection that was used last, if one is idle."""
        host = self._hosts.get(origin)
        while host is not None and host.idle:
            connection, _ = host.idle.popitem()
            if connection.is_usable and connection.idle_since + self._keep_alive_seconds > now:
                return connection
            self.discard(connection)
        return None

    async def connect(self, origin: Origin, *, deadline: float) -> HTTPConnection:
        """Return a connection, once it is this call's turn: a new one, or one that another call gave back.

        Raises TimeoutError when it is not to be had in time, and OSError.
        """
        while True:
            async with asyncio.timeout_at(deadline):
                given = await self._turn(origin)
            if given is None:
                return await self._open(origin, deadline=deadline)
            if given.is_usable:
                return given
            self.discard(given)

    def release(self, connection: HTTPConnection) -> None:
        """Take a connection back. It stays open if its exchange ended as it should."""
        if self._closed or not connection.is_usable or connection not in self._connections:
            self.discard(connection)
            return
        connection.idle_since = self._loop.time()
        self._hosts[connection.origin].idle[connection] = None
        self._serve_line()
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._keep_alive_seconds, self._close_expired)

    def discard(self, connection: HTTPConnection) -> None:
        """Close a connection, whatever state it is in."""
        connection.abort()
        self._lost(connection)

    async def aclose(self) -> None:
        """Close every connection; calls that use or wait for one fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for host in self._hosts.values():
            for turn in host.line:
                if not turn.done():
                    turn.set_exception(ConnectionAbortedError("the gateway is closing"))
        for connection in list(self._connections):
            connection.abort()
        for _ in range(2):
            await asyncio.sleep(0)  # The loop closes them behind this.

    # --- turns and slots

    async def _turn(self, origin: Origin) -> HTTPConnection | None:
        """Wait for a connection or, given as None, for a slot."""
        host = self._hosts.setdefault(origin, _Host())
        if self._closed:
            raise ConnectionAbortedError("the gateway is closing")
        if not host.line and self._has_slot(host):
            self._take_slot(host)
            return None
        turn: _Turn = self._loop.create_future()
        host.line[turn] = next(self._numbers)
        self._waiting += 1
        try:
            return await turn
        except BaseException:
            # It may have been given something in the very moment in which it gave up.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(origin, turn.result())
            raise
        finally:
            if host.line.pop(turn, None) is not None:
                self._waiting -= 1
                self._drop_if_empty(origin, host)

    def _give_back(self, origin: Origin, given: HTTPConnection | None) -> None:
        if given is None:
            self._free_slot(origin)
            self._serve_line()
        else:
            self.release(given)

    def _serve_line(self) -> None:
        while self._waiting and (host := self._next_host()) is not None:
            connection = host.idle.popitem()[0] if host.idle else None
            if connection is not None and not connection.is_usable:
                self._forget(connection)
                connection.abort()
                continue
            turn = next(iter(host.line))
            del host.line[turn]
            self._waiting -= 1
            if turn.done():  # Its call has just given up.
                if connection is not None:
                    host.idle[connection] = None
                continue
            if connection is None:
                self._take_slot(host)
            turn.set_result(connection)

    def _next_host(self) -> _Host | None:
        """The host whose first in line has waited longest, among those that can be served."""
        served = [host for host in self._hosts.values() if host.line and (host.idle or self._has_slot(host))]
        return min(served, key=lambda host: next(iter(host.line.values())), default=None)

    def _has_slot(self, host: _Host) -> bool:
        if host.slots >= self._connections_per_host_max:
            return False
        return self._slots < self._connections_max or any(other.idle for other in self._hosts.values())

    def _take_slot(self, host: _Host) -> None:
        host.slots += 1
        self._slots += 1
        if self._slots > self._connections_max:
            # What has been idle longest makes room.
            oldest = min((next(iter(other.idle)) for other in self._hosts.values() if other.idle), key=_idle_since)
            self._forget(oldest)
            oldest.abort()

    def _free_slot(self, origin: Origin) -> None:
        host = self._hosts[origin]
        host.slots -= 1
        self._slots -= 1
        self._drop_if_empty(origin, host)

    def _drop_if_empty(self, origin: Origin, host: _Host) -> None:
        if not host.slots and not host.line:
            self._hosts.pop(origin, None)

    # --- connections

    async def _open(self, origin: Origin, *, deadline: float) -> HTTPConnection:
        """Connect in a slot that is taken already."""
        try:
            connection = await self._dialer.dial(origin, lambda: self._new_connection(origin), deadline=deadline)
        except BaseException:
            self._free_slot(origin)
            self._serve_line()
            raise
        self._connections.add(connection)
        if self._closed or connection.closed:
            self.discard(connection)
            raise ConnectionResetError("closed as soon as it was open")
        return connection

    def _new_connection(self, origin: Origin) -> HTTPConnection:
        return HTTPConnection(
            origin,
            body_bytes_max=self._body_bytes_max,
            error_bytes_max=self._error_bytes_max,
            on_lost=self._lost,
        )

    def _lost(self, connection: HTTPConnection) -> None:
        if connection in self._connections:
            self._forget(connection)
            self._serve_line()

    def _forget(self, connection: HTTPConnection) -> None:
        self._connections.remove(connection)
        self._hosts[connection.origin].idle.pop(connection, None)
        self._free_slot(connection.origin)

    def _close_expired(self) -> None:
        """Close what has been idle for too long, and come again when the next one will have been."""
        self._sweep = None
        expired_before = self._loop.time() - self._keep_alive_seconds
        for host in list(self._hosts.values()):
            for connection in [one for one in host.idle if one.idle_since <= expired_before]:
                self.discard(connection)
        oldest = min((next(iter(host.idle)).idle_since for host in self._hosts.values() if host.idle), default=None)
        if oldest is not None:
            self._sweep = self._loop.call_at(oldest + self._keep_alive_seconds, self._close_expired)


def _idle_since(connection: HTTPConnection) -> float:
    return connection.idle_since
