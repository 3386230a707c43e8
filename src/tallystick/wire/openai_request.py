"""Requests in OpenAI's dialect: checked at the edge, otherwise kept as the caller sent them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tallystick.errors import BadRequest

Endpoint = Literal["chat/completions", "completions", "embeddings"]

_INPUT_FIELD = {"chat/completions": "messages", "completions": "prompt", "embeddings": "input"}

# Fields that speak to the gateway: an upstream would refuse them, or learn credentials that are not its own.
_GATEWAY_FIELDS = frozenset((
    "additional_drop_params", "allowed_model_region", "allowed_openai_params", "api_base", "api_key", "api_version",
    "base_url", "cache", "caching", "content_policy_fallbacks", "context_window_fallbacks", "custom_llm_provider",
    "default_fallbacks", "disable_fallbacks", "drop_params", "fallbacks", "guardrails", "litellm_call_id",
    "litellm_metadata", "litellm_params", "litellm_session_id", "litellm_trace_id", "max_fallbacks", "max_retries",
    "mock_delay", "mock_response", "mock_testing_content_policy_fallbacks", "mock_testing_context_fallbacks",
    "mock_testing_fallbacks", "mock_timeout", "model_info", "no-log", "num_retries", "organization", "stream_timeout",
    "tags", "timeout", "user_config",
))  # fmt: skip
_GATEWAY_METADATA_KEYS = frozenset(
    ("generation_id", "generation_name", "session_id", "spend_logs_metadata", "tags", "trace_id", "trace_name")
)
_OUTPUT_TOKENS_MAX = 1_000_000_000  # Above any model's limit; keeps estimates inside 64 bits.


class OpenAIRequest(msgspec.Struct, kw_only=True):
    """One request: the fields that the gateway needs, and the caller's bytes for the upstream."""

    endpoint: Endpoint
    model: str
    """The name that the caller asked for: a model group, not yet what the upstream calls it."""
    raw: bytes
    stream: bool = False
    client_wants_usage: bool = False
    """The caller set `stream_options.include_usage`, so the usage chunk must reach it."""
    user: str | None = None
    metadata: dict[str, Any]  # Any: the caller's own JSON.
    litellm_metadata: dict[str, Any]  # Any: the caller's own JSON.
    tags: list[str]
    session_id: str = ""
    safety_identifier: str | None = None
    max_output_tokens: int | None = None
    """For one choice. None: the caller set no limit."""
    choices: int = 1
    """How many answers are generated and billed: `n`, or `best_of` where that is more, for each prompt of a list."""
    token_ids: int = 0
    """How many tokens of the input came as numbers."""
    token_id_bytes: int = 0
    """How many bytes of `raw` those are."""
    mock_response: str | None = None

    def upstream_body(self, *, model: str, ask_usage: bool) -> bytes:
        """Return the caller's body for the upstream: every value keeps its bytes, but for `model` and the rest below.

        The gateway's own fields are taken out, and a stream is asked for its usage when `ask_usage` is set.
        """
        fields = _RAW_FIELDS.decode(self.raw)
        fields["model"] = msgspec.Raw(_ENCODER.encode(model))
        if not _GATEWAY_FIELDS.isdisjoint(fields):
            fields = {name: value for name, value in fields.items() if name not in _GATEWAY_FIELDS}
        if ask_usage and self.stream and not self.client_wants_usage:
            fields["stream_options"] = _asking_usage(fields.get("stream_options"))
        if self.metadata:
            self._replace_metadata(fields)
        return _ENCODER.encode(fields)

    def _replace_metadata(self, fields: dict[str, msgspec.Raw]) -> None:
        """Forward what is the caller's own; an upstream takes text values only, so anything else stays here."""
        forwarded = {key: value for key, value in self.metadata.items() if key not in _GATEWAY_METADATA_KEYS}
        if not forwarded or not all(isinstance(value, str) for value in forwarded.values()):
            del fields["metadata"]
        elif len(forwarded) < len(self.metadata) or bytes(fields["metadata"])[:1] == b'"':
            fields["metadata"] = msgspec.Raw(_ENCODER.encode(forwarded))


def parse_request(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> OpenAIRequest:
    """Check a request body. A model in the path wins over one in the body.

    Raises BadRequest, which names the field and what would be right.
    """
    body = _decode(raw)
    model = (body.model if model_in_path is None else model_in_path) or ""
    if not model.strip():
        raise BadRequest("'model' is missing or empty: name a model, as listed by GET /v1/models.", param="model")
    given = _input_of(endpoint, body)
    metadata = _object_of(body.metadata, "metadata") if body.metadata else {}
    litellm_metadata = _object_of(body.litellm_metadata, "litellm_metadata") if body.litellm_metadata else {}
    request = OpenAIRequest(
        endpoint=endpoint,
        model=model,
        raw=raw,
        stream=body.stream is True,
        user=body.user,
        metadata=metadata,
        litellm_metadata=litellm_metadata,
        tags=body.tags or [],
        session_id=body.litellm_session_id or body.litellm_trace_id or "",
        safety_identifier=body.safety_identifier,
        choices=max(body.n or 1, body.best_of or 1, 1),
        mock_response=body.mock_response,
    )
    if body.stream_options is not None and body.stream_options.include_usage:
        request.client_wants_usage = request.stream
    request.max_output_tokens = _output_limit(body)
    if given[:1] == b"[":
        _read_list(request, given)
    if metadata or litellm_metadata:
        _read_metadata(request, body)
    return request


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Message(msgspec.Struct, gc=False):
    """Any JSON object: what a message holds is between the caller and the model."""


class _Body(msgspec.Struct, gc=False):
    """The fields that the gateway reads, of all endpoints."""

    model: str | None = None
    messages: list[_Message] | None = None
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | str | None = None  # Any: the caller's own JSON.
    litellm_metadata: dict[str, Any] | str | None = None  # Any: the caller's own JSON.
    tags: list[str] | None = None
    litellm_session_id: str | None = None
    litellm_trace_id: str | None = None
    safety_identifier: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    mock_response: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Any])  # Any: the caller's own JSON.
_ENCODER = msgspec.json.Encoder()


def _decode(raw: bytes) -> _Body:
    try:
        return _BODY.decode(raw)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".").removesuffix("[...]") or None
        if field is None:
            raise BadRequest(f"The request body must be a JSON object: {reason}.") from error
        raise BadRequest(f"'{field}': {reason}.", param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise BadRequest("The request body is nested too deeply.") from error


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


def _read_list(request: OpenAIRequest, value: bytes) -> None:
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
    return min(max(limits), _OUTPUT_TOKENS_MAX)


def _object_of(value: dict[str, Any] | str, field: str) -> dict[str, Any]:
    """Return an object that may also come as JSON inside a string, as some clients send it."""
    if isinstance(value, dict):
        return value
    try:
        return _OBJECT.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"'{field}': expected an object, or a string that holds one as JSON.", param=field) from error


def _read_metadata(request: OpenAIRequest, body: _Body) -> None:
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


def _text_at(request: OpenAIRequest, key: str) -> str | None:
    for values in (request.metadata, request.litellm_metadata):
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def _asking_usage(stream_options: msgspec.Raw | None) -> msgspec.Raw:
    """Return stream_options that ask for usage and keep every other option."""
    if stream_options is None or bytes(stream_options) == b"null":
        return msgspec.Raw(b'{"include_usage":true}')
    options = _RAW_FIELDS.decode(stream_options)
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(_ENCODER.encode(options))
