"""What a body of any dialect may say to the gateway itself: attribution, session, routing, mock, what to drop."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_options import RoutingBody, options_of
from tallystick.wire.call_request import CallRequest, Endpoint

OUTPUT_TOKENS_MAX = 1_000_000_000
"""Above any model's limit; keeps estimates inside 64 bits."""

# Fields that speak to the gateway: an upstream would refuse them, or learn credentials that are not its own.
GATEWAY_FIELDS = frozenset((
    "additional_drop_params", "allowed_model_region", "allowed_openai_params", "api_base", "api_key", "api_version",
    "base_url", "cache", "caching", "content_policy_fallbacks", "context_window_fallbacks", "custom_llm_provider",
    "default_fallbacks", "disable_fallbacks", "drop_params", "fallbacks", "guardrails", "litellm_call_id",
    "litellm_metadata", "litellm_params", "litellm_session_id", "litellm_trace_id", "max_fallbacks", "max_retries",
    "mock_delay", "mock_response", "mock_testing_content_policy_fallbacks", "mock_testing_context_fallbacks",
    "mock_testing_fallbacks", "mock_timeout", "model_info", "no-log", "num_retries", "organization", "stream_timeout",
    "tags", "timeout", "user_config",
))  # fmt: skip
GATEWAY_METADATA_KEYS = frozenset(
    ("generation_id", "generation_name", "session_id", "spend_logs_metadata", "tags", "trace_id", "trace_name")
)


class GatewayBody(RoutingBody, gc=False):
    """The fields that bodies of all dialects have in common; each dialect's own struct inherits them.

    It inherits rather than composes because they stand side by side in the body, and one pass must decode them all.
    """

    model: str | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | str | None = None  # Any: the caller's own JSON.
    litellm_metadata: dict[str, Any] | str | None = None  # Any: the caller's own JSON.
    tags: list[str] | None = None
    litellm_session_id: str | None = None
    litellm_trace_id: str | None = None
    mock_response: str | None = None
    drop_params: bool | None = None


def call_request(
    body: GatewayBody, *, dialect: str, endpoint: Endpoint, raw: bytes, model_in_path: str | None = None
) -> CallRequest:
    """Return the request with what these fields say. Raises BadRequest, which names the field."""
    model = (body.model if model_in_path is None else model_in_path) or ""
    if not model.strip():
        raise BadRequest("'model' is missing or empty: name a model, as listed by GET /v1/models.", param="model")
    request = CallRequest(
        dialect=dialect,
        endpoint=endpoint,
        model=model,
        raw=raw,
        stream=body.stream is True,
        metadata=_object_of(body.metadata, "metadata") if body.metadata else {},
        litellm_metadata=_object_of(body.litellm_metadata, "litellm_metadata") if body.litellm_metadata else {},
        tags=body.tags or [],
        session_id=body.litellm_session_id or body.litellm_trace_id or "",
        mock_response=body.mock_response,
        drop_params=body.drop_params,
        options=options_of(body),
    )
    if request.metadata or request.litellm_metadata:
        _read_metadata(request, body)
    return request


_OBJECT = msgspec.json.Decoder(dict[str, Any])  # Any: the caller's own JSON.


def _object_of(value: dict[str, Any] | str, field: str) -> dict[str, Any]:
    """Return an object that may also come as JSON inside a string, as some clients send it."""
    if isinstance(value, dict):
        return value
    try:
        return _OBJECT.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"'{field}': expected an object, or a string that holds one as JSON.", param=field) from error


def _read_metadata(request: CallRequest, body: GatewayBody) -> None:
    for field, values in (("metadata", request.metadata), ("litellm_metadata", request.litellm_metadata)):
        tags = _tags_of(values.get("tags"), f"{field}.tags")
        if tags:
            request.tags = list(dict.fromkeys(request.tags + tags))
    if not body.litellm_session_id:
        request.session_id = (
            _text_at(request, "session_id") or body.litellm_trace_id or _text_at(request, "trace_id") or ""
        )


def _tags_of(value: object, field: str) -> list[str]:
    """Return tags from a list, or from text with commas, which is the only form that OpenAI's metadata can hold."""
    if value is None:
        return []
    if isinstance(value, str):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return value
    raise BadRequest(f"'{field}': expected a list of strings.", param=field)


def _text_at(request: CallRequest, key: str) -> str | None:
    for values in (request.metadata, request.litellm_metadata):
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
    return None
