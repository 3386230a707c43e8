"""Upstreams that say what a script says, byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tallystick.providers.destination import Destination, Origin
from tallystick.providers.http_connection import HTTPConnection

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = "sk-never-show-this"
HEADERS = {"authorization": f"Bearer {SECRET}"}


@asynccontextmanager
async def upstream(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Destination]:
    """Serve each connection with the script, on a free port of loopback."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    try:
        scheme = "https" if tls else "http"
        yield Destination(f"{scheme}://127.0.0.1:{port}/v1/chat/completions?api-key={SECRET}", HEADERS)
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def answering(raw: bytes) -> Script:
    """Answer every request on a connection with these bytes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(raw)
            await writer.drain()

    return script


def then(raw: bytes, *, reset: bool = False, hang: bool = False) -> Script:
    """Answer with these bytes, then close, reset or say nothing more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(raw)
        await writer.drain()
        if hang:
            await reader.read()
        if reset:
            writer.transport.abort()

    return script


def plain(body: bytes, status: str = "200 OK", content_type: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def chunked(*parts: bytes, content_type: str = "text/event-stream", end: bool = True) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


class Wire(asyncio.Transport):
    """A transport without a network: keeps what is written, and takes everything at once or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.unsent_bytes = 0
        self.reading = True
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakeDialer:
    """Opens Wires; each takes as many turns of the loop as it is told, or fails."""

    def __init__(self) -> None:
        self.opened: list[HTTPConnection] = []
        self.turns = 1
        self.failure: Exception | None = None
        self.dead_on_arrival = False

    async def dial(self, origin: Origin, protocol: Callable[[], HTTPConnection], *, deadline: float) -> HTTPConnection:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        connection = protocol()
        connection.connection_made(LosingWire(connection))
        self.opened.append(connection)
        if self.dead_on_arrival:
            connection.connection_lost(None)
        return connection


class LosingWire(Wire):
    """Tells its protocol that it is closed in the loop's next turn, as real ones do."""

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__()
        self._connection = connection

    def abort(self) -> None:
        super().abort()
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)
