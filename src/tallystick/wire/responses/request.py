"""Requests of OpenAI's Responses API: checked at the edge, otherwise kept as the caller sent them."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.gateway_fields import GATEWAY_FIELDS, OUTPUT_TOKENS_MAX, GatewayBody, call_request
from tallystick.wire.openai.request import replace_metadata
from tallystick.wire.request_body import decode_body

RESPONSES: Final = "responses"
"""The name of the dialect, and the endpoint where answers are made."""


def parse_responses(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a request body of `/v1/responses` or of what is below it. Raises BadRequest, which names the field."""
    body = decode_body(_BODY, raw)
    request = call_request(body, dialect=RESPONSES, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    given = bytes(body.input)
    if given and given != b"null" and given[:1] not in (b'"', b"["):
        raise BadRequest("'input': expected a string or a list.", param="input")
    if (not given or given == b"null") and not (body.previous_response_id or body.conversation or body.prompt):
        raise BadRequest("'input' is missing: give a string or a list of items.", param="input")
    if endpoint != RESPONSES:
        request.stream = False
    request.client_wants_usage = request.stream
    request.user = body.user
    request.safety_identifier = body.safety_identifier
    request.previous_response_id = body.previous_response_id or ""
    request.is_background = endpoint == RESPONSES and body.background is True
    if body.max_output_tokens is not None and body.max_output_tokens >= 0:
        request.max_output_tokens = min(body.max_output_tokens, OUTPUT_TOKENS_MAX)
    return request


def upstream_body(request: CallRequest, *, model: str) -> bytes:
    """Return the caller's body for the upstream: every value keeps its bytes, but for `model`, the id of an earlier
    response, and the gateway's own fields.
    """
    fields = _RAW_FIELDS.decode(request.raw)
    fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    if not GATEWAY_FIELDS.isdisjoint(fields):
        fields = {name: value for name, value in fields.items() if name not in GATEWAY_FIELDS}
    if request.upstream_previous_id:
        fields["previous_response_id"] = msgspec.Raw(_ENCODER.encode(request.upstream_previous_id))
    if request.metadata:
        replace_metadata(request, fields)
    return _ENCODER.encode(fields)


class _Body(GatewayBody, gc=False):
    input: msgspec.Raw = msgspec.Raw()
    previous_response_id: str | None = None
    conversation: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    background: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    max_output_tokens: int | None = None


_BODY = msgspec.json.Decoder(_Body)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
