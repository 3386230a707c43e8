"""The transport with many calls at once, large bodies and slow peers: nobody ever gets another's answer."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from tallystick.errors import UpstreamError, UpstreamUnreachable
from tallystick.providers.destination import Destination, Origin
from tallystick.providers.http_connection import HTTPConnection
from tallystick.providers.http_dial import Dialer
from tallystick.providers.transport import RawAnswer, Transport
from unit.providers.wires import FakeDialer, Script, answering, chunked, plain, read_request, upstream


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.aclose()


async def send(transport: Transport, destination: Destination, body: bytes = b"{}", **options: object) -> RawAnswer:
    arguments = {"timeout_seconds": 30.0} | options
    return await transport.send("POST", destination, body, **arguments)  # type: ignore[arg-type]


def counting(script: Script) -> tuple[Script, list[int]]:
    """The script, and how many connections it has been given."""
    connections = [0]

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        await script(reader, writer)

    return counted, connections


def echoing(chance: random.Random) -> Script:
    """Answers with what was asked, in any framing, sometimes late, sometimes not at all, sometimes with more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            kind = chance.random()
            if kind < 0.05:
                writer.transport.abort()
                return
            raw = chance.choice([plain(body), chunked(body[:5], body[5:]), plain(body, content_type="text/plain")])
            cut = chance.randrange(len(raw))
            writer.write(raw[:cut])
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003]))
            writer.write(raw[cut:])
            if kind < 0.15:
                writer.write(plain(b"another's answer"))
            if kind < 0.25:
                return

    return script


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_gets_a_wrong_answer(seed: int) -> None:
    chance = random.Random(seed)
    transport = Transport(connections_max=40, connections_per_host_max=30)
    right = failed = cancelled = 0

    async def call(destination: Destination, number: int) -> None:
        nonlocal right, failed
        own = b"question %d " % number + b"x" * chance.choice([1, 1, 1, 5000, 400_000])
        try:
            answer = await send(transport, destination, own, stream=chance.random() < 0.5)
            received = answer.body
            if answer.chunks is not None:
                async for chunk in answer.chunks:
                    received += chunk
                    assert own.startswith(received)
                    if chance.random() < 0.1:
                        await answer.chunks.aclose()
                        return
        except UpstreamError:
            failed += 1
            return
        finally:
            if "answer" in locals() and answer.chunks is not None:
                await answer.chunks.aclose()
        assert received == own
        right += 1

    async with upstream(echoing(chance)) as first, upstream(echoing(chance)) as second:
        for _ in range(4):
            calls = [asyncio.ensure_future(call(chance.choice([first, second]), n)) for n in range(200)]
            for task in calls:
                if chance.random() < 0.3:
                    asyncio.get_running_loop().call_later(chance.random() * 0.05, task.cancel)
            await asyncio.wait(calls)
            for task in calls:
                cancelled += task.cancelled()
                if not task.cancelled():
                    task.result()
        pool = transport._pool
        assert pool is not None
        for _ in range(10):
            await asyncio.sleep(0)
        assert pool._waiting == 0
        assert pool._slots == len(pool._connections) == sum(len(host.idle) for host in pool._hosts.values())
        await transport.aclose()
    assert min(right, failed, cancelled) > 10


async def test_a_large_body_goes_out_whole(transport: Transport) -> None:
    body = random.Random(1).randbytes(30_000_000)
    checksums: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            checksums.append(zlib.crc32((await read_request(reader))[1]))
            writer.write(plain(b"{}"))

    counted, connections = counting(script)
    async with upstream(counted) as destination:
        for _ in range(2):
            assert (await send(transport, destination, body)).body == b"{}"
    assert checksums == [zlib.crc32(body)] * 2
    assert connections == [1]


@pytest.mark.parametrize("ending", ["close", "half", "reads on", "hangs"])
async def test_an_early_refusal_is_heard(transport: Transport, ending: str) -> None:
    """A server may refuse a large body before it has all come, and read on or not."""
    raw = plain(b'{"error": "too large"}', "413 Content Too Large", more="Connection: close\r\n")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(100_000)
        writer.write(raw)
        await writer.drain()
        if ending == "half":
            writer.write_eof()
        if ending != "close":
            while ending == "reads on" and await reader.read(1 << 20):
                pass
            await asyncio.sleep(60)
        await asyncio.sleep(0.05)  # What is closed with bytes unread is reset, and the answer is lost on the way.

    async with upstream(script) as destination:
        answer = await send(transport, destination, b"x" * 50_000_000, timeout_seconds=10)
        assert (answer.status, answer.body) == (413, b'{"error": "too large"}')


async def test_a_peer_that_does_not_read_is_timed(transport: Transport) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with upstream(script) as destination:
        with pytest.raises(UpstreamError, match="did not answer in time"):
            await send(transport, destination, b"x" * 50_000_000, timeout_seconds=0.2)


async def test_a_stream_waits_for_its_reader(transport: Transport) -> None:
    part, parts = b"x" * 100_000, 300
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(chunked(end=False))
        for _ in range(parts):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            sent += len(part)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with upstream(script) as destination:
        answer = await send(transport, destination, stream=True)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < len(part) * parts / 2  # The rest waits at the other end.
        assert answer.chunks is not None
        assert sum([len(chunk) async for chunk in answer.chunks]) == len(part) * parts


