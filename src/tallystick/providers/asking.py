"""One request to an upstream over HTTP: an answer with a 2xx status, or the error that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tallystick.errors import UpstreamGarbled, UpstreamRefused
from tallystick.providers.base import Target
from tallystick.providers.destination import Destination
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.reported import ReportedError

_ROUTES_MAX = 4096


class RefusalReader(Protocol):
    """The part of an UpstreamDialect that reads errors."""

    @property
    def name(self) -> str:
        """The dialect's name."""

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""


async def ask(
    transport: Transport,
    destination: Destination,
    body: bytes,
    target: Target,
    *,
    stream: bool,
    dialect: RefusalReader,
    method: str = "POST",
    timeout_seconds: float | None = None,
) -> RawAnswer:
    """Send a body and return the answer; without a time of its own, the target's holds.

    Raises UpstreamRefused, UpstreamTimeout and its siblings; see Transport.
    """
    answer = await transport.send(
        method,
        destination,
        body,
        timeout_seconds=target.timeout_seconds if timeout_seconds is None else timeout_seconds,
        stream=stream,
        stream_idle_seconds=target.stream_idle_seconds,
    )
    if answer.status >= 400:
        reported = dialect.read_refusal(answer.body)
        raise UpstreamRefused(
            reported.message or None,
            status=answer.status,
            body=answer.body,
            content_type=answer.content_type,
            retry_after=answer.headers.get("retry-after"),
            dialect=dialect.name,
            reported_type=reported.type,
        )
    if answer.status >= 300:
        if answer.chunks is not None:
            await answer.chunks.aclose()
        raise UpstreamGarbled(f"The upstream answered with a redirect ({answer.status}); check its api_base.")
    return answer


class Routes:
    """Where each target's calls go, worked out once for each endpoint."""

    def __init__(self) -> None:
        # By identity, with the target itself, so that it lives as long as its id is used here.
        self._routes: dict[tuple[int, str], tuple[Target, Destination]] = {}

    def find(self, target: Target, endpoint: str) -> Destination | None:
        """Return what was added."""
        route = self._routes.get((id(target), endpoint))
        return None if route is None else route[1]

    def add(self, target: Target, endpoint: str, url: str, headers: Mapping[str, str]) -> Destination:
        """Remember where a target's calls of this endpoint go."""
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()  # Targets of old snapshots; those in use come back at their next call.
        destination = Destination(url, headers)
        self._routes[id(target), endpoint] = (target, destination)
        return destination
