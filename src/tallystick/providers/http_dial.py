"""Opening connections: names to addresses, addresses to sockets, sockets to TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from itertools import chain, zip_longest

from tallystick.providers.destination import Origin
from tallystick.providers.http_connection import HTTPConnection

_ADDRESS_SECONDS = 30.0
_ADDRESSES_MAX = 1024  # Origins whose addresses are remembered.
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: how long the next address waits for the one before it.
_TCP_IDLE_SECONDS = 60  # A network on the way may forget connections that are silent for some minutes.

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class PrivateAddress(OSError):
    """Every address of a name is one that may not be dialled."""


class Dialer:
    """Opens connections. Remembers addresses for half a minute, and asks once when many want the same."""

    def __init__(self, *, connect_timeout_seconds: float, may_dial: Callable[[str], bool] | None = None) -> None:
        """`may_dial` is asked for each address that a name has, just before it is dialled; None: any may be."""
        self._connect_timeout_seconds = connect_timeout_seconds
        self._may_dial = may_dial
        self._names: dict[Origin, _Name] = {}
        self._tls: ssl.SSLContext | None = None

    async def dial(self, origin: Origin, protocol: Callable[[], HTTPConnection], *, deadline: float) -> HTTPConnection:
        """Return an open connection. Raises TimeoutError at the deadline or the limit for connecting, else OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_timeout_seconds)):
            name = self._name(origin)
            try:
                opened = await _first_socket(self._allowed(await name.addresses()))
            except OSError:
                name.forget()
                raise
            is_tls = origin.scheme == "https"
            try:
                _, connection = await loop.create_connection(
                    protocol,
                    sock=opened,
                    ssl=self._tls_context() if is_tls else None,
                    server_hostname=origin.host if is_tls else None,
                )
            except BaseException:
                opened.close()
                raise
            return connection

    def _allowed(self, addresses: list[_Address]) -> list[_Address]:
        """Leave out what may not be dialled: no name leads there, whatever it led to when it was looked at before."""
        if self._may_dial is None:
            return addresses
        allowed = [address for address in addresses if self._may_dial(str(address[1][0]))]
        if not allowed:
            raise PrivateAddress("the name leads to no public address")
        return allowed

    def _name(self, origin: Origin) -> _Name:
        name = self._names.get(origin)
        if name is None:
            if len(self._names) >= _ADDRESSES_MAX:
                self._names.clear()
            name = self._names[origin] = _Name(origin)
        return name

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


class _Name:
    """The addresses of one origin."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._lock = asyncio.Lock()
        self._found: list[_Address] = []
        self._found_at = 0.0

    async def addresses(self) -> list[_Address]:
        loop = asyncio.get_running_loop()
        async with self._lock:
            if not self._found or loop.time() - self._found_at > _ADDRESS_SECONDS:
                answers = await loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
                self._found = _interleaved([(family, address) for family, _, _, _, address in answers])
                self._found_at = loop.time()
            return self._found

    def forget(self) -> None:
        self._found = []


def _interleaved(addresses: list[_Address]) -> list[_Address]:
    """Take turns between the families, in the resolver's order, so that one family's outage costs one try."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


async def _first_socket(addresses: list[_Address]) -> socket.socket:
    """Connect to one address after another, a quarter second apart, and keep the first that answers."""
    if len(addresses) == 1:
        return await _connect(addresses[0])
    attempts: set[asyncio.Task[socket.socket]] = set()
    winner: socket.socket | None = None
    try:
        winner = await _race(list(addresses), attempts)
    finally:
        try:
            await _give_up(attempts)
        except BaseException:
            if winner is not None:
                winner.close()
            raise
    return winner


async def _race(waiting: list[_Address], attempts: set[asyncio.Task[socket.socket]]) -> socket.socket:
    failure: BaseException | None = None
    while waiting or attempts:
        if waiting:
            attempts.add(asyncio.create_task(_connect(waiting.pop(0))))
        pause = _NEXT_ADDRESS_SECONDS if waiting else None
        done, _ = await asyncio.wait(attempts, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            attempts.discard(attempt)
            error = attempt.exception()
            if error is None:
                attempts |= done - {attempt}
                return attempt.result()
            failure = failure or error
    raise failure or OSError("the name has no address")


async def _give_up(attempts: set[asyncio.Task[socket.socket]]) -> None:
    for task in attempts:
        task.cancel()
    for result in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()


async def _connect(address: _Address) -> socket.socket:
    opened = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _TCP_IDLE_SECONDS)
        await asyncio.get_running_loop().sock_connect(opened, address[1])
    except BaseException:
        opened.close()
        raise
    return opened
