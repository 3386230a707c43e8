"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tallystick.providers.asking import Routes, ask
from tallystick.providers.base import Answer, Target
from tallystick.providers.destination import Destination
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.anthropic.reading import PASSED_THROUGH
from tallystick.wire.anthropic.request import ANTHROPIC, upstream_body
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.call_request import UNBILLED, CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.native_reading import COUNTED

VERSION_HEADER: Final = "anthropic-version"
BETA_HEADER: Final = "anthropic-beta"
VERSION: Final = "2023-06-01"
"""Of the API, unless the deployment or the caller names another."""
_DIALECT: Final = AnthropicUpstream()


class Anthropic:
    """The Provider of every upstream that speaks Anthropic's dialect."""

    def __init__(self, transport: Transport, translator: Translator) -> None:
        self._transport = transport
        self._translator = translator
        self._routes = Routes()

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        if request.dialect != ANTHROPIC:

            async def ask_messages(written: Written) -> RawAnswer:
                return await self._ask(request, target, "messages", written.body)

            return await self._translator.send(request, target, _DIALECT, ask_messages)
        answer = await self._ask(request, target, request.endpoint, upstream_body(request, model=target.model))
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=COUNTED if request.endpoint in UNBILLED else PASSED_THROUGH,
            body=answer.body,
            chunks=answer.chunks,
        )

    async def _ask(self, request: CallRequest, target: Target, endpoint: str, body: bytes) -> RawAnswer:
        destination = self._route(target, endpoint, request)
        return await ask(self._transport, destination, body, target, stream=request.stream, dialect=_DIALECT)

    def _route(self, target: Target, endpoint: str, request: CallRequest) -> Destination:
        """Return where a call goes. What the caller says in the dialect's headers goes along, on a route of its own."""
        told = request.upstream_headers
        key = endpoint if not told else f"{endpoint} {sorted(told.items())}"
        found = self._routes.find(target, key)
        if found is not None:
            return found
        url = f"{target.api_base}/{endpoint}"
        return self._routes.add(target, key, f"{url}?{target.query}" if target.query else url, _merged(target, told))


def _merged(target: Target, told: Mapping[str, str]) -> Mapping[str, str]:
    """Return the deployment's headers with those of the caller; what both ask for in `anthropic-beta` is asked for."""
    merged = {VERSION_HEADER: VERSION, **target.headers, **told}
    betas = [headers[BETA_HEADER] for headers in (target.headers, told) if headers.get(BETA_HEADER)]
    if betas:
        merged[BETA_HEADER] = ",".join(betas)
    return merged