@pytest.mark.parametrize("apart", [False, True])
async def test_a_stream_left_at_its_last_event_gives_its_connection_back(transport: Transport, apart: bool) -> None:
    events = chunked(b"data: 1\n\n", b"data: [DONE]\n\n", end=False)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(events if apart else events + b"0\r\n\r\n")
            if apart:
                await writer.drain()
                writer.write(b"0\r\n\r\n")

    counted, connections = counting(script)
    async with upstream(counted) as destination:
        for _ in range(5):
            answer = await send(transport, destination, stream=True)
            assert answer.chunks is not None
            received = b""
            while not received.endswith(b"[DONE]\n\n"):
                received += await anext(aiter(answer.chunks))
            await answer.chunks.aclose()
            await answer.chunks.aclose()
            assert await anext(aiter(answer.chunks), None) is None
    assert connections == [1]


async def test_the_end_that_comes_while_a_stream_is_closed_is_still_read(transport: Transport) -> None:
    destination = Destination("http://h/", {})
    transport._open()
    assert transport._pool is not None
    dialer = FakeDialer()
    transport._pool._dialer = dialer  # type: ignore[assignment]
    for _ in range(2):
        call = asyncio.ensure_future(send(transport, destination, stream=True))
        for _ in range(5):
            await asyncio.sleep(0)
        connection = dialer.opened[0]
        connection.data_received(chunked(b"data: [DONE]\n\n", end=False))
        answer = await call
        assert answer.chunks is not None
        assert await anext(aiter(answer.chunks)) == b"data: [DONE]\n\n"
        asyncio.get_running_loop().call_soon(connection.data_received, b"0\r\n\r\n")
        await answer.chunks.aclose()
    assert len(dialer.opened) == 1
    assert connection.is_usable


async def test_a_peer_that_closes_idle_connections(transport: Transport) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(plain(b"{}"))

    counted, connections = counting(script)
    async with upstream(counted) as destination:
        for _ in range(5):
            assert (await send(transport, destination)).body == b"{}"
            await asyncio.sleep(0.02)
    assert connections == [5]


@pytest.mark.parametrize("cut", [False, True])
async def test_a_compressed_stream(transport: Transport, cut: bool) -> None:
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b"data: %d\n\n" % n) + packer.flush(zlib.Z_SYNC_FLUSH) for n in range(3)]
    raw = chunked(*parts, b"" if cut else packer.flush()).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
    raw = raw.replace(b"0\r\n\r\n0\r\n\r\n", b"0\r\n\r\n")
    async with upstream(answering(raw)) as destination:
        answer = await send(transport, destination, stream=True)
        assert answer.chunks is not None
        received = b""
        with pytest.raises(UpstreamError, match="compression has no end") if cut else nullcontext():
            async for chunk in answer.chunks:
                received += chunk
        assert received == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_an_error_in_an_unknown_compression_keeps_its_status(transport: Transport) -> None:
    async with upstream(answering(plain(b"??", "429 Slow", more="Content-Encoding: br\r\n"))) as destination:
        answer = await send(transport, destination)
        assert (answer.status, answer.body) == (429, b"")


async def test_a_name_with_dead_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address that works is enough; names are asked for again only when they failed or got old."""
    loop = asyncio.get_running_loop()
    addresses: list[object] = []
    asked: list[object] = []

    async def getaddrinfo(host: str, port: int, **options: object) -> list[object]:
        asked.append(host)
        return list(addresses)

    async def dial() -> HTTPConnection:
        return await dialer.dial(origin, new_connection, deadline=loop.time() + 9)

    def new_connection() -> HTTPConnection:
        return HTTPConnection(origin, body_bytes_max=9, error_bytes_max=9, on_lost=lambda lost: None)

    dialer, origin = Dialer(connect_timeout_seconds=9), Origin("http", "some.invalid", 1)
    addresses = [*await loop.getaddrinfo("::1", 1, type=1), *await loop.getaddrinfo("127.0.0.1", 1, type=1)]
    monkeypatch.setattr("tallystick.providers.http_dial.asyncio", _Asyncio(_Loop(loop, getaddrinfo)))
    for _ in range(2):
        with pytest.raises(OSError, match="Connect call failed"):
            await dial()
    assert len(asked) == 2
    async with upstream(answering(plain(b"{}"))) as destination:
        addresses += await loop.getaddrinfo("127.0.0.1", destination.origin.port, type=1)
        for connection in await asyncio.gather(dial(), dial(), dial()):
            assert connection.is_usable
            connection.abort()
        await asyncio.sleep(0.01)
    assert len(asked) == 3


class _Asyncio:
    """The asyncio module, with another running loop."""

    def __init__(self, loop: _Loop) -> None:
        self.get_running_loop = lambda: loop

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)


class _Loop:
    """The running loop, with other addresses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, addresses: object) -> None:
        self._loop = loop
        self.getaddrinfo = addresses

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


async def test_a_closed_transport_opens_again(transport: Transport) -> None:
    async with upstream(answering(plain(b"{}"))) as destination:
        for _ in range(2):
            assert (await send(transport, destination)).body == b"{}"
            await transport.aclose()


async def test_closing_ends_calls(transport: Transport) -> None:
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()

    async with upstream(script) as destination:
        call = asyncio.ensure_future(send(transport, destination))
        await asked.wait()
        await transport.aclose()
        with pytest.raises(UpstreamUnreachable):
            await call
