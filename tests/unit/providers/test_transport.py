"""The transport against a real upstream on loopback that misbehaves on command."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.destination import Destination
from tallystick.providers.transport import ERROR_BYTES_MAX, RawAnswer, Transport
from unit.providers.wires import SECRET, Script, answering, chunked, plain, read_request, then, upstream


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(body_bytes_max=2_000_000)
    yield transport
    await transport.aclose()


async def send(transport: Transport, destination: Destination, body: bytes = b"{}", **options: object) -> RawAnswer:
    arguments = {"timeout_seconds": 30.0} | options
    return await transport.send("POST", destination, body, **arguments)  # type: ignore[arg-type]


async def read(answer: RawAnswer) -> bytes:
    assert answer.chunks is not None
    return b"".join([chunk async for chunk in answer.chunks])


async def test_a_plain_answer(transport: Transport) -> None:
    async with upstream(answering(plain(b'{"id": 1}', more="X-Request-Id: r\r\n"))) as destination:
        answer = await send(transport, destination)
        assert (answer.status, answer.body, answer.chunks) == (200, b'{"id": 1}', None)
        assert (answer.content_type, answer.headers["x-request-id"]) == ("application/json", "r")


async def test_the_request_is_what_was_asked_for(transport: Transport) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(plain(b"{}", more="Set-Cookie: a=b\r\n"))

    large = b'{"x":"' + b"y" * 3_000_000 + b'"}'
    async with upstream(script) as destination:
        await send(transport, destination, b'{"a":1}')
        await send(transport, destination, large)
    head = seen[0][0].lower()
    assert head.startswith(b"post /v1/chat/completions?api-key=")
    assert b"accept-encoding: identity\r\n" in head
    assert b"content-type: application/json\r\n" in head
    assert head.count(b"authorization:") == 1
    assert [body for _, body in seen] == [b'{"a":1}', large]
    assert b"cookie" not in seen[1][0].lower()


async def test_connections_are_kept(transport: Transport) -> None:
    connections = 0
    answer = answering(plain(b"{}"))

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answer(reader, writer)

    async with upstream(script) as destination:
        for _ in range(3):
            await send(transport, destination)
    assert connections == 1


async def test_a_stream_passes_its_bytes(transport: Transport) -> None:
    async with upstream(answering(chunked(b"data: 1\n\n", b"data: 2\n\n", b"x" * 300_000))) as destination:
        for _ in range(2):
            answer = await send(transport, destination, stream=True)
            assert (answer.status, answer.body) == (200, b"")
            assert await read(answer) == b"data: 1\n\ndata: 2\n\n" + b"x" * 300_000


async def test_an_empty_stream(transport: Transport) -> None:
    async with upstream(answering(chunked())) as destination:
        assert await read(await send(transport, destination, stream=True)) == b""


async def test_a_json_answer_to_a_stream_request_is_plain(transport: Transport) -> None:
    async with upstream(answering(plain(b'{"id": 1}'))) as destination:
        answer = await send(transport, destination, stream=True)
        assert (answer.body, answer.chunks) == (b'{"id": 1}', None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Internal Server Error", "302 Found"])
async def test_error_statuses_keep_their_body(transport: Transport, status: str, stream: bool) -> None:
    async with upstream(answering(plain(b"no", status, "text/plain"))) as destination:
        answer = await send(transport, destination, stream=stream)
        body = answer.body or await read(answer)
        assert (answer.status, body) == (int(status[:3]), b"no")


async def test_an_errors_body_is_cut(transport: Transport) -> None:
    async with upstream(answering(plain(b"x" * (ERROR_BYTES_MAX + 500_000), "500 No"))) as destination:
        assert (await send(transport, destination)).body == b"x" * ERROR_BYTES_MAX


async def test_a_compressed_answer_is_understood(transport: Transport) -> None:
    raw = plain(gzip.compress(b'{"id": 1}'), more="Content-Encoding: gzip\r\n")
    async with upstream(answering(raw)) as destination:
        assert (await send(transport, destination)).body == b'{"id": 1}'


async def fails(transport: Transport, script: Script, **options: object) -> UpstreamError:
    async with upstream(script) as destination:
        with pytest.raises(UpstreamError) as caught:
            await read(await send(transport, destination, **options))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is not None or isinstance(caught.value, UpstreamGarbled)
    return caught.value


@pytest.mark.parametrize("stream", [True, False])
async def test_no_answer_in_time(transport: Transport, stream: bool) -> None:
    for raw in (b"", b"HTTP/1.1 200 OK\r\n", chunked(end=False)):
        error = await fails(transport, then(raw, hang=True), timeout_seconds=0.05, stream=stream)
        assert isinstance(error, UpstreamTimeout)


async def test_a_plain_answer_that_drips_is_timed_as_a_whole(transport: Transport) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await asyncio.sleep(0.005)

    assert isinstance(await fails(transport, script, timeout_seconds=0.1), UpstreamTimeout)


async def test_a_stream_may_be_long_but_not_idle(transport: Transport) -> None:
    proceed = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(chunked(b"data: 1\n\n", end=False))
        await proceed.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n")
        await reader.read()

    async with upstream(script) as destination:
        answer = await send(transport, destination, stream=True, timeout_seconds=0.3, stream_idle_seconds=0.8)
        assert answer.chunks is not None
        chunks = aiter(answer.chunks)
        assert await anext(chunks) == b"data: 1\n\n"
        second = asyncio.ensure_future(anext(chunks))
        await asyncio.wait([second], timeout=0.4)  # Longer than the wait for the first byte.
        proceed.set()
        assert await second == b"data: 2\n\n"
        with pytest.raises(UpstreamTimeout, match="paused too long"):
            await anext(chunks)


async def test_refused(transport: Transport) -> None:
    async with upstream(answering(b"")) as destination:
        pass
    with pytest.raises(UpstreamUnreachable, match="Connection refused") as caught:
        await send(transport, destination)
    assert SECRET not in str(caught.value)


async def test_an_unknown_host(transport: Transport) -> None:
    with pytest.raises(UpstreamUnreachable):
        await send(transport, Destination("http://no-such-host.invalid/v1", {}))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
async def test_closed_before_the_first_byte_and_not_sent_again(transport: Transport, stream: bool, reset: bool) -> None:
    requests = 0
    close = then(b"", reset=reset)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        await close(reader, writer)

    assert isinstance(await fails(transport, script, stream=stream), UpstreamUnreachable)
    assert requests == 1


async def test_a_kept_connection_that_dies_is_not_used_twice_for_one_request(transport: Transport) -> None:
    requests = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(plain(b"{}"))
        await read_request(reader)
        requests += 1

    async with upstream(script) as destination:
        await send(transport, destination)
        with pytest.raises(UpstreamUnreachable):
            await send(transport, destination)
    assert requests == 2


@pytest.mark.parametrize("reset", [True, False])
async def test_cut_in_the_middle(transport: Transport, reset: bool) -> None:
    for raw, stream in (
        (plain(b"x" * 100)[:-50], False),
        (chunked(b"data: 1\n\n", end=False), True),
    ):
        assert isinstance(await fails(transport, then(raw, reset=reset), stream=stream), UpstreamGarbled)


@pytest.mark.parametrize("raw", [b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"])
async def test_garbage(transport: Transport, raw: bytes) -> None:
    assert isinstance(await fails(transport, then(raw)), UpstreamGarbled)


async def test_a_huge_header(transport: Transport) -> None:
    assert isinstance(await fails(transport, then(plain(b"{}", more=f"X: {'y' * 100_000}\r\n"))), UpstreamGarbled)


async def test_a_body_beyond_the_limit(transport: Transport) -> None:
    error = await fails(transport, then(plain(b"x" * 2_000_001)))
    assert isinstance(error, UpstreamGarbled)
    assert "2000000" in str(error)


async def test_leaving_a_stream_closes_its_connection(transport: Transport) -> None:
    closed = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(chunked(b"data: 1\n\n", end=False))
        await reader.read()
        closed.set()

    async with upstream(script) as destination:
        answer = await send(transport, destination, stream=True)
        assert answer.chunks is not None
        await answer.chunks.aclose()
        await answer.chunks.aclose()
        await asyncio.wait_for(closed.wait(), 10)


async def test_a_cancelled_call_closes_its_connection(transport: Transport) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()
        closed.set()

    async with upstream(script) as destination:
        call = asyncio.ensure_future(send(transport, destination))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(closed.wait(), 10)


async def test_waiting_for_a_connection_is_bounded() -> None:
    transport = Transport(connections_per_host_max=1)
    async with upstream(then(chunked(b"data: 1\n\n", end=False), hang=True)) as destination:
        answer = await send(transport, destination, stream=True)
        with pytest.raises(UpstreamUnreachable, match="no connection in time"):
            await send(transport, destination, stream=True, timeout_seconds=0.05)
        assert answer.chunks is not None
        await answer.chunks.aclose()
        await transport.aclose()
