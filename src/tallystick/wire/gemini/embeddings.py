"""OpenAI's embeddings, served by Gemini: one request for each text, answered in the order of the texts."""

from __future__ import annotations

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.embeddings import ToEmbed, write_embeddings
from tallystick.wire.gemini.usage import UsageMetadata, normalize_usage
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.reported import AnswerFacts


def write_embed(asked: ToEmbed, *, model: str) -> bytes:
    """Return the body of a request."""
    size = {} if asked.dimensions is None else {"outputDimensionality": asked.dimensions}
    name = f"models/{model}"
    requests = [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in asked.texts]
    return _ENCODER.encode({"requests": requests})


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
            usage = normalize_usage(answer.usage_metadata)
            vectors = [each.values for each in answer.embeddings]
            written = write_embeddings(vectors, model=self._model, usage=usage, as_base64=self._as_base64)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that holds no embeddings: {error}") from error
        return PlainReading(AnswerFacts(usage, "", self._model, None), written)

    def meter(self) -> StreamMeter:
        """See Reading; embeddings are never streamed."""
        return COUNTED.meter()


class _Embedding(msgspec.Struct, gc=False):
    values: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel", gc=False):
    embeddings: list[_Embedding]
    usage_metadata: UsageMetadata | None = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_ENCODER = msgspec.json.Encoder()
