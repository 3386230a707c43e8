"""One connection, fed byte by byte: whatever the network makes of an answer, the same must come of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.providers.destination import Origin
from tallystick.providers.http_connection import BUFFERED_BYTES_MAX, HEAD_BYTES_MAX, HTTPConnection
from unit.providers.wires import Wire, chunked, plain

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
EXTENDED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b'4;name="value; x"\r\nabcd\r\n00A\r\n0123456789\r\n0\r\nX-Trailer: t\r\nContent-Type: application/json\r\n\r\n'
)
# Each with its status, its body, and whether its connection may be used again.
ANSWERS = {
    "plain": (plain(b'{"id": 1}'), 200, b'{"id": 1}', True),
    "empty": (plain(b""), 200, b"", True),
    "chunked": (chunked(b"data: 1\n\n", b"x" * 40, b"data: [DONE]\n\n"), 200, None, True),
    "extended": (EXTENDED, 200, b"abcd0123456789", True),
    "interim": (INTERIM + plain(b"{}"), 200, b"{}", True),
    "no content": (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", False),
    "old, kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", True),
    "close": (plain(b"abc", more="Connection: Close\r\n"), 200, b"abc", False),
    "close among others": (plain(b"abc", more="Connection: foo, close\r\n"), 200, b"abc", False),
    "error": (plain(b"no", "429 Too Many Requests"), 429, b"no", True),
}
BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "wrong size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "other coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "switched": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "status 0": b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
}


class Lines:
    """A connection on a Wire, with a clock of the loop's."""

    def __init__(self, *, body_bytes_max: int = 10_000_000, error_bytes_max: int = 1000) -> None:
        self.lost = 0
        self.wire = Wire()
        self.connection = HTTPConnection(
            Origin("http", "upstream", 80),
            body_bytes_max=body_bytes_max,
            error_bytes_max=error_bytes_max,
            on_lost=self._count,
        )
        self.connection.connection_made(self.wire)

    def _count(self, connection: HTTPConnection) -> None:
        self.lost += 1

    def ask(self, *, stream: bool = False, body: bytes = b"{}") -> HTTPConnection:
        self.connection.ask(b"POST / HTTP/1.1\r\n\r\n", body, stream=stream)
        return self.connection

    async def whole(self) -> bytes:
        """Read the answer to its end, as it comes."""
        taken = b""
        while True:
            await self.connection.progress(asyncio.get_running_loop().time() + 10)
            part = self.connection.take()
            taken += part
            if self.connection.over and not self.connection.has_failed:
                return taken


def body_of(name: str) -> bytes:
    body = ANSWERS[name][2]
    return b"data: 1\n\n" + b"x" * 40 + b"data: [DONE]\n\n" if body is None else body


async def give(lines: Lines, *parts: bytes) -> None:
    for part in filter(None, parts):
        lines.connection.data_received(part)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_cut_at_every_byte(name: str, stream: bool) -> None:
    raw, status, _, reusable = ANSWERS[name]
    for place in range(len(raw) + 1):
        lines = Lines()
        connection = lines.ask(stream=stream)
        await give(lines, raw[:place], raw[place:])
        assert await lines.whole() == body_of(name), place
        assert (connection.status, connection.is_usable) == (status, reusable), place


@given(names=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=4), data=st.data())
def test_any_split_of_any_answers_gives_the_same(names: list[str], data: st.DataObject) -> None:
    async def run() -> None:
        lines = Lines()
        for name in names:
            raw, status, _, reusable = ANSWERS[name]
            connection = lines.ask(stream=data.draw(st.booleans()))
            cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=12)))
            parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
            reading = asyncio.ensure_future(lines.whole())
            for part in parts:
                connection.data_received(part)
                if data.draw(st.booleans()):
                    await asyncio.sleep(0)
            assert await reading == body_of(name)
            assert (connection.status, connection.is_usable) == (status, reusable)
            if not reusable:
                return

    asyncio.run(run())


