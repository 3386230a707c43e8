"""The admin API in this process, on the opened database: the same rules, audit and sealing as a gateway's."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from tallystick.access.keys import hash_key, new_key
from tallystick.admin.app import create_admin_app
from tallystick.bootstrap import Services, Store
from tallystick.cli.admin.api import CHANGED_BY, AdminAPI, content_of, target
from tallystick.cli.admin_services import admin_services_of
from tallystick.config.settings import Settings
from tallystick.control.key_ring import KeyRing
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics

ResultT = TypeVar("ResultT")
App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
"""An ASGI application. Any: its messages."""


async def with_local_api(
    settings: Settings, store: Store, key_ring: KeyRing, work: Callable[[AdminAPI], Awaitable[ResultT]]
) -> ResultT:
    """Return what `work` makes of the API over this store.

    Who may open the database is a proxy admin: a master key is made for this command alone.
    """
    key = new_key()
    services = Services(
        settings,
        store=store,
        key_ring=key_ring,
        master_key_hash=hash_key(key),
        environ=os.environ,
        clock=SystemClock(),
        metrics=Metrics(),
    )
    try:
        await services.feed.poll()
        return await work(LocalAdminAPI(create_admin_app(admin_services_of(services)), key=key))
    finally:
        await services.upstreams.aclose()


class LocalAdminAPI:
    """`AdminAPI` on an ASGI application."""

    def __init__(self, app: App, *, key: str) -> None:
        self._app = app
        self._key = key

    async def send(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:  # Any: JSON.
        content = b"" if body is None else msgspec.json.encode(body)
        asked_path, _, query_string = target(path, query).partition("?")
        headers = {"authorization": f"Bearer {self._key}", "content-length": str(len(content)), **CHANGED_BY}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": asked_path,
            "raw_path": asked_path.encode(),
            "root_path": "",
            "query_string": query_string.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": None,
            "server": ("command-line", None),
        }
        answer = _Answer()
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:  # Any: as above.
            return messages.pop() if messages else {"type": "http.disconnect"}

        await self._app(scope, receive, answer.take)
        return content_of(answer.status, bytes(answer.body))


class _Answer:
    """What an application sends."""

    def __init__(self) -> None:
        self.status = 500
        self.body = bytearray()

    async def take(self, message: Any) -> None:  # Any: as above.
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
