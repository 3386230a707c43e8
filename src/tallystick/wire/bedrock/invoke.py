"""Anthropic's dialect inside Bedrock's own calls, for callers who speak it: the same bodies in another wrapping.

The model is in the path, so is whether it streams; the version and the betas are in the body. A stream comes as AWS'
event stream of Anthropic's events, and leaves as server-sent events.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.anthropic.reading import PASSED_THROUGH
from tallystick.wire.anthropic.request import upstream_body
from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.bedrock.stream import exception_in
from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import ContentTypes, PlainReading, StreamMeter
from tallystick.wire.event_stream import EventStream, StreamMessage
from tallystick.wire.native_reading import NativeStream
from tallystick.wire.reported import AnswerFacts

_VERSION: Final = "bedrock-2023-05-31"
_BETA: Final = "anthropic-beta"
_ELSEWHERE: Final = ("model", "stream")
_PROFILE: Final = re.compile(r"[a-z-]+\.(?=anthropic\.)")
"""How the name of a profile of several regions begins. Tokens are counted by the model itself."""


def speaks_anthropic(model: str) -> bool:
    """Whether a model takes Anthropic's dialect, as its name tells."""
    return "anthropic." in model


def counted_model(model: str) -> str:
    """Return the model that counts tokens."""
    return _PROFILE.sub("", model, count=1)


def invoke_body(request: CallRequest) -> bytes:
    """Return the caller's body as InvokeModel takes it."""
    fields = _RAW_FIELDS.decode(upstream_body(request, model=""))
    for name in _ELSEWHERE:
        fields.pop(name, None)
    fields.setdefault("anthropic_version", _raw(_VERSION))
    betas = [beta.strip() for beta in request.upstream_headers.get(_BETA, "").split(",") if beta.strip()]
    if betas:
        fields["anthropic_beta"] = _raw(betas)
    return _ENCODER.encode(fields)


def count_body(request: CallRequest) -> bytes:
    """Return the body of CountTokens, which wants a limit of what is generated like every call."""
    fields = {"max_tokens": msgspec.Raw(b"1"), **_RAW_FIELDS.decode(invoke_body(request))}
    return _ENCODER.encode({"input": {"invokeModel": {"body": b64encode(_ENCODER.encode(fields)).decode()}}})


class InvokedReading:
    """The Reading of an invocation's answer."""

    content_types = ContentTypes(plain="application/json", stream="text/event-stream; charset=utf-8")

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        return PASSED_THROUGH.read_plain(body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return _InvokedStream()


class CountedReading:
    """The Reading of CountTokens' answer."""

    content_types = ContentTypes(plain="application/json", stream="")

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        try:
            count = _COUNT.decode(body).input_tokens
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that is no count of tokens: {error}") from error
        return PlainReading(AnswerFacts(None, "", "", None), _ENCODER.encode({"input_tokens": count}))

    def meter(self) -> StreamMeter:
        """See Reading. A count is no stream; what comes as one is read as one."""
        return _InvokedStream()


class _Count(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: int


class _Chunk(msgspec.Struct, gc=False):
    bytes: str = ""


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


_ENCODER = msgspec.json.Encoder()
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COUNT = msgspec.json.Decoder(_Count, strict=False)
_CHUNK = msgspec.json.Decoder(_Chunk)
_KIND = msgspec.json.Decoder(_Kind)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))


def _event_in(message: StreamMessage) -> bytes:
    """Return the server-sent event that a message holds; an exception becomes Anthropic's event of an error."""
    failure = exception_in(message)
    if failure is not None:
        error = {"type": failure.type, "message": failure.message}
        return b"event: error\ndata: " + _ENCODER.encode({"type": "error", "error": error}) + b"\n\n"
    if message.headers.get(":event-type") != "chunk":
        return b""
    try:
        data = b64decode(_CHUNK.decode(message.payload).bytes, validate=True)
        kind = _KIND.decode(data).type
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
    # Anthropic writes its events on one line each. Spaces between are nothing in JSON, lines would be in the framing.
    data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: " + kind.replace("\n", " ").encode() + b"\ndata: " + data + b"\n\n"


class _InvokedStream(NativeStream):
    """The StreamMeter of an invocation's stream: unwrapped, and then passed through."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        super().__init__(AnthropicEvents().read)
        self._messages = EventStream()

    def feed(self, chunk: bytes) -> bytes:
        """See StreamMeter."""
        return super().feed(b"".join(_event_in(message) for message in self._messages.feed(chunk)))
