"""What the gateway's benchmarks share: a static upstream, a bare pass-through, a load generator, processes."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Two halves agree. " * 12},
            }
        ],
        "usage": {
            "prompt_tokens": 180,
            "completion_tokens": 60,
            "total_tokens": 240,
            "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_bench",
    }
).encode()
BODY = json.dumps(
    {
        "model": "bench",
        "messages": [
            {"role": "system", "content": "You keep accounts. " * 10},
            {"role": "user", "content": "Who owes whom, and how much? " * 20},
        ],
        "user": "customer-1",
        "max_tokens": 200,
    }
).encode()
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
"""Anthropic's: with an upstream that speaks OpenAI's dialect, request and answer are translated."""


def body_of(path: str) -> bytes:
    """Return the same request in the dialect of a path."""
    if path == CHAT:
        return BODY
    body = json.loads(BODY)
    system, *messages = body["messages"]
    return json.dumps(
        {
            "model": "bench",
            "system": system["content"],
            "messages": messages,
            "metadata": {"user_id": body["user"]},
            "max_tokens": body["max_tokens"],
        }
    ).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _StaticServer(asyncio.Protocol):
    """Answers every request with the same bytes as soon as it is complete."""

    HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(self.HEAD + ANSWER)  # type: ignore[attr-defined]


async def serve_static(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_StaticServer, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


async def serve_bare(port: int, upstream: str) -> None:
    """The bare pass-through: uvicorn in front, aiohttp behind, nothing in between."""
    import aiohttp
    import uvicorn

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1000), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    )
    url = f"{upstream}/chat/completions"
    headers = {"content-type": "application/json", "authorization": "Bearer upstream"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="none",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
    )
    await uvicorn.Server(config).serve()


class _Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it has its answer."""

    def __init__(self, request: bytes, latencies: list[float], deadline: float) -> None:
        self.request, self.latencies, self.deadline = request, latencies, deadline
        self.buffer = b""
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.begun = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self.errors += 1
        self.buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self.begun)
        if now < self.deadline:
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(self.errors + (exc is not None))


async def generate(url: str, *, connections: int, seconds: float, key: str, path: str) -> dict[str, float]:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    body = body_of(path)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    begun = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: _Client(head + body, latencies, begun + seconds), host, int(port)
        )
        clients.append(client)
    errors = sum(await asyncio.gather(*(client.done for client in clients)))
    elapsed = time.perf_counter() - begun
    latencies.sort()
    return {
        "requests": len(latencies),
        "per_second": len(latencies) / elapsed,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
        "errors": errors,
    }


def load(url: str, *, connections: int, seconds: float, key: str = "none", path: str = CHAT) -> dict[str, float]:
    """Run the load generator in a process of its own and return what it measured."""
    command = [sys.executable, __file__, "generate", url, str(connections), str(seconds), key, path]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if result["errors"]:
        raise SystemExit(f"{result['errors']} requests to {url} failed: the figures would mean nothing")
    return dict(result)


@contextmanager
def process(command: list[str], *, ready_url: str | None = None, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, wait until it answers, and end it by its id."""
    running = subprocess.Popen(command, **options)
    try:
        if ready_url is not None:
            wait_until_ready(ready_url, running)
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_until_ready(url: str, running: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise SystemExit(f"{running.args} ended with {running.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1).read()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise SystemExit(f"{url} did not answer within {seconds} s")


@contextmanager
def static_upstream() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    with process([sys.executable, __file__, "static", str(port)], ready_url=url):
        yield url


@contextmanager
def bare_gateway(upstream: str) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with process([sys.executable, __file__, "bare", str(port), upstream]):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield url


MASTER_KEY = "sk-bench-3f1c9a77e2d84b65"


@contextmanager
def tallystick(
    upstream: str,
    home: Path,
    *,
    database_url: str | None,
    sync: str = "fsync",
    workers: int = 1,
    source: Path = ROOT,
    sections: dict[str, Any] | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve one priced deployment at `upstream`; yields the base URL and the process.

    `source` is a checkout; `sections` are further ones of the file.
    """
    home.mkdir(parents=True, exist_ok=True)
    config = home / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "bench",
                        "litellm_params": {"model": "openai/gpt-4o", "api_base": upstream, "api_key": "upstream"},
                    }
                ],
                "general_settings": {"master_key": MASTER_KEY, "journal_sync": sync},
                **(sections or {}),
            }
        )
    )
    port = free_port()
    command = [sys.executable, "-m", "tallystick", "serve", "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers)]
    if database_url:
        command += ["--database-url", database_url]
    environment = {
        **os.environ,
        "TALLYSTICK_HOME": str(home),
        "TALLYSTICK_SECRET_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
        "PYTHONPATH": str(source / "src"),
    }
    url = f"http://127.0.0.1:{port}"
    with process(command, ready_url=f"{url}/health/readiness", env=environment, stderr=subprocess.DEVNULL) as running:
        yield url, running


def create_key(url: str) -> str:
    """Return a virtual key of a user and a team."""
    team = _administer(url, "/team/new", {"team_alias": f"bench-{time.time_ns()}"})["team_id"]
    made = _administer(url, "/key/generate", {"user_id": "bench-user", "team_id": team, "key_alias": f"key-of-{team}"})
    return str(made["key"])


def _administer(url: str, path: str, body: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}{path}",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json"},
    )
    return dict(json.loads(urllib.request.urlopen(request, timeout=30).read()))


def median(values: list[float]) -> float:
    return statistics.median(values)


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["static", "bare", "generate"])
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    rest = arguments.rest
    if arguments.role == "static":
        uvloop.run(serve_static(int(rest[0])))
    elif arguments.role == "bare":
        uvloop.run(serve_bare(int(rest[0]), rest[1]))
    else:
        result = uvloop.run(
            generate(rest[0], connections=int(rest[1]), seconds=float(rest[2]), key=rest[3], path=rest[4])
        )
        print(json.dumps(result))


if __name__ == "__main__":
    main()