@given(junk=st.binary(min_size=1, max_size=40), name=st.sampled_from(sorted(ANSWERS)))
def test_what_follows_an_answer_never_gets_into_it_or_into_the_next(junk: bytes, name: str) -> None:
    async def run() -> None:
        for apart in (False, True):
            lines = Lines()
            connection = lines.ask()
            raw = ANSWERS[name][0]
            await give(lines, *([raw, junk] if apart else [raw + junk]))
            assert await lines.whole() == body_of(name)
            # Empty lines between messages are nothing; the parser skips them.
            if apart or junk.strip(b"\r\n"):
                assert not connection.is_usable

    asyncio.run(run())


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer(name: str) -> None:
    raw = BROKEN[name]
    for place in range(len(raw)):
        lines = Lines()
        connection = lines.ask()
        await give(lines, raw[:place], raw[place:])
        with pytest.raises(ValueError, match=r".+"):
            await lines.whole()
        assert lines.wire.aborted
        assert not connection.is_usable


@pytest.mark.parametrize("name", ["plain", "chunked", "extended", "interim"])
async def test_an_answer_that_ends_too_early(name: str) -> None:
    raw = ANSWERS[name][0]
    for place in range(len(raw)):
        lines = Lines()
        connection = lines.ask()
        await give(lines, raw[:place])
        connection.eof_received()
        with pytest.raises(ConnectionResetError):
            await lines.whole()
        final = len(INTERIM) if name == "interim" else 0
        if place < final:
            continue
        assert connection.answer_began == (place > final)


async def test_a_body_that_ends_with_its_connection() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
    for stream in (False, True):
        lines = Lines()
        connection = lines.ask(stream=stream)
        await give(lines, raw)
        connection.eof_received()
        assert await lines.whole() == b"data: 1\n\n"
        assert not connection.is_usable


async def test_such_a_body_is_not_complete_when_the_connection_breaks() -> None:
    lines = Lines()
    connection = lines.ask()
    await give(lines, b"HTTP/1.1 200 OK\r\n\r\ndata")
    connection.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        await lines.whole()


async def test_what_came_of_a_stream_is_taken_before_it_breaks() -> None:
    lines = Lines()
    connection = lines.ask(stream=True)
    await give(lines, chunked(b"data: 1\n\n", end=False))
    connection.connection_lost(ConnectionResetError("reset"))
    await connection.progress(0)
    assert connection.take() == b"data: 1\n\n"
    with pytest.raises(ConnectionResetError, match="reset"):
        await connection.progress(0)
    assert lines.lost == 1


async def test_interim_headers_are_not_the_answers() -> None:
    lines = Lines()
    connection = lines.ask()
    await give(lines, INTERIM + plain(b"{}"))
    assert connection.headers == {"content-type": "application/json", "content-length": "2"}


async def test_repeated_headers_are_joined_and_trailers_left_out() -> None:
    lines = Lines()
    connection = lines.ask()
    await give(lines, EXTENDED.replace(b"\r\n\r\n", b"\r\nX: 1\r\nx: 2\r\n\r\n", 1))
    assert connection.headers["x"] == "1, 2"
    assert connection.headers["content-type"] == "text/event-stream"
    assert "x-trailer" not in connection.headers


async def test_bytes_nobody_asked_for_close_an_idle_connection() -> None:
    lines = Lines()
    await give(lines, plain(b"{}"))
    assert lines.wire.aborted
    assert not lines.connection.is_usable


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_BYTES_MAX,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEAD_BYTES_MAX // 6 + 1),
        b"HTTP/1.1 200 " + b"O" * (HEAD_BYTES_MAX + 1000),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_BYTES_MAX // 25 + 40),
        chunked(b"a", end=False) + b"0\r\nX: " + b"y" * HEAD_BYTES_MAX,
        chunked(b"a", end=False) + b"1;" + b"x" * (HEAD_BYTES_MAX + 2000),
    ],
    ids=["one header", "many headers", "reason", "interim answers", "trailer", "chunk extension"],
)
@pytest.mark.parametrize("step", [1000, 1_000_000])
async def test_what_is_not_body_is_bounded(raw: bytes, step: int) -> None:
    raw += b"\r\n\r\n"
    lines = Lines()
    connection = lines.ask()
    for place in range(0, len(raw), step):
        if not connection.over:
            connection.data_received(raw[place : place + step])
    if step == 1000 or b"X: " in raw:  # Else it is over with one read, which is bounded itself.
        with pytest.raises(ValueError, match=r"too (large|much)"):
            await lines.whole()


