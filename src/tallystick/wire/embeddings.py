"""OpenAI's embeddings in no dialect: what is to be embedded, and vectors as callers get them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from struct import pack
from typing import Final

import msgspec

from tallystick.errors import BadRequest, Untranslatable
from tallystick.wire.call_request import CallRequest
from tallystick.wire.gateway_fields import GATEWAY_FIELDS
from tallystick.wire.usage import Usage

_HINTS: Final = frozenset(("model", "user", "metadata", "stream"))


class ToEmbed(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    input_type: str = ""
    """What the vectors are for, where the provider asks: not OpenAI's, but what LiteLLM's clients send."""
    as_base64: bool = False
    """Whether vectors go to the caller as bytes."""
    unsaid: tuple[str, ...] = ()
    """Fields of the request that have no place here."""


def read_embedding_request(request: CallRequest) -> ToEmbed:
    """Read a request. Raises BadRequest, which names the field, and Untranslatable for the ids of tokens."""
    try:
        body = _BODY.decode(request.raw)
    except msgspec.ValidationError as error:
        if request.token_ids:
            raise Untranslatable("'input': ids of tokens can't be translated: give text.", param="input") from error
        raise BadRequest(f"{error}.") from error
    fields = _FIELDS.decode(request.raw)
    return ToEmbed(
        texts=(body.input,) if isinstance(body.input, str) else tuple(body.input),
        dimensions=body.dimensions,
        input_type=body.input_type or "",
        as_base64=body.encoding_format == "base64",
        unsaid=tuple(name for name, value in fields.items() if name not in _KNOWN and bytes(value) != b"null"),
    )


def write_embeddings(vectors: Sequence[msgspec.Raw], *, model: str, usage: Usage | None, as_base64: bool) -> bytes:
    """Return the body of an answer. Raises msgspec.ValidationError for a vector that is none."""
    tokens = 0 if usage is None else usage.input_tokens or 0
    data = [
        {"object": "embedding", "index": index, "embedding": packed(_VECTOR.decode(vector)) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _ENCODER.encode({"object": "list", "data": data, "model": model, "usage": counts})


def packed(numbers: Sequence[float]) -> str:
    """Return a vector as OpenAI packs it: single floats, the lowest byte first."""
    return b64encode(pack(f"<{len(numbers)}f", *numbers)).decode()


class _Body(msgspec.Struct, gc=False):
    input: str | list[str]
    dimensions: int | None = None
    encoding_format: str | None = None
    input_type: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VECTOR = msgspec.json.Decoder(list[float], strict=False)
_ENCODER = msgspec.json.Encoder()
_KNOWN: Final = frozenset(_Body.__struct_fields__) | _HINTS | GATEWAY_FIELDS
