"""Google's Gemini models: by an API key at its developer API, or with a project's tokens at Vertex AI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import quote

from tallystick.errors import Untranslatable
from tallystick.providers.asking import Routes, ask
from tallystick.providers.base import Answer, Target
from tallystick.providers.destination import Destination
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.providers.vertex import VERTEX_CREDENTIALS, VERTEX_STYLE
from tallystick.wire.call_request import UNBILLED, CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import Reading
from tallystick.wire.embeddings import read_embedding_request
from tallystick.wire.gemini.embeddings import EmbeddingsReading, write_embed
from tallystick.wire.gemini.native import GeminiReading
from tallystick.wire.gemini.request import GEMINI_ARRAY, GEMINI_DIALECTS, upstream_body
from tallystick.wire.gemini.upstream import Gemini
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.translation import refuse_unsaid

_EMBEDDINGS: Final = frozenset(("batchEmbedContents", "embedContent"))
_GENERATE, _STREAM, _EMBED = "generateContent", "streamGenerateContent", "batchEmbedContents"


class TokenSource(Protocol):
    """Where access tokens come from."""

    async def token(self, credentials: str) -> str:
        """Return a token that is good now; a new one is asked for ahead of the old one's end, without a wait here.

        `credentials` is a service account as JSON, or ''. Raises UpstreamUnreachable when there is no token.
        """


class GeminiModels:
    """The Provider of every upstream that speaks Gemini's dialect."""

    def __init__(self, transport: Transport, translator: Translator, *, tokens: TokenSource) -> None:
        self._transport = transport
        self._translator = translator
        self._tokens = tokens
        self._routes = Routes()

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        if request.dialect in GEMINI_DIALECTS:
            return await self._pass_through(request, target)
        if request.endpoint == "embeddings":
            return await self._embed(request, target)
        dialect = _DIALECTS[target.path_style == VERTEX_STYLE]

        async def ask_content(written: Written) -> RawAnswer:
            return await self._ask(
                target, _STREAM if request.stream else _GENERATE, written.body, stream=request.stream
            )

        return await self._translator.send(request, target, dialect, ask_content)

    async def _pass_through(self, request: CallRequest, target: Target) -> Answer:
        if request.endpoint in _EMBEDDINGS:
            _require_embeddings(request, target)
        method = _STREAM if request.stream else request.endpoint
        body = upstream_body(request, model=target.model)
        answer = await self._ask(target, method, body, stream=request.stream)
        reading = GeminiReading(as_array=request.dialect == GEMINI_ARRAY)
        return _answer(answer, COUNTED if request.endpoint in UNBILLED else reading)

    async def _embed(self, request: CallRequest, target: Target) -> Answer:
        _require_embeddings(request, target)
        asked = read_embedding_request(request)
        unsaid = asked.unsaid if not asked.input_type else (*asked.unsaid, "input_type")
        refuse_unsaid(request, unsaid, dialect=_DIALECTS[False].name, drop_params=target.drop_params)
        answer = await self._ask(target, _EMBED, write_embed(asked, model=target.model), stream=False)
        return _answer(answer, EmbeddingsReading(model=target.model, as_base64=asked.as_base64))

    async def _ask(self, target: Target, method: str, body: bytes, *, stream: bool) -> RawAnswer:
        # Always as events: an array of JSON is not to be told from a plain answer before its end.
        destination = await self._destination(target, f"{method}?alt=sse" if stream else method)
        return await ask(self._transport, destination, body, target, stream=stream, dialect=_DIALECTS[False])

    async def _destination(self, target: Target, method: str) -> Destination:
        found = self._routes.find(target, method)
        credentials = target.options.get(VERTEX_CREDENTIALS)
        if credentials is None:
            return found or self._routes.add(target, method, method_url(target, method), target.headers)
        bearer = f"Bearer {await self._tokens.token(str(credentials))}"
        if found is not None and found.headers.get("authorization") == bearer:
            return found
        headers: Mapping[str, str] = {"authorization": bearer, **target.headers}
        return self._routes.add(target, method, method_url(target, method), headers)


_DIALECTS: Final = {False: Gemini(), True: Gemini(tells_call_ids=False)}


def method_url(target: Target, method: str) -> str:
    """Return the whole URL of a method, with its query if it has one, of a target's model."""
    model = target.model
    if target.path_style != VERTEX_STYLE:
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    elif model.isdecimal():  # A tuned model is an endpoint of the project.
        path = f"endpoints/{model}"
    else:
        path = f"publishers/google/models/{model}"
    return f"{target.api_base}/{quote(path, safe='/@')}:{method}"


def _answer(answer: RawAnswer, reading: Reading) -> Answer:
    return Answer(
        status=answer.status,
        content_type=answer.content_type,
        headers=answer.headers,
        reading=reading,
        body=answer.body,
        chunks=answer.chunks,
    )


def _require_embeddings(request: CallRequest, target: Target) -> None:
    if target.path_style == VERTEX_STYLE:
        raise Untranslatable(
            f"The model '{request.model[:256]}' is served by Vertex AI, whose embeddings are not supported here: "
            "serve it by gemini/<model>.",
            param="model",
        )
