"""Answers made in this process, in OpenAI's shapes: for the demo provider and for `mock_response`."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec

from tallystick.errors import UpstreamRefused
from tallystick.providers.base import Answer
from tallystick.wire.call_request import CallRequest
from tallystick.wire.error_envelope import envelope
from tallystick.wire.openai.reading import USAGE_HIDDEN, USAGE_SHOWN
from tallystick.wire.token_estimate import estimate_input_tokens

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
_CHOICES_MAX = 128
_DIMENSIONS_MAX = 4096
_DIMENSIONS = 256
_TOKEN = re.compile(r"\s*\S{1,6}|\s+")  # About what a tokenizer makes of English.


class Canned:
    """Makes answers. Ids and the time are given, so that tests can hold them."""

    def __init__(self, *, name: str, new_id: Callable[[], str], now_seconds: Callable[[], int]) -> None:
        self._name = name
        self._new_id = new_id
        self._now_seconds = now_seconds

    def text_answer(self, request: CallRequest, *, model: str, text: str) -> Answer:
        """Answer a chat or completion request with this text, cut to the caller's limit, plain or streamed."""
        if request.choices > _CHOICES_MAX:
            raise refusal(400, f"'n' may be at most {_CHOICES_MAX}.", param="n")
        tokens = _TOKEN.findall(text)
        limit = request.max_output_tokens
        is_cut = limit is not None and len(tokens) > limit
        tokens = tokens[:limit] if is_cut else tokens
        finish_reason = "length" if is_cut else "stop"
        usage = _usage(estimate_input_tokens(request).estimate, len(tokens) * request.choices)
        head = self._head(request, model)
        if request.stream:
            return _stream(_events(request, head, tokens, finish_reason, usage), shows_usage=request.client_wants_usage)
        is_chat = request.endpoint == "chat/completions"
        content = (
            {"message": {"role": "assistant", "content": "".join(tokens)}} if is_chat else {"text": "".join(tokens)}
        )
        choices = [
            {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}
            for index in range(request.choices)
        ]
        return _plain({**head, "choices": choices, "usage": usage})

    def embedding_answer(self, request: CallRequest, *, model: str) -> Answer:
        """Answer an embedding request with unit vectors that depend on the text alone."""
        try:
            fields = _EMBEDDING.decode(request.raw)
        except msgspec.MsgspecError as error:
            raise refusal(400, f"{error}.", param="input") from error
        dimensions = fields.dimensions or _DIMENSIONS
        if not 0 < dimensions <= _DIMENSIONS_MAX:
            raise refusal(400, f"'dimensions' must be from 1 to {_DIMENSIONS_MAX}.", param="dimensions")
        inputs = _inputs(fields.input)
        vectors = [_unit_vector(text, dimensions) for text in inputs]
        as_text = fields.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
            for index, vector in enumerate(vectors)
        ]
        count = sum(max(1, len(_TOKEN.findall(text))) for text in inputs)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return _plain({"object": "list", "data": data, "model": model, "usage": usage})

    def _head(self, request: CallRequest, model: str) -> dict[str, Any]:  # Any: JSON.
        is_chat = request.endpoint == "chat/completions"
        kind = "chat.completion" if is_chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self._name}-{self._new_id()}",
            "object": f"{kind}.chunk" if is_chat and request.stream else kind,
            "created": self._now_seconds(),
            "model": model,
        }


def refusal(
    status: int, message: str, *, error_type: str = "invalid_request_error", param: str | None = None
) -> UpstreamRefused:
    """Return the error of an upstream that answers with this status."""
    body = envelope(message=message, error_type=error_type, param=param, code=str(status))
    return UpstreamRefused(message, status=status, body=body, content_type=JSON)


def last_text(request: CallRequest) -> str:
    """Return what the caller said last: the text of the last user message, or the prompt."""
    try:
        fields = _TEXTS.decode(request.raw)
    except msgspec.MsgspecError:
        return ""
    if request.endpoint == "completions":
        return " ".join(_inputs(fields.prompt))
    said = [message.content for message in fields.messages if message.role == "user"]
    if not said:
        return ""
    content = said[-1]
    if isinstance(content, list):
        return " ".join(part.text for part in content if part.text)
    return content or ""


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] | None = None


class _Texts(msgspec.Struct):
    messages: list[_Message] = []
    prompt: str | list[str | int | list[int]] = ""


class _EmbeddingFields(msgspec.Struct):
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


_TEXTS = msgspec.json.Decoder(_Texts)
_EMBEDDING = msgspec.json.Decoder(_EmbeddingFields)
_ENCODER = msgspec.json.Encoder()


class _Chunks:
    """A ClosableStream of what is there already."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._chunks = iter(())


def _plain(body: dict[str, Any]) -> Answer:  # Any: JSON.
    headers = {"content-type": JSON}
    return Answer(status=200, content_type=JSON, headers=headers, reading=USAGE_SHOWN, body=_ENCODER.encode(body))


def _stream(events: Iterable[bytes], *, shows_usage: bool) -> Answer:
    return Answer(
        status=200,
        content_type=EVENT_STREAM,
        headers={"content-type": EVENT_STREAM},
        reading=USAGE_SHOWN if shows_usage else USAGE_HIDDEN,
        chunks=_Chunks(events),
    )


def _events(
    request: CallRequest,
    head: dict[str, Any],  # Any: JSON.
    tokens: list[str],
    finish_reason: str,
    usage: dict[str, Any],  # Any: JSON.
) -> Iterable[bytes]:
    """Yield a stream's events, the usage chunk included: the gateway always asks for it."""
    is_chat = request.endpoint == "chat/completions"

    def event(index: int, delta: dict[str, str], text: str, reason: str | None) -> bytes:
        content = {"delta": delta} if is_chat else {"text": text}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": reason}
        return _event({**head, "choices": [choice], "usage": None})

    for index in range(request.choices):
        if is_chat:
            yield event(index, {"role": "assistant", "content": ""}, "", None)
        for token in tokens:
            yield event(index, {"content": token}, token, None)
        yield event(index, {}, "", finish_reason)
    yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> bytes:  # Any: JSON.
    return b"data: " + _ENCODER.encode(body) + b"\n\n"


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:  # Any: JSON.
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _inputs(given: str | list[str | int | list[int]]) -> list[str]:
    """Return the texts of an input: one text, several, or tokens, which stand for themselves."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return [" ".join(map(str, given))]
    return [item if isinstance(item, str) else " ".join(map(str, [item])) for item in given]


def _unit_vector(text: str, dimensions: int) -> list[float]:
    digest = hashlib.shake_256(text.encode()).digest(4 * dimensions)
    values = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", digest)]
    length = math.hypot(*values) or 1.0
    return [value / length for value in values]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
