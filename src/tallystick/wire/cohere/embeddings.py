"""Cohere's embeddings (v2), for callers of OpenAI's."""

from __future__ import annotations

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.cohere.usage import CohereUsage, normalize_usage
from tallystick.wire.dialect import ContentTypes, PlainReading, StreamMeter
from tallystick.wire.embeddings import ToEmbed, write_embeddings
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.reported import AnswerFacts

_INPUT_TYPE = "search_document"
"""Cohere wants to know what for. This is for texts that are looked up, by vectors of `search_query`."""


def write_embed(asked: ToEmbed, *, model: str) -> bytes:
    """Return the body of a request."""
    body: dict[str, object] = {
        "model": model,
        "texts": asked.texts,
        "input_type": asked.input_type or _INPUT_TYPE,
        "embedding_types": ["float"],
        "truncate": "NONE",  # A text that is too long is an error, as it is with OpenAI; not cut in silence.
    }
    if asked.dimensions is not None:
        body["output_dimension"] = asked.dimensions
    return _ENCODER.encode(body)


class EmbeddedReading:
    """The Reading of vectors."""

    content_types = ContentTypes(plain="application/json", stream="")

    def __init__(self, *, model: str, as_base64: bool) -> None:
        self._model = model
        self._as_base64 = as_base64

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        try:
            answer = _ANSWER.decode(body)
            usage = normalize_usage(answer.meta)
            written = write_embeddings(
                answer.embeddings.float, model=self._model, usage=usage, as_base64=self._as_base64
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that has no vectors: {error}") from error
        return PlainReading(AnswerFacts(usage, answer.id or "", self._model, None), written)

    def meter(self) -> StreamMeter:
        """See Reading. Vectors are not streamed."""
        return COUNTED.meter()


class _Embeddings(msgspec.Struct, gc=False):
    float: list[msgspec.Raw]


class _Answer(msgspec.Struct, gc=False):
    embeddings: _Embeddings
    id: str | None = None
    meta: CohereUsage | None = None


_ENCODER = msgspec.json.Encoder()
_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
