"""Responses that an upstream keeps: read, cancelled and deleted where they were made. None of it is billed."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from tallystick.providers.asking import ask
from tallystick.providers.base import Target
from tallystick.providers.destination import Destination
from tallystick.providers.openai_compatible import endpoint_url
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.responses.upstream import ResponsesUpstream

_SECONDS_MAX: Final = 60.0
"""A whole answer comes at once: nothing is generated for it."""


class ResponseStore:
    """Asks upstreams for what they keep."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def ask(
        self, target: Target, method: str, response_id: str, *, below: str = "", query: str = "", stream: bool = False
    ) -> RawAnswer:
        """Ask about a response, by the upstream's own id; `below` is `/cancel` or `/input_items`.

        Raises UpstreamRefused, UpstreamTimeout and its siblings.
        """
        url = endpoint_url(target, f"{RESPONSES}/{quote(response_id, safe='')}{below}")
        if query:
            url += f"{'&' if '?' in url else '?'}{query}"
        return await ask(
            self._transport,
            Destination(url, target.headers),
            b"",
            target,
            stream=stream,
            dialect=_DIALECT,
            method=method,
            timeout_seconds=min(target.timeout_seconds, _SECONDS_MAX),
        )


class _Dialect(ResponsesUpstream):
    """Errors are OpenAI's envelope, as everywhere in its API."""

    name = "openai"


_DIALECT: Final = _Dialect()
