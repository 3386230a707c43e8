"""An endpoint that issues tokens as Azure's do: a machine's managed identity, and the authority of a tenant."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass
class TokenEndpoint:
    """Use it with `async with`. `token` is what it issues; what was asked is in `asked`."""

    token: str = "token-1"
    expires_in: str | None = "3600"
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while `token` is about to change: nothing is issued meanwhile."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/identity", self._answer)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        self.asked.append(
            {"path": request.path, "query": dict(request.query), "headers": request.headers, "form": form}
        )
        async with self.changing:
            body = {"access_token": self.token, "token_type": "Bearer"}
        if self.expires_in is not None:
            body["expires_in"] = self.expires_in
        return web.json_response(body, status=self.status)
