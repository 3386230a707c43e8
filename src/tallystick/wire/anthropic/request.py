"""Requests in Anthropic's dialect: checked at the edge, otherwise kept as the caller sent them."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.gateway_fields import (
    GATEWAY_FIELDS,
    OUTPUT_TOKENS_MAX,
    GatewayBody,
    call_request,
)
from tallystick.wire.request_body import decode_body

ANTHROPIC: Final = "anthropic"
"""The name of the dialect."""
_USER_ID: Final = "user_id"
"""All that Anthropic's `metadata` may hold; the rest is the gateway's."""


def parse_messages(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request body of `/v1/messages` or of its count of tokens. Raises BadRequest, which names the field."""
    body = decode_body(_BODY, raw)
    request = call_request(body, dialect=ANTHROPIC, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    if not body.messages:
        raise BadRequest("'messages' is missing or empty: give a list of messages.", param="messages")
    if endpoint == "messages":
        if body.max_tokens is None:
            raise BadRequest("'max_tokens' is missing: say how many tokens may be generated.", param="max_tokens")
        request.max_output_tokens = min(max(body.max_tokens, 0), OUTPUT_TOKENS_MAX)
    else:
        request.stream = False
    request.client_wants_usage = request.stream
    return request


def upstream_body(request: CallRequest, *, model: str) -> bytes:
    """Return the caller's body for the upstream: every value keeps its bytes, but for `model` and the gateway's own."""
    fields = _RAW_FIELDS.decode(request.raw)
    fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    if not GATEWAY_FIELDS.isdisjoint(fields):
        fields = {name: value for name, value in fields.items() if name not in GATEWAY_FIELDS}
    if request.metadata and not request.metadata.keys() <= {_USER_ID}:
        user_id = request.metadata.get(_USER_ID)
        if user_id is None:
            del fields["metadata"]
        else:
            fields["metadata"] = msgspec.Raw(_ENCODER.encode({_USER_ID: user_id}))
    return _ENCODER.encode(fields)


class _Message(msgspec.Struct, gc=False):
    """Any JSON object: what a message holds is between the caller and the model."""


class _Body(GatewayBody, gc=False):
    messages: list[_Message] | None = None
    max_tokens: int | None = None


_BODY = msgspec.json.Decoder(_Body)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
