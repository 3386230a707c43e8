"""CPU time of one upstream call, ours beside aiohttp's `session.post`, in the same run.

    python bench/upstream_client.py [--calls 8000] [--rounds 5] [--tasks 16]

The upstream is a process of its own on loopback. A plain call is one request and one whole answer; a streamed answer
comes in 20 chunks, each of which is read by itself. The clients take turns; the medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import aiohttp
import uvloop
from load import ANSWER, BODY, free_port, median, process, wait_until_ready

from tallystick.providers.destination import Destination
from tallystick.providers.transport import Transport

CHUNKS = 20
CHUNK_SECONDS = 0.001
EVENT = b'data: {"id":"chatcmpl-bench","choices":[{"index":0,"delta":{"content":" halves"}}]}\n\n'
STREAM_PATH = "/v1/stream"
HEADERS = {"authorization": "Bearer upstream", "content-type": "application/json"}

Call = Callable[[], Awaitable[None]]


class _Server(asyncio.Protocol):
    """Answers each request with the same bytes; those to the stream's path chunk by chunk."""

    PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
    HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if STREAM_PATH.encode() in head:
                self.write_chunks(0)
            else:
                self.transport.write(self.PLAIN)  # type: ignore[attr-defined]

    def write_chunks(self, number: int) -> None:
        begin, end = b"" if number else self.HEAD, b"0\r\n\r\n" if number == CHUNKS - 1 else b""
        self.transport.write(begin + self.CHUNK + end)  # type: ignore[attr-defined]
        if not end:
            self.loop.call_later(CHUNK_SECONDS, self.write_chunks, number + 1)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


async def cpu_microseconds(call: Call, *, calls: int, tasks: int) -> float:
    async def repeat() -> None:
        for _ in range(calls // tasks):
            await call()

    gc.collect()
    begun = time.process_time()
    await asyncio.gather(*(repeat() for _ in range(tasks)))
    return (time.process_time() - begun) / (calls // tasks * tasks) * 1e6


def clients(base: str, transport: Transport, session: aiohttp.ClientSession) -> dict[str, tuple[Call, Call]]:
    """For each case: ours, aiohttp's."""
    plain, stream = (Destination(base + path, HEADERS) for path in ("/v1/plain", STREAM_PATH))

    async def our_plain() -> None:
        answer = await transport.send("POST", plain, BODY, timeout_seconds=600.0)
        assert len(answer.body) == len(ANSWER)

    async def our_stream() -> None:
        answer = await transport.send("POST", stream, BODY, timeout_seconds=600.0, stream=True)
        assert answer.chunks is not None
        received = 0
        async for chunk in answer.chunks:
            received += len(chunk)
        assert received == CHUNKS * len(EVENT)

    async def their_plain() -> None:
        async with session.post(plain.url, data=BODY, headers=HEADERS) as response:
            assert len(await response.read()) == len(ANSWER)

    async def their_stream() -> None:
        async with session.post(stream.url, data=BODY, headers=HEADERS) as response:
            received = 0
            async for chunk in response.content.iter_any():
                received += len(chunk)
            assert received == CHUNKS * len(EVENT)

    return {"plain call": (our_plain, their_plain), f"stream of {CHUNKS} chunks": (our_stream, their_stream)}


async def measure(base: str, *, calls: int, rounds: int, tasks: int) -> None:
    transport = Transport()
    connector = aiohttp.TCPConnector(limit=1000)
    cookies = aiohttp.DummyCookieJar()
    print(f"{'CPU µs':24} {'ours':>8} {'aiohttp':>8} {'ratio':>7}")
    async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies, auto_decompress=False) as session:
        for case, (ours, theirs) in clients(base, transport, session).items():
            case_calls = calls if case == "plain call" else calls // 8
            spent: dict[Call, list[float]] = {ours: [], theirs: []}
            for call in spent:
                await cpu_microseconds(call, calls=case_calls // 8, tasks=tasks)
            for _ in range(rounds):
                for call, times in spent.items():
                    times.append(await cpu_microseconds(call, calls=case_calls, tasks=tasks))
            our_time, their_time = median(spent[ours]), median(spent[theirs])
            print(f"{case:24} {our_time:8.1f} {their_time:8.1f} {our_time / their_time:7.2f}")
    await transport.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve))
        return
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with process([sys.executable, __file__, "--serve", str(port)]) as server:
        # Anything listens, but this upstream speaks only when it has been asked.
        wait_until_ready(f"{base}/", server)
        uvloop.run(measure(base, calls=arguments.calls, rounds=arguments.rounds, tasks=arguments.tasks))


if __name__ == "__main__":
    main()
