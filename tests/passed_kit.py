"""An upstream for calls that are passed through: it takes anything, and remembers what came, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Came:
    """One request."""

    method: str
    raw_path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class AnyUpstream:
    """What came, and what is answered."""

    url: str = ""
    came: list[Came] = field(default_factory=list)
    status: int = 200
    body: bytes = b'{"ok": true}'
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    chunked: bool = False
    cut: bool = False
    """Break off after the first chunk."""

    def answer(self, body: Any, *, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.headers = {"content-type": content_type, **named}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append(Came(request.method, request.raw_path, headers, await request.read()))
        if not self.chunked:
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        for start in range(0, len(self.body), 100):
            await response.write(self.body[start : start + 100])
            if self.cut:
                assert request.transport is not None
                await asyncio.sleep(0.05)
                request.transport.abort()
                break
        return response


@asynccontextmanager
async def any_upstream() -> AsyncIterator[AnyUpstream]:
    """Serve on a free loopback port for as long as the block lasts."""
    upstream = AnyUpstream()
    application = web.Application(client_max_size=1 << 28)
    application.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    upstream.url = f"http://127.0.0.1:{port}"
    try:
        yield upstream
    finally:
        await runner.cleanup()
