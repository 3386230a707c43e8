"""Requests in OpenAI's dialect: checked at the edge, otherwise kept as the caller sent them."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.gateway_fields import (
    GATEWAY_FIELDS,
    GATEWAY_METADATA_KEYS,
    OUTPUT_TOKENS_MAX,
    GatewayBody,
    call_request,
)
from tallystick.wire.request_body import decode_body

OPENAI: Final = "openai"
"""The name of the dialect."""
_INPUT_FIELD = {"chat/completions": "messages", "completions": "prompt", "embeddings": "input"}


def upstream_body(request: CallRequest, *, model: str, ask_usage: bool) -> bytes:
    """Return the caller's body for the upstream: every value keeps its bytes, but for `model` and the rest below.

    The gateway's own fields are taken out, and a stream is asked for its usage when `ask_usage` is set.
    """
    fields = _RAW_FIELDS.decode(request.raw)
    fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    if not GATEWAY_FIELDS.isdisjoint(fields):
        fields = {name: value for name, value in fields.items() if name not in GATEWAY_FIELDS}
    if ask_usage and request.stream and not request.client_wants_usage:
        fields["stream_options"] = _asking_usage(fields.get("stream_options"))
    if request.metadata:
        replace_metadata(request, fields)
    return _ENCODER.encode(fields)


def asking_usage(raw: bytes) -> bytes:
    """Return the body of a stream that asks for its usage; every other value keeps its bytes."""
    fields = _RAW_FIELDS.decode(raw)
    fields["stream_options"] = _asking_usage(fields.get("stream_options"))
    return _ENCODER.encode(fields)


def parse_request(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request body. A model in the path wins over one in the body.

    Raises BadRequest, which names the field and what would be right.
    """
    body = decode_body(_BODY, raw)
    request = call_request(body, dialect=OPENAI, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    given = _input_of(endpoint, body)
    request.user = body.user
    request.safety_identifier = body.safety_identifier
    request.choices = max(body.n or 1, body.best_of or 1, 1)
    if body.stream_options is not None and body.stream_options.include_usage:
        request.client_wants_usage = request.stream
    request.max_output_tokens = _output_limit(body)
    if given[:1] == b"[":
        _read_list(request, given)
    return request


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Message(msgspec.Struct, gc=False):
    """Any JSON object: what a message holds is between the caller and the model."""


class _Body(GatewayBody, gc=False):
    """The fields that the gateway reads, of all endpoints."""

    messages: list[_Message] | None = None
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    stream_options: _StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


_BODY = msgspec.json.Decoder(_Body)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def _input_of(endpoint: Endpoint, body: _Body) -> bytes:
    """Return the JSON of the prompt or the input; nothing for messages."""
    if endpoint == "chat/completions":
        if not body.messages:
            raise BadRequest("'messages' is missing or empty: give a list of messages.", param="messages")
        return b""
    field = _INPUT_FIELD[endpoint]
    value = bytes(body.prompt if endpoint == "completions" else body.input)
    if not value or value == b"null":
        raise BadRequest(f"'{field}' is missing: give a string or a list.", param=field)
    if value[:1] not in (b'"', b"["):
        raise BadRequest(f"'{field}': expected a string or a list.", param=field)
    return value


def _read_list(request: CallRequest, value: bytes) -> None:
    """Count what a list holds: strings, the ids of tokens, or lists of those. By its bytes: it may be megabytes."""
    has_ids = b'"' not in value
    if has_ids:
        request.token_ids = value.count(b",") + 1
        request.token_id_bytes = len(value)
    if request.endpoint == "completions":  # Every prompt is answered on its own.
        prompts = value.count(b"[") - 1 if has_ids else _strings_in(value)
        request.choices *= max(prompts, 1)


def _strings_in(value: bytes) -> int:
    if b"\\" in value:  # Escaped backslashes first: behind one, a quote ends its string.
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    return value.count(b'"') // 2


def _output_limit(body: _Body) -> int | None:
    """Return the larger of the limits that are given: upstreams differ in which of them they heed."""
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    if not limits or min(limits) < 0:  # A negative limit means "none" to several upstreams.
        return None
    return min(max(limits), OUTPUT_TOKENS_MAX)


def replace_metadata(request: CallRequest, fields: dict[str, msgspec.Raw]) -> None:
    """Forward what is the caller's own; an upstream takes text values only, so anything else stays here."""
    forwarded = {key: value for key, value in request.metadata.items() if key not in GATEWAY_METADATA_KEYS}
    if not forwarded or not all(isinstance(value, str) for value in forwarded.values()):
        del fields["metadata"]
    elif len(forwarded) < len(request.metadata) or bytes(fields["metadata"])[:1] == b'"':
        fields["metadata"] = msgspec.Raw(_ENCODER.encode(forwarded))


def _asking_usage(stream_options: msgspec.Raw | None) -> msgspec.Raw:
    """Return stream_options that ask for usage and keep every other option."""
    if stream_options is None or bytes(stream_options) == b"null":
        return msgspec.Raw(b'{"include_usage":true}')
    options = _RAW_FIELDS.decode(stream_options)
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(_ENCODER.encode(options))
