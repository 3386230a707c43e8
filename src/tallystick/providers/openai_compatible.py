"""Upstreams that speak OpenAI's dialect: the caller's body goes out with another model name, the answer as it comes."""

from __future__ import annotations

from urllib.parse import quote

from tallystick.errors import UpstreamGarbled, UpstreamRefused
from tallystick.providers.base import Answer, Target
from tallystick.providers.destination import Destination
from tallystick.providers.transport import Transport
from tallystick.wire.openai_request import Endpoint, OpenAIRequest

_ROUTES_MAX = 4096

ASK_USAGE = "ask_usage"
"""Option of a Target: False where the upstream refuses `stream_options` (and reports usage unasked)."""


class OpenAICompatible:
    """The Provider of every OpenAI-compatible upstream; what differs between them is in the Target."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        # By identity, with the target itself, so that it lives as long as its id is used here.
        self._routes: dict[tuple[int, Endpoint], tuple[Target, Destination]] = {}

    async def send(self, request: OpenAIRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        route = self._routes.get((id(target), request.endpoint)) or self._add_route(target, request.endpoint)
        answer = await self._transport.send(
            "POST",
            route[1],
            request.upstream_body(model=target.model, ask_usage=target.options.get(ASK_USAGE) is not False),
            timeout_seconds=target.timeout_seconds,
            stream=request.stream,
            stream_idle_seconds=target.stream_idle_seconds,
        )
        if answer.status >= 400:
            raise UpstreamRefused(
                status=answer.status,
                body=answer.body,
                content_type=answer.content_type,
                retry_after=answer.headers.get("retry-after"),
            )
        if answer.status >= 300:
            if answer.chunks is not None:
                await answer.chunks.aclose()
            raise UpstreamGarbled(f"The upstream answered with a redirect ({answer.status}); check its api_base.")
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            body=answer.body,
            chunks=answer.chunks,
        )

    def _add_route(self, target: Target, endpoint: Endpoint) -> tuple[Target, Destination]:
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()  # Targets of old snapshots; those in use come back at their next call.
        route = (target, Destination(endpoint_url(target, endpoint), target.headers))
        self._routes[id(target), endpoint] = route
        return route


def endpoint_url(target: Target, endpoint: Endpoint) -> str:
    """Return the whole URL of an endpoint at a target."""
    if target.path_style == "azure":
        url = f"{target.api_base}/openai/deployments/{quote(target.model, safe='')}/{endpoint}"
    else:
        url = f"{target.api_base}/{endpoint}"
    return f"{url}?{target.query}" if target.query else url
