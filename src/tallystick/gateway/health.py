"""Health and metrics pages: what a load balancer, an orchestrator and Prometheus ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qs

from tallystick.errors import TallystickError
from tallystick.gateway.http import ASGIApp, Receive, Scope, Send, send_answer, send_json
from tallystick.wire.error_envelope import render

_NAME_CHARACTERS_MAX: Final = 512


class HealthFacts(Protocol):
    """What the pages show; composed at start."""

    async def database_connected(self) -> bool:
        """Whether the database answers now, within a short deadline."""

    def can_serve(self) -> bool:
        """Whether a call with a known key would be served: the journal takes calls, and keys were readable once."""

    def details(self) -> Mapping[str, object]:
        """Services, journal and deployments, for people who hold an admin key."""

    async def check(self, model_group: str, deployment_id: str) -> Mapping[str, object]:
        """Check the deployments of a model group, or one, now. Raises NotFound, LedgerUnavailable."""

    async def instances(self) -> Sequence[Mapping[str, object]]:
        """Every worker on the same database, for the same people; none while it is away."""

    def render_metrics(self) -> bytes:
        """All metrics in Prometheus' text format."""


class Authorize(Protocol):
    """Says whether somebody may see `/health`."""

    async def __call__(self, headers: Mapping[bytes, bytes], *, to_spend: bool) -> None:
        """Raise TallystickError when not; `to_spend` asks for who may also have calls made."""


class HealthPages:
    """Finds the page of a path. Liveness, readiness and metrics need no key, `/health` needs an admin's."""

    def __init__(self, facts: HealthFacts, *, authorize_admin: Authorize) -> None:
        self._facts = facts
        self._authorize_admin = authorize_admin
        self._pages: dict[str, ASGIApp] = {
            "/health/liveliness": self._liveness,
            "/health/liveness": self._liveness,
            "/health/readiness": self._readiness,
            "/health": self._health,
            "/metrics": self._metrics,
            "/metrics/": self._metrics,
        }

    def page(self, path: str) -> ASGIApp | None:
        return self._pages.get(path)

    async def _liveness(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, "I'm alive!", [])

    async def _readiness(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Ready means that calls are served. With the database away they are, so this stays 200 and says so."""
        connected = await self._facts.database_connected()
        ready = self._facts.can_serve()
        answer = {
            "status": "healthy" if ready else "unhealthy",
            "db": "connected" if connected else "disconnected",
        }
        await send_json(send, answer, [], 200 if ready else 503)

    async def _health(self, scope: Scope, _receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        model, model_id = (query.get(name, [""])[0][:_NAME_CHARACTERS_MAX] for name in ("model", "model_id"))
        asks = bool(model or model_id)
        try:
            await self._authorize_admin(dict(scope["headers"]), to_spend=asks)
            if asks:
                await send_json(send, await self._facts.check(model, model_id), [])
                return
        except TallystickError as error:
            status, body, extra = render(error)
            await send_answer(send, status, body, [(k.encode(), v.encode()) for k, v in extra.items()])
            return
        connected = await self._facts.database_connected()
        answer = {
            "db": "connected" if connected else "disconnected",
            **self._facts.details(),
            "instances": await self._facts.instances() if connected else (),
        }
        await send_json(send, answer, [])

    async def _metrics(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_answer(send, 200, self._facts.render_metrics(), [], b"text/plain; version=0.0.4; charset=utf-8")
