"""The head of a request is bounded, its body and the requests that follow are not touched by that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from gateway_kit import AUTHORIZATION, RunningGateway, running_gateway
from tallystick.gateway.head_limit import HEAD_BYTES_MAX

DEMO = {"model_list": [{"model_name": "demo", "litellm_params": {"model": "demo/echo"}}]}


async def connect(gateway: RunningGateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(gateway.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, DEMO) as gateway, asyncio.timeout(20):
        for line in (b"x-%d: " + b"a" * 1000 + b"\r\n", b"a" * 1000):  # Many headers; one that never ends.
            reader, writer = await connect(gateway)
            writer.write(b"GET /health/liveness HTTP/1.1\r\nhost: x\r\nx-long: ")
            sent = 0
            try:
                while sent < 4 * HEAD_BYTES_MAX:
                    writer.write(line % sent if b"%d" in line else line)
                    await writer.drain()
                    sent += len(line)
                    await asyncio.sleep(0)
            except ConnectionError:
                pass
            else:
                assert b" 431 " in await reader.readline()
                assert b"longer than" in await reader.read()
            writer.close()


async def test_a_large_body_and_pipelined_requests_pass(tmp_path: Path) -> None:
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "x" * 1_000_000}]}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: %b\r\n"
        b"x-fill: %b\r\ncontent-length: %d\r\n\r\n"
        % (AUTHORIZATION["authorization"].encode(), b"f" * 30_000, len(body))
    )
    async with running_gateway(tmp_path, DEMO) as gateway, asyncio.timeout(20):
        reader, writer = await connect(gateway)
        writer.write((head + body) * 5)
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 5:
            part = await reader.read(65536)
            assert part, answers[-500:]
            answers += part
        writer.close()
        assert len(await gateway.events(5)) == 5
