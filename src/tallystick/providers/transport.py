"""HTTP to the upstreams: one request, one answer, and the errors that routing knows.

Nothing is sent twice from here: a provider may have billed a request whose answer was lost, so that trying again is
a decision of routing.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.base import ClosableStream
from tallystick.providers.destination import Destination, Origin
from tallystick.providers.http_connection import HTTPConnection
from tallystick.providers.http_content import Inflater, OversizedAnswer, inflate_body, inflater
from tallystick.providers.http_dial import Dialer, PrivateAddress
from tallystick.providers.http_pool import ConnectionPool

ERROR_BYTES_MAX = 1024 * 1024
"""More of an error's body is cut off."""


class RawAnswer:
    """An answer of any status: `body` when it is whole, `chunks` when it is a stream that goes on.

    Names in `headers` are in lower case.
    """

    __slots__ = ("body", "chunks", "content_type", "headers", "status")

    def __init__(self, *, status: int, headers: Mapping[str, str], body: bytes, chunks: ClosableStream | None) -> None:
        self.status = status
        self.headers = headers
        self.content_type = headers.get("content-type", "")
        self.body = body
        self.chunks = chunks


class Transport:
    """Connections to all upstreams, kept alive and counted. Opens on the first request; close it when done."""

    def __init__(
        self,
        *,
        connections_max: int = 1000,
        connections_per_host_max: int = 1000,
        keep_alive_seconds: float = 15.0,
        connect_timeout_seconds: float = 10.0,
        body_bytes_max: int = 256 * 1024 * 1024,
        may_dial: Callable[[str], bool] | None = None,
    ) -> None:
        """`may_dial` says which addresses may be dialled; None: any."""
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._keep_alive_seconds = keep_alive_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._body_bytes_max = body_bytes_max
        self._may_dial = may_dial
        self._pool: ConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop

    async def send(
        self,
        method: str,
        destination: Destination,
        body: bytes,
        *,
        timeout_seconds: float,
        stream: bool = False,
        stream_idle_seconds: float = 600.0,
    ) -> RawAnswer:
        """Send one request and return its answer: with its whole body, or, for a stream, from its first byte on.

        An error status and a JSON answer are never streams. Raises UpstreamUnreachable when no answer began,
        UpstreamTimeout, and UpstreamGarbled when an answer broke off, is too large or is no HTTP. The time includes
        the waiting for a connection. Methods whose answers have no body by themselves (HEAD, CONNECT) are not for here.
        """
        pool = self._pool or self._open()
        now = self._loop.time()
        deadline = now + timeout_seconds
        origin = destination.origin
        connection = pool.take_idle(origin, now=now) or await _connect(pool, origin, deadline)
        try:
            connection.ask(b"%b%b%d\r\n\r\n" % (method.encode(), destination.head, len(body)), body, stream=stream)
            await connection.progress(deadline)
            status, headers = connection.status, connection.headers
            encoding = headers.get("content-encoding")
            if connection.streamed:
                undo = None if encoding is None else inflater(encoding)
                chunks = _Chunks(connection, pool, undo, idle_seconds=stream_idle_seconds)
                return RawAnswer(status=status, headers=headers, body=b"", chunks=chunks)
            whole = connection.take()
        except BaseException as error:
            pool.discard(connection)
            if isinstance(error, (OSError, ValueError)):
                raise _translate(error, origin, answer_began=connection.answer_began) from error
            raise
        pool.release(connection)
        if status >= 400:
            whole = whole[:ERROR_BYTES_MAX]
        if encoding is not None:
            whole = await self._inflate(whole, encoding, origin, is_error=status >= 400)
        return RawAnswer(status=status, headers=headers, body=whole, chunks=None)

    async def aclose(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def _open(self) -> ConnectionPool:
        self._loop = asyncio.get_running_loop()
        self._pool = ConnectionPool(
            dialer=Dialer(connect_timeout_seconds=self._connect_timeout_seconds, may_dial=self._may_dial),
            connections_max=self._connections_max,
            connections_per_host_max=self._connections_per_host_max,
            keep_alive_seconds=self._keep_alive_seconds,
            body_bytes_max=self._body_bytes_max,
            error_bytes_max=ERROR_BYTES_MAX,
        )
        return self._pool

    async def _inflate(self, body: bytes, encoding: str, origin: Origin, *, is_error: bool) -> bytes:
        """Undo a compression that nobody asked for. Of an error that can't be read, the status is kept."""
        limit = ERROR_BYTES_MAX if is_error else self._body_bytes_max
        try:
            return await inflate_body(body, encoding, bytes_max=limit, is_error=is_error)
        except ValueError as error:
            if is_error:
                return b""
            raise _translate(error, origin, answer_began=True) from error


class _Chunks:
    """The body of an answer as a ClosableStream. Its connection goes back as soon as the last of it is taken."""

    __slots__ = ("_connection", "_idle_seconds", "_inflater", "_loop", "_origin", "_pool", "_steps")

    def __init__(
        self, connection: HTTPConnection, pool: ConnectionPool, undo: Inflater | None, *, idle_seconds: float
    ) -> None:
        self._connection: HTTPConnection | None = connection
        self._origin = connection.origin
        self._pool = pool
        self._inflater = undo
        self._steps: Iterator[bytes] = iter(())
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await (self._received() if self._inflater is None else self._inflated(self._inflater))
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        self._steps = iter(())
        if connection is None:
            return
        try:
            # Readers stop at the last event. The end behind it is often here, and has only not been read.
            for _ in range(2):
                if not connection.over:
                    await asyncio.sleep(0)
        finally:
            connection.take()
            self._pool.release(connection)

    async def _received(self) -> bytes:
        """Return what has come, b'' at the end."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            await connection.progress(self._loop.time() + self._idle_seconds)
        except (OSError, ValueError) as error:
            self._give_up()
            raise _translate(error, self._origin, answer_began=True) from error
        chunk = connection.take()
        if connection.over and not connection.has_failed:
            self._connection = None
            self._pool.release(connection)
        return chunk

    async def _inflated(self, undo: Inflater) -> bytes:
        try:
            while not (step := next(self._steps, b"")):
                chunk = await self._received()
                if not chunk:
                    undo.end()
                    return b""
                self._steps = undo.steps(chunk)
        except ValueError as error:
            self._give_up()
            raise _translate(error, self._origin, answer_began=True) from error
        return step

    def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        self._steps = iter(())
        if connection is not None:
            self._pool.discard(connection)


async def _connect(pool: ConnectionPool, origin: Origin, deadline: float) -> HTTPConnection:
    try:
        return await pool.connect(origin, deadline=deadline)
    except TimeoutError as error:
        raise UpstreamUnreachable(f"{origin} gave no connection in time.") from error
    except (OSError, ValueError) as error:
        raise UpstreamUnreachable(f"{origin} could not be reached: {_reason(error)}.") from error


def _translate(error: OSError | ValueError, origin: Origin, *, answer_began: bool) -> UpstreamError:
    """Say what happened in our terms. Only the origin is named: a URL or a header may hold a key."""
    if isinstance(error, TimeoutError):
        what = "paused too long in its answer" if answer_began else "did not answer in time"
        return UpstreamTimeout(f"{origin} {what}.")
    if isinstance(error, OversizedAnswer):
        return UpstreamGarbled(f"The upstream's answer is larger than {error.bytes_max} bytes.")
    if isinstance(error, OSError):
        if answer_began:
            return UpstreamGarbled(f"{origin} broke off in the middle of its answer ({type(error).__name__}).")
        return UpstreamUnreachable(f"{origin} could not be reached: {_reason(error)}.")
    return UpstreamGarbled(f"{origin} did not answer in HTTP as it should: {error}.")


def _reason(error: Exception) -> str:
    if isinstance(error, PrivateAddress):
        return "it has no public address, and others are not called (allow_private_pass_through_targets)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # Without the address that asyncio puts in its place.
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
