"""OpenAI's embeddings, served by Gemini: one request for each text, answered in the order of the texts."""

from __future__ import annotations

import base64
import struct
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.errors import BadRequest, Untranslatable, UpstreamGarbled
from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.gateway_fields import GATEWAY_FIELDS
from tallystick.wire.gemini_usage import UsageMetadata, normalize_usage
from tallystick.wire.native_reading import NativeStream
from tallystick.wire.reported import AnswerFacts

_KNOWN: Final = GATEWAY_FIELDS | {
    "model", "input", "dimensions", "encoding_format", "user", "metadata", "litellm_metadata", "stream",
}  # fmt: skip


class WrittenEmbeddings(NamedTuple):
    """A request, and how its answer is wanted."""

    body: bytes
    as_base64: bool


class _Body(msgspec.Struct, gc=False):
    input: str | list[str | int | list[int]] = ""
    dimensions: int | None = None
    encoding_format: str | None = None


class _Embedding(msgspec.Struct, gc=False):
    values: list[float] = []


class _Answer(msgspec.Struct, rename="camel", gc=False):
    embeddings: list[_Embedding]
    usage_metadata: UsageMetadata | None = None


_BODY = msgspec.json.Decoder(_Body)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_ENCODER = msgspec.json.Encoder()


def write_embeddings(request: CallRequest, *, model: str, drops: bool) -> WrittenEmbeddings:
    """Return the request in Gemini's dialect. Raises BadRequest, and Untranslatable for what it can't say."""
    try:
        body = _BODY.decode(request.raw)
    except msgspec.ValidationError as error:
        raise BadRequest(f"'input': {error}.", param="input") from error
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not all(isinstance(text, str) for text in texts):
        raise Untranslatable("'input': this model takes texts, no ids of tokens.", param="input")
    other = [name for name, value in _FIELDS.decode(request.raw).items() if name not in _KNOWN and value != b"null"]
    if other and not drops:
        raise Untranslatable(
            f"The model '{request.model[:256]}' is served in a dialect that can't say '{other[0]}': leave it out, or "
            "set drop_params to have it dropped.",
            param=other[0],
        )
    size = {} if body.dimensions is None else {"outputDimensionality": body.dimensions}
    name = f"models/{model}"
    requests = [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in texts]
    return WrittenEmbeddings(_ENCODER.encode({"requests": requests}), body.encoding_format == "base64")


class EmbeddingsReading:
    """The Reading of an answer that becomes OpenAI's."""

    content_types = None

    def __init__(self, *, model: str, as_base64: bool) -> None:
        self._model = model
        self._as_base64 = as_base64

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that holds no embeddings: {error}") from error
        usage = normalize_usage(answer.usage_metadata)
        tokens = 0 if usage is None else usage.input_tokens or 0
        written: dict[str, Any] = {  # Any: JSON.
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._vector(each.values)}
                for index, each in enumerate(answer.embeddings)
            ],
            "model": self._model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return PlainReading(AnswerFacts(usage, "", self._model, None), _ENCODER.encode(written))

    def meter(self) -> StreamMeter:
        """See Reading; embeddings are never streamed."""
        return NativeStream(lambda _name, _data: ())

    def _vector(self, values: list[float]) -> list[float] | str:
        if not self._as_base64:
            return values
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
