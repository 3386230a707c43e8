"""Providers that a library calls for us: what we don't know natively. The library's answers become OpenAI's bytes.

From there on they are read, metered and translated as those of every other upstream that speaks OpenAI's dialect. What
the library itself thinks that a call costs is not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from tallystick.errors import Untranslatable, UpstreamGarbled
from tallystick.providers.base import Answer, ClosableStream, Target
from tallystick.providers.library_stream import JSON, BegunChunks, LibraryEvents, LibraryStream, begin, tidied, within
from tallystick.providers.library_target import LIBRARY_ACCESS, LibraryAccess
from tallystick.providers.translator import Translator
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import PlainReading, Reading, StreamMeter
from tallystick.wire.embeddings import packed
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.reading import USAGE_HIDDEN, USAGE_SHOWN
from tallystick.wire.openai.request import OPENAI, upstream_body
from tallystick.wire.translation import refuse_unsaid

_EMBEDDING_FIELDS: Final = frozenset(("input", "dimensions", "encoding_format", "user"))
_NOT_FORWARDED: Final = frozenset(("model", "stream", "metadata"))
"""Said to a library in another way; metadata is the caller's word to the gateway, and in the ledger."""
_PLAIN_TYPE: Final = "application/json"
_STREAM_TYPE: Final = "text/event-stream; charset=utf-8"


class LibraryCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call, as a library is asked for it."""

    provider: str
    """As the library names it."""
    model: str
    fields: Mapping[str, Any]  # Any: JSON.
    """The rest of an OpenAI body. None of them is null, and none decides where the call goes."""
    access: LibraryAccess
    timeout_seconds: float
    """What the library's own client is told; the call is given up by then anyway."""


class Library(Protocol):
    """A library that calls providers. It tries once, prints nothing, and knows of a call what the call says."""

    @property
    def chat_fields(self) -> frozenset[str]:
        """The fields of a chat that it can say; none of them may be one that decides where the call goes."""

    async def chat(self, call: LibraryCall) -> JSON:
        """Return a chat completion in OpenAI's shape."""

    async def stream_chat(self, call: LibraryCall) -> LibraryStream:
        """Return the chunks of one, once the upstream has begun."""

    async def embed(self, call: LibraryCall) -> JSON:
        """Return embeddings in OpenAI's shape, each a list of numbers."""

    async def aclose(self) -> None:
        """Close what it keeps open."""


class LibraryModels:
    """The Provider of all models that one library serves."""

    def __init__(self, name: str, translator: Translator, *, load: Callable[[], Awaitable[Library]]) -> None:
        """`load` imports the library at its first call. It raises UpstreamUnreachable where that fails."""
        self._name = name
        self._translator = translator
        self._load = load

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        if request.dialect != OPENAI:

            async def ask(written: Written) -> Answer:
                return await self._chat(request, _FIELDS.decode(written.body), target)

            return await self._translator.send(request, target, _DIALECT, ask)
        if request.endpoint == "chat/completions":
            fields = _FIELDS.decode(upstream_body(request, model=target.model, ask_usage=True))
            return await self._chat(request, fields, target)
        if request.endpoint == "embeddings":
            return await self._embed(request, target)
        raise Untranslatable(
            f"The model '{request.model[:256]}' is called by the library {self._name}, which serves chats and "
            f"embeddings here, and no /v1/{request.endpoint}.",
            param="model",
        )

    async def _chat(self, request: CallRequest, fields: JSON, target: Target) -> Answer:
        library = await self._load()  # Its import is not the upstream's time.
        call = self._call(request, fields, target, known=library.chat_fields)
        reading = USAGE_SHOWN if request.client_wants_usage else USAGE_HIDDEN
        if not request.stream:
            try:
                answer = await within(library.chat(call), target.timeout_seconds, library=self._name)
            except UpstreamGarbled as error:  # The upstream did answer, and bills it.
                return _answer(_PLAIN_TYPE, reading=_Unread(error))
            return _answer(_PLAIN_TYPE, reading=reading, body=tidied(answer))
        chunks = await within(_begun(library, call), target.timeout_seconds, library=self._name)
        events = LibraryEvents(chunks, idle_seconds=target.stream_idle_seconds, library=self._name)
        return _answer(_STREAM_TYPE, reading=reading, chunks=events)

    async def _embed(self, request: CallRequest, target: Target) -> Answer:
        library = await self._load()  # Its import is not the upstream's time.
        fields = _FIELDS.decode(upstream_body(request, model=target.model, ask_usage=False))
        as_base64 = fields.get("encoding_format") == "base64"
        call = self._call(request, fields, target, known=_EMBEDDING_FIELDS)
        # Numbers are what every library has; some providers know nothing else.
        call = msgspec.structs.replace(call, fields={k: v for k, v in call.fields.items() if k != "encoding_format"})
        answer = await within(library.embed(call), target.timeout_seconds, library=self._name)
        if as_base64:
            for item in answer.get("data", ()):
                item["embedding"] = packed(item["embedding"])
        return _answer(_PLAIN_TYPE, reading=USAGE_SHOWN, body=_ENCODER.encode(answer))

    def _call(self, request: CallRequest, fields: JSON, target: Target, *, known: frozenset[str]) -> LibraryCall:
        access = target.options.get(LIBRARY_ACCESS)
        assert isinstance(access, LibraryAccess), "the catalog makes no target of a library without it"
        given = {name: value for name, value in fields.items() if value is not None and name not in _NOT_FORWARDED}
        unsaid = [name for name in given if name not in known]
        refuse_unsaid(request, unsaid, dialect=self._name, drop_params=target.drop_params)
        return LibraryCall(
            provider=target.provider,
            model=target.model,
            fields={name: value for name, value in given.items() if name in known},
            access=access,
            timeout_seconds=max(target.timeout_seconds, target.stream_idle_seconds if request.stream else 0.0),
        )


_ENCODER = msgspec.json.Encoder()
_FIELDS = msgspec.json.Decoder(dict[str, Any])
_DIALECT = OpenAIChat(asks_usage=True, names_completion_tokens=False)


class _Unread:
    """The Reading of an answer that the library could not read. See Reading."""

    content_types = None

    def __init__(self, error: UpstreamGarbled) -> None:
        self._error = error

    def read_plain(self, _body: bytes) -> PlainReading:
        raise self._error

    def meter(self) -> StreamMeter:
        return USAGE_SHOWN.meter()


async def _begun(library: Library, call: LibraryCall) -> BegunChunks:
    return await begin(await library.stream_chat(call))


def _answer(content_type: str, *, reading: Reading, body: bytes = b"", chunks: ClosableStream | None = None) -> Answer:
    headers = {"content-type": content_type}
    return Answer(status=200, content_type=content_type, headers=headers, reading=reading, body=body, chunks=chunks)
