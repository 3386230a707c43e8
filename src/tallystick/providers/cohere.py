"""Cohere: its chat, and its embeddings for callers of OpenAI's."""

from __future__ import annotations

from tallystick.providers.asking import Routes, ask
from tallystick.providers.base import Answer, Target
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.call_request import CallRequest
from tallystick.wire.cohere.embeddings import EmbeddedReading, write_embed
from tallystick.wire.cohere.upstream import CohereChat
from tallystick.wire.conversation import Written
from tallystick.wire.embeddings import read_embedding_request
from tallystick.wire.media.answer import media_reading
from tallystick.wire.media.request import media_body
from tallystick.wire.translation import refuse_unsaid

_OF_FIRST_RERANK = (b'"return_documents"', b'"rank_fields"', b'"max_chunks_per_doc"')


class Cohere:
    """The Provider of Cohere's models."""

    def __init__(self, transport: Transport, translator: Translator) -> None:
        self._transport = transport
        self._translator = translator
        self._routes = Routes()

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        if request.endpoint == "embeddings":
            return await self._embed(request, target)
        if request.endpoint == "rerank":
            return await self._rerank(request, target)
        dialect = CohereChat(model=target.model)

        async def chat(written: Written) -> RawAnswer:
            return await self._ask(request, target, "v2/chat", written.body, dialect)

        return await self._translator.send(request, target, dialect, chat)

    async def _embed(self, request: CallRequest, target: Target) -> Answer:
        dialect = CohereChat(model=target.model)
        asked = read_embedding_request(request)
        refuse_unsaid(request, asked.unsaid, dialect=dialect.name, drop_params=target.drop_params)
        body = write_embed(asked, model=target.model)
        answer = await self._ask(request, target, "v2/embed", body, dialect)
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=EmbeddedReading(model=target.model, as_base64=asked.as_base64),
            body=answer.body,
        )

    async def _rerank(self, request: CallRequest, target: Target) -> Answer:
        """Pass a rerank through. What only Cohere's first version knows goes to that one."""
        is_first = any(field in request.raw for field in _OF_FIRST_RERANK)
        endpoint = "v1/rerank" if is_first else "v2/rerank"
        body = media_body(request, model=target.model)
        answer = await self._ask(request, target, endpoint, body, CohereChat(model=target.model))
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=media_reading(request),
            body=answer.body,
        )

    async def _ask(
        self, request: CallRequest, target: Target, endpoint: str, body: bytes, dialect: CohereChat
    ) -> RawAnswer:
        destination = self._routes.find(target, endpoint) or self._routes.add(
            target, endpoint, f"{target.api_base}/{endpoint}", target.headers
        )
        return await ask(self._transport, destination, body, target, stream=request.stream, dialect=dialect)
