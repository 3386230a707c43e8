"""Upstreams that speak OpenAI's dialect: the caller's body goes out with another model name, the answer as it comes."""

from __future__ import annotations

from urllib.parse import quote

from tallystick.providers.asking import Routes, ask
from tallystick.providers.base import Answer, Target
from tallystick.providers.destination import Destination
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.call_request import MEDIA, UNBILLED, CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import UpstreamDialect
from tallystick.wire.media.answer import media_reading
from tallystick.wire.media.request import media_body
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.reading import USAGE_HIDDEN, USAGE_SHOWN
from tallystick.wire.openai.request import OPENAI, upstream_body
from tallystick.wire.responses.reading import ResponsesReading
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.responses.request import upstream_body as responses_body
from tallystick.wire.responses.upstream import ResponsesUpstream

_CHAT = "chat/completions"
_OWN_MODELS = frozenset(("openai", "azure"))
"""Where new models take `max_completion_tokens` only; elsewhere `max_tokens` is what is known."""
_TOP_N = {"voyage": "top_k"}
"""What providers call the number of documents that are to be ranked, where it is not Cohere's `top_n`."""

HAVE_RESPONSES = frozenset(("openai", "azure", "openrouter", "deepseek", "xai", "litellm_proxy"))
"""Where `/responses` is; elsewhere it is translated to chat."""
SPEAKS_RESPONSES = "speaks_responses"
"""Option of a Target: callers of other dialects are translated to `/responses`, not to chat."""
ASK_USAGE = "ask_usage"
"""Option of a Target: False where the upstream refuses `stream_options` (and reports usage unasked)."""


class OpenAICompatible:
    """The Provider of every OpenAI-compatible upstream; what differs between them is in the Target."""

    def __init__(self, transport: Transport, translator: Translator) -> None:
        self._transport = transport
        self._translator = translator
        self._routes = Routes()

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        asks_usage = target.options.get(ASK_USAGE) is not False
        if request.endpoint in MEDIA:
            return await self._send_media(request, target)
        if request.dialect == RESPONSES and target.provider in HAVE_RESPONSES:
            return await self._send_responses(request, target)
        if request.dialect != OPENAI or (request.endpoint == _CHAT and target.options.get(SPEAKS_RESPONSES)):
            return await self._send_translated(request, target, asks_usage=asks_usage)
        answer = await ask(
            self._transport,
            self._route(target, request.endpoint),
            upstream_body(request, model=target.model, ask_usage=asks_usage),
            target,
            stream=request.stream,
            dialect=_DIALECT,
        )
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=USAGE_SHOWN if request.client_wants_usage else USAGE_HIDDEN,
            body=answer.body,
            chunks=answer.chunks,
        )

    async def _send_media(self, request: CallRequest, target: Target) -> Answer:
        """Send images, sound, moderations or ranks, and a form as the form that it is."""
        if request.form is None:
            destination = self._route(target, request.endpoint)
        else:  # Every form has a boundary of its own.
            headers = {**target.headers, "content-type": request.form.content_type}
            destination = Destination(endpoint_url(target, request.endpoint), headers)
        body = media_body(request, model=target.model, top_n=_TOP_N.get(target.provider, "top_n"))
        answer = await ask(self._transport, destination, body, target, stream=request.stream, dialect=_DIALECT)
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=media_reading(request),
            body=answer.body,
            chunks=answer.chunks,
        )

    async def _send_translated(self, request: CallRequest, target: Target, *, asks_usage: bool) -> Answer:
        dialect: UpstreamDialect = OpenAIChat(
            asks_usage=asks_usage, names_completion_tokens=target.provider in _OWN_MODELS
        )
        endpoint = _CHAT
        if target.options.get(SPEAKS_RESPONSES):
            dialect, endpoint = _RESPONSES, RESPONSES

        async def ask_it(written: Written) -> RawAnswer:
            route = self._route(target, endpoint)
            return await ask(self._transport, route, written.body, target, stream=request.stream, dialect=dialect)

        return await self._translator.send(request, target, dialect, ask_it)

    async def _send_responses(self, request: CallRequest, target: Target) -> Answer:
        answer = await ask(
            self._transport,
            self._route(target, request.endpoint),
            responses_body(request, model=target.model),
            target,
            stream=request.stream,
            dialect=_DIALECT,
        )
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=COUNTED if request.endpoint in UNBILLED else ResponsesReading(),
            body=answer.body,
            chunks=answer.chunks,
        )

    def _route(self, target: Target, endpoint: str) -> Destination:
        return self._routes.find(target, endpoint) or self._routes.add(
            target, endpoint, endpoint_url(target, endpoint), target.headers
        )


_DIALECT = OpenAIChat(asks_usage=True, names_completion_tokens=False)
_RESPONSES = ResponsesUpstream()


def endpoint_url(target: Target, endpoint: str) -> str:
    """Return the whole URL of an endpoint at a target."""
    if target.path_style == "azure" and endpoint.startswith(RESPONSES):
        return f"{target.api_base}/openai/v1/{endpoint}"  # There is no older version of it that is still served.
    if target.path_style == "azure":
        url = f"{target.api_base}/openai/deployments/{quote(target.model, safe='')}/{endpoint}"
    else:
        url = f"{target.api_base}/{endpoint}"
    return f"{url}?{target.query}" if target.query else url
