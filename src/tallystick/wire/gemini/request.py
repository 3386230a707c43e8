"""Requests in Gemini's dialect: checked at the edge, otherwise kept as the caller sent them.

What is asked of which model stands in the path; the body names a model only where it holds requests of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.gateway_fields import GATEWAY_FIELDS, OUTPUT_TOKENS_MAX, GatewayBody, call_request
from tallystick.wire.request_body import decode_body

GEMINI: Final = "gemini"
"""The name of the dialect, with streams of server-sent events."""
GEMINI_ARRAY: Final = "gemini_array"
"""The same with streams that are one JSON array: what Google's API gives without `alt=sse`."""
ARRAY_CONTENT_TYPE: Final = "application/json; charset=UTF-8"
GEMINI_DIALECTS: Final = frozenset((GEMINI, GEMINI_ARRAY))

_NEEDED: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    "generateContent": ("contents",),
    "countTokens": ("contents", "wrapped", "wrapped_snake"),
    "batchEmbedContents": ("requests",),
    "embedContent": ("content",),
}
_OURS: Final = GATEWAY_FIELDS | {"litellm_metadata", "metadata", "model", "stream"}
"""Fields of the body that Google's API would refuse: the gateway's own, and the model, which the path names."""
_NAMES_MODELS: Final[frozenset[Endpoint]] = frozenset(("batchEmbedContents", "countTokens"))


def parse_gemini(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request for a plain answer. Raises BadRequest, which names the field and what would be right."""
    return _parse(endpoint, raw, model_in_path, dialect=GEMINI, stream=False)


def parse_gemini_stream(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request for a stream of events; see `parse_gemini`."""
    return _parse(endpoint, raw, model_in_path, dialect=GEMINI, stream=True)


def parse_gemini_array(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request for a stream that is one JSON array; see `parse_gemini`."""
    request = _parse(endpoint, raw, model_in_path, dialect=GEMINI_ARRAY, stream=True)
    request.stream_content_type = ARRAY_CONTENT_TYPE
    return request


def upstream_body(request: CallRequest, *, model: str) -> bytes:
    """Return the caller's body for the upstream: its bytes as they are, but for the gateway's fields and for names.

    `model` is what the upstream calls the model.
    """
    fields = _FIELDS.decode(request.raw)
    kept = {name: value for name, value in fields.items() if name not in _OURS}
    if request.endpoint in _NAMES_MODELS:
        for field in ("requests", "generateContentRequest", "generate_content_request"):
            if field in kept:
                kept[field] = msgspec.Raw(_ENCODER.encode(_renamed(kept[field], f"models/{model}", field)))
    elif len(kept) == len(fields):
        return request.raw
    return _ENCODER.encode(kept)


class _Config(msgspec.Struct, gc=False):
    max_output_tokens: int | None = msgspec.field(name="maxOutputTokens", default=None)
    candidate_count: int | None = msgspec.field(name="candidateCount", default=None)
    # The same in the other spelling, which Google's API takes as well.
    max_output_tokens_snake: int | None = msgspec.field(name="max_output_tokens", default=None)
    candidate_count_snake: int | None = msgspec.field(name="candidate_count", default=None)


class _Body(GatewayBody, gc=False):
    """The fields that the gateway reads, of all endpoints."""

    contents: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    requests: msgspec.Raw = msgspec.Raw()
    wrapped: msgspec.Raw = msgspec.field(name="generateContentRequest", default_factory=msgspec.Raw)
    wrapped_snake: msgspec.Raw = msgspec.field(name="generate_content_request", default_factory=msgspec.Raw)
    config: _Config | None = msgspec.field(name="generationConfig", default=None)
    config_snake: _Config | None = msgspec.field(name="generation_config", default=None)


_BODY = msgspec.json.Decoder(_Body)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def _parse(endpoint: Endpoint, raw: bytes, model_in_path: str | None, *, dialect: str, stream: bool) -> CallRequest:
    body = decode_body(_BODY, raw)
    request = call_request(body, dialect=dialect, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    request.stream = stream
    needed = _NEEDED[endpoint]
    if all(bytes(getattr(body, name)) in (b"", b"null") for name in needed):
        raise BadRequest(f"'{needed[0]}' is missing.", param=needed[0])
    config = body.config or body.config_snake
    if config is not None:
        _read_config(request, config)
    return request


def _read_config(request: CallRequest, config: _Config) -> None:
    limit = config.max_output_tokens if config.max_output_tokens is not None else config.max_output_tokens_snake
    if limit is not None and limit >= 0:
        request.max_output_tokens = min(limit, OUTPUT_TOKENS_MAX)
    request.choices = max(config.candidate_count or config.candidate_count_snake or 1, 1)


def _renamed(raw: msgspec.Raw, model: str, field: str) -> Any:  # Any: the caller's own JSON.
    """Put the upstream's name of the model into each request that names one."""
    try:
        given = msgspec.json.decode(raw, type=list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise BadRequest(f"'{field}': expected a list of objects, or an object: {error}.", param=field) from error
    name = msgspec.Raw(_ENCODER.encode(model))
    if isinstance(given, dict):
        return {**given, "model": name}
    return [{**each, "model": name} for each in given]