async def test_a_body_beyond_the_limit() -> None:
    for raw in (plain(b"x" * 1001), chunked(b"x" * 600, b"x" * 600)):
        lines = Lines(body_bytes_max=1000)
        lines.ask()
        await give(lines, raw)
        with pytest.raises(ValueError, match="1000"):
            await lines.whole()
    lines = Lines(body_bytes_max=1000)
    lines.ask()
    await give(lines, plain(b"x" * 1000))
    assert len(await lines.whole()) == 1000
    assert lines.connection.is_usable


async def test_an_errors_body_is_enough_at_the_limit() -> None:
    lines = Lines(error_bytes_max=1000)
    connection = lines.ask()
    await give(lines, plain(b"x" * 5000, "500 No")[:3000])
    assert len(await lines.whole()) >= 1000
    assert not connection.is_usable


async def test_a_stream_is_not_read_ahead_of_its_reader() -> None:
    lines = Lines()
    connection = lines.ask(stream=True)
    part = b"x" * 65536
    given = 0
    await give(lines, chunked(end=False))
    while lines.wire.reading:
        await give(lines, b"%x\r\n%b\r\n" % (len(part), part))
        given += len(part)
    assert BUFFERED_BYTES_MAX < given <= BUFFERED_BYTES_MAX + len(part)
    assert not connection.is_usable
    assert len(connection.take()) == given
    assert lines.wire.reading
    await give(lines, b"0\r\n\r\n")
    assert await lines.whole() == b""
    assert connection.is_usable


async def test_a_large_request_is_written_as_it_is_taken() -> None:
    lines = Lines()
    body = bytes(range(256)) * 8000
    lines.connection.pause_writing()
    connection = lines.ask(body=body)
    head = len(lines.wire.written)
    for _ in range(3):
        connection.resume_writing()
        connection.pause_writing()
    connection.resume_writing()
    assert lines.wire.written[head:] == body
    await give(lines, plain(b"{}"))
    assert await lines.whole() == b"{}"
    assert connection.is_usable


async def test_a_transport_that_resumes_while_it_is_written_to() -> None:
    class Eager(Wire):
        taken = 0

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.taken += len(data)
            lines.connection.pause_writing()
            lines.connection.resume_writing()

    lines = Lines()
    wire = Eager()
    lines.connection.connection_made(wire)
    body = bytes(200_000_000)
    lines.ask(body=body)
    assert wire.taken >= len(body)


@pytest.mark.parametrize("status", ["413 Too Large", "200 OK"])
async def test_an_answer_before_the_request_is_complete(status: str) -> None:
    lines = Lines()
    lines.connection.pause_writing()
    connection = lines.ask(body=b"x" * 2_000_000)
    written = len(lines.wire.written)
    await give(lines, plain(b"no", status))
    connection.resume_writing()
    assert await lines.whole() == b"no"
    assert not connection.is_usable
    if status.startswith("413"):
        assert len(lines.wire.written) == written


async def test_a_request_that_is_still_in_the_buffers_bars_the_next() -> None:
    lines = Lines()
    connection = lines.ask(body=b"x" * 100)
    lines.wire.unsent_bytes = 1
    await give(lines, plain(b"{}"))
    assert await lines.whole() == b"{}"
    assert not connection.is_usable


async def test_deadlines_move_both_ways() -> None:
    lines = Lines()
    loop = asyncio.get_running_loop()
    connection = lines.ask(stream=True)
    await give(lines, chunked(b"1", end=False))
    await connection.progress(loop.time() + 100)
    connection.take()
    waiting = asyncio.ensure_future(connection.progress(loop.time() + 100))
    await asyncio.sleep(0)
    await give(lines, b"1\r\n2\r\n")
    await waiting
    connection.take()
    begun = loop.time()
    with pytest.raises(TimeoutError):
        await connection.progress(begun + 0.05)
    assert 0.04 < loop.time() - begun < 5
    assert lines.wire.aborted


async def test_an_early_timer_does_not_end_a_later_deadline() -> None:
    lines = Lines()
    loop = asyncio.get_running_loop()
    connection = lines.ask()
    waiting = asyncio.ensure_future(connection.progress(loop.time() + 0.05))
    await asyncio.sleep(0)
    await give(lines, plain(b"{}"))
    await waiting
    connection.take()
    lines.ask()
    waiting = asyncio.ensure_future(connection.progress(loop.time() + 100))
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    await give(lines, plain(b"later"))
    await waiting
    assert connection.take() == b"later"
    connection.connection_lost(None)
