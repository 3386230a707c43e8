"""A whole gateway inside the test's event loop: real sockets, real journal, real SQLite file."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from tallystick.access.keys import hash_key
from tallystick.bootstrap import Services, load_callbacks, open_key_ring, open_store
from tallystick.cli.serve import build_gateway
from tallystick.config.load import load_settings
from tallystick.gateway.head_limit import BoundedHeadProtocol
from tallystick.ledger.store import CommittedEvent, EventFilter
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics

MASTER_KEY = "sk-test-5f0c2d9e81b7a364"
AUTHORIZATION = {"authorization": f"Bearer {MASTER_KEY}"}


class RunningGateway:
    """The gateway, its services, and a client that speaks to it."""

    def __init__(self, *, url: str, services: Services, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        self.url = url
        self.services = services
        self.metrics = metrics
        self.pauses: list[float] = []
        """What calls would have waited before they tried a deployment again; here nobody waits."""
        self._session = session

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Post JSON (or bytes as they are) with the master key; return status, body and headers."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self._session.post(self.url + path, data=data, headers={**AUTHORIZATION, **headers}) as response:
            return response.status, await response.read(), _lower(response.headers)

    async def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        async with self._session.get(self.url + path, headers={**AUTHORIZATION, **headers}) as response:
            return response.status, await response.read(), _lower(response.headers)

    async def chat(self, model: str, **fields: Any) -> tuple[int, bytes, dict[str, str]]:
        body = {"model": model, "messages": [{"role": "user", "content": "Who owes whom?"}], **fields}
        return await self.post("/v1/chat/completions", body)

    def open_stream(self, model: str, **fields: Any) -> Any:
        """Return the client's context manager of a streamed answer, to be read or left by the test."""
        body = {"model": model, "messages": [{"role": "user", "content": "Who owes whom?"}], "stream": True, **fields}
        return self._session.post(self.url + "/v1/chat/completions", json=body, headers=AUTHORIZATION)

    async def events(self, count: int) -> list[CommittedEvent]:
        """Wait until so many events are committed, and return all there are in the order of commits."""
        async with asyncio.timeout(20):
            while True:
                page = await self.services.store.reader.events_after("", limit=1000, where=EventFilter())
                if len(page.events) >= count:
                    return list(page.events)
                await asyncio.sleep(0.01)

    async def event(self) -> Any:
        """The one event that there is."""
        events = await self.events(1)
        assert len(events) == 1
        return events[0].event


@asynccontextmanager
async def running_gateway(home: Path, config: dict[str, Any]) -> AsyncIterator[RunningGateway]:
    """Serve `config` until the block ends; then the ledger must add up."""
    file = home / "config.yaml"
    general = {"master_key": MASTER_KEY, "journal_sync": "write", "batch_wait_seconds": 0.005}
    general.update(config.get("general_settings", {}))
    file.write_text(json.dumps({**config, "general_settings": general}))
    settings = load_settings(config_file=file, overrides={}, environ={"TALLYSTICK_HOME": str(home / "home")})
    clock = SystemClock()
    metrics = Metrics()
    services = Services(
        settings,
        store=open_store(settings, clock=clock),
        key_ring=open_key_ring(settings, now=clock.now()),
        master_key_hash=hash_key(MASTER_KEY),
        environ={},
        clock=clock,
        metrics=metrics,
        callbacks=load_callbacks(settings),
    )
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    services.pause_before_retry = pause
    gateway = build_gateway(services, await services.start())
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(gateway, http=BoundedHeadProtocol, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
    )
    serving = asyncio.create_task(server._serve([listener]))  # Without the signal handlers of serve().
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            running = RunningGateway(url=url, services=services, session=session, metrics=metrics)
            running.pauses = pauses
            yield running
    finally:
        server.should_exit = True
        await serving
        await services.ledger.stop()
        audit = await services.store.auditor.audit()
        await services.stop()
    assert audit.differences == ()


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def scripted(api_base: str, *models: str, **params: Any) -> dict[str, Any]:
    """A model list whose groups are named as the upstream's scripts."""
    return {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": api_base, "api_key": "up-key", **params},
                "model_info": {"id": model, "base_model": "gpt-4o"},
            }
            for model in models
        ]
    }
