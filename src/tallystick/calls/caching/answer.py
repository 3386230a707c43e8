"""An answer as it is kept: what the caller got, and where it came from."""

from __future__ import annotations

import msgspec


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A whole answer, plain or streamed, in the dialect of the callers that it is for."""

    status: int
    content_type: str
    body: bytes
    made_at: float
    """Seconds since 1970."""
    response_id: str
    deployment_id: str
    provider: str
    model: str
    """What the upstream calls it."""
    api_base: str


def encode_answer(answer: CachedAnswer) -> bytes:
    """Return it as it is kept."""
    return _ENCODER.encode(answer)


def decode_answer(value: bytes) -> CachedAnswer | None:
    """Return what was kept; None for what another version kept, or what is damaged."""
    try:
        return _DECODER.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(CachedAnswer)
