"""What LiteLLM tells its loggers of a call, read into an event. Nothing of LiteLLM is imported.

All of it is read with care: it is another library's, and differs from version to version. What is missing or of another
kind than expected is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.calls.text import clean_id, clean_metadata, clean_tags, clean_text
from tallystick.control.secret_names import looks_secret
from tallystick.ledger.event import SpendEvent, Status, UsageSource
from tallystick.runtime.ids import event_time
from tallystick.wire.openai.usage import ReportedUsage, nano_usd_of_text, normalize_usage
from tallystick.wire.token_estimate import estimate_output_tokens
from tallystick.wire.usage import Usage

JSON = Mapping[str, Any]  # Any: what LiteLLM hands out.

LITELLM_KEY: Final = "tallystick_litellm"
"""Under this, LiteLLM's calls appear where a virtual key would; those of its proxy have their own keys."""
_METADATA_BYTES_MAX: Final = 16 * 1024
_ENDPOINTS: Final[Mapping[str, tuple[str, str]]] = {
    "completion": ("chat_completion", "/v1/chat/completions"),
    "text_completion": ("text_completion", "/v1/completions"),
    "embedding": ("embedding", "/v1/embeddings"),
    "responses": ("responses", "/v1/responses"),
    "anthropic_messages": ("anthropic_messages", "/v1/messages"),
    "generate_content": ("generate_content", "/v1/generateContent"),
    "image_generation": ("image_generation", "/v1/images/generations"),
    "image_edit": ("image_edit", "/v1/images/edits"),
    "transcription": ("transcription", "/v1/audio/transcriptions"),
    "speech": ("speech", "/v1/audio/speech"),
    "moderation": ("moderation", "/v1/moderations"),
    "rerank": ("rerank", "/v1/rerank"),
}
"""From LiteLLM's call type, without the `a` of its asynchronous form, to ours and to the endpoint."""
_LITELLMS_OWN: Final = frozenset(
    ("model_group", "deployment", "model_info", "api_base", "caching_groups", "hidden_params", "headers", "endpoint",
     "litellm_api_version", "global_max_parallel_requests", "requester_metadata", "previous_models", "tags",
     "requester_ip_address", "user_agent", "litellm_parent_otel_span", "queue_time_seconds", "attempted_retries",
     "max_retries", "attempted_fallbacks", "original_model_group", "trace_id", "session_id", "usage_object",
     "model_group_size", "model_group_alias", "requester_custom_headers", "deployment_model_name",
     "api_key", "raw_request", "status", "llm_api_timing_windows")
)  # fmt: skip


class _Details(NamedTuple):
    """The parts of LiteLLM's arguments that are asked for again and again."""

    params: JSON
    metadata: JSON
    standard: JSON
    standard_metadata: JSON


def begun_event(event_id: str, kwargs: JSON, messages: object) -> SpendEvent:
    """Return the intent of a call: interrupted, with an estimate of its input."""
    characters = len(messages) if isinstance(messages, str) else _characters(messages)
    usage = Usage(input_tokens=estimate_output_tokens(characters))
    event = _attributed(event_id, kwargs)
    return msgspec.structs.replace(
        event,
        status="interrupted",
        usage=usage,
        usage_source="estimated",
        error_class="Interrupted",
        error_message="The process ended while LiteLLM's call was running.",
    )


def ended_event(
    event_id: str, kwargs: JSON, response: object, *, end_time: object, failed: bool, begun: SpendEvent | None
) -> SpendEvent:
    """Return the event of a call that is over. Without a cost: `Recorder` prices it."""
    details = _details(kwargs)
    event = _attributed(event_id, kwargs)
    usage = None if event.cache_hit else usage_of(response, details.standard_metadata)
    source: UsageSource = "provider"
    if usage is None:
        usage, source = Usage(), "none"
        if not failed and not event.cache_hit and begun is not None:  # It was answered, and nobody counted.
            output_tokens = estimate_output_tokens(_answered_characters(response))
            usage, source = msgspec.structs.replace(begun.usage, output_tokens=output_tokens), "estimated"
    status: Status = "failure" if failed else "success"
    exception = kwargs.get("exception")
    failure = {}
    if failed:
        failure = {
            "error_class": clean_text(type(exception).__name__ if exception is not None else "Exception", 128),
            "error_code": clean_text(str(getattr(exception, "status_code", "") or ""), 32),
            "error_message": clean_text(str(exception) if exception is not None else ""),
        }
    ended_at = max(moment_of(end_time) or event.started_at, event.started_at)
    first = moment_of(kwargs.get("completion_start_time")) if kwargs.get("stream") is True else None
    return msgspec.structs.replace(
        event,
        status=status,
        ended_at=ended_at,
        first_token_at=None if first is None else min(max(first, event.started_at), ended_at),
        usage=usage,
        usage_source=source,
        provider_response_id=clean_id(_text(_field(response, "id"))),
        # LiteLLM puts its own beside it while the call runs.
        metadata=event.metadata if begun is None else begun.metadata,
        **failure,
    )


def reported_cost(kwargs: JSON) -> int | None:
    """Return LiteLLM's own cost of a call; None where it has none, or 0, which it also says of what it can't price."""
    cost = kwargs.get("response_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or cost <= 0:
        return None
    return nano_usd_of_text(repr(cost))


def usage_of(response: object, standard_metadata: JSON) -> Usage | None:
    """Return what LiteLLM says that was used."""
    told = _as_mapping(_field(response, "usage")) or _mapping(standard_metadata.get("usage_object"))
    if not told:
        return None
    fields = {name: value for name, value in told.items() if name in ReportedUsage.__struct_fields__ and name != "cost"}
    if "prompt_tokens" not in fields and "input_tokens" in told:  # Of the Responses API.
        fields |= _of_responses(told)
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if name in fields:
            fields[name] = _as_mapping(fields[name]) or None
    try:
        reported = msgspec.convert(fields, ReportedUsage)
    except msgspec.ValidationError:
        counted = {name: fields.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        try:
            reported = msgspec.convert(counted, ReportedUsage)
        except msgspec.ValidationError:
            return None
    usage = normalize_usage(reported)
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return None
    return _with_hour_writes(usage, told)


def moment_of(value: object) -> datetime | None:
    """Return one of LiteLLM's times, which are the machine's local time and do not say so."""
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _attributed(event_id: str, kwargs: JSON) -> SpendEvent:
    """Return what every event of a call has in common."""
    details = _details(kwargs)
    metadata, standard_metadata = details.metadata, details.standard_metadata

    def known(name: str) -> str:
        return clean_id(_text(metadata.get(name)) or _text(standard_metadata.get(name)))

    asked = _text(kwargs.get("call_type"))
    call_type, endpoint = _ENDPOINTS.get(asked) or _ENDPOINTS.get(asked.removeprefix("a")) or (asked or "litellm", "")
    started_at = event_time(event_id)
    model = clean_id(_text(kwargs.get("model")))
    tags = metadata.get("tags") or details.standard.get("request_tags")
    return SpendEvent(
        event_id=event_id,
        call_type=clean_text(call_type, 64),
        endpoint=endpoint,
        status="interrupted",
        started_at=started_at,
        ended_at=started_at,
        key_hash=known("user_api_key_hash") or LITELLM_KEY,
        key_alias=known("user_api_key_alias") or ("" if known("user_api_key_hash") else "litellm"),
        user_id=known("user_api_key_user_id"),
        team_id=known("user_api_key_team_id"),
        organization_id=known("user_api_key_org_id"),
        end_user_id=known("user_api_key_end_user_id") or clean_id(_text(kwargs.get("user"))),
        tags=clean_tags([tag for tag in tags if isinstance(tag, str)]) if isinstance(tags, list) else (),
        session_id=clean_id(_text(metadata.get("session_id")) or _text(details.params.get("litellm_session_id"))),
        model_group=clean_id(_text(metadata.get("model_group"))) or model,
        model=model,
        deployment_id=clean_id(_text(_mapping(metadata.get("model_info")).get("id"))),
        provider=clean_id(_text(kwargs.get("custom_llm_provider")) or _text(details.params.get("custom_llm_provider"))),
        api_base=clean_text(_text(details.params.get("api_base")), 512),
        cache_hit=kwargs.get("cache_hit") is True,
        requester_ip=clean_text(known("requester_ip_address"), 64),
        user_agent=clean_text(known("user_agent"), 256),
        metadata=_own_metadata(metadata, _text(kwargs.get("litellm_call_id"))),
    )


def _own_metadata(metadata: JSON, call_id: str) -> dict[str, Any]:  # Any: the caller's own JSON.
    """Return what the caller said, without what LiteLLM put beside it, and what can't be written as JSON."""
    own = {"litellm_call_id": call_id}
    for name, value in metadata.items():
        if name in _LITELLMS_OWN or name.startswith("user_api_key") or looks_secret(name):
            continue
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError):
            continue
        own[name] = value
    return clean_metadata(own, _METADATA_BYTES_MAX)


def _details(kwargs: JSON) -> _Details:
    params = _mapping(kwargs.get("litellm_params"))
    standard = _mapping(kwargs.get("standard_logging_object"))
    metadata = {**_mapping(params.get("litellm_metadata")), **_mapping(params.get("metadata"))}
    return _Details(params, metadata, standard, _mapping(standard.get("metadata")))


def _of_responses(told: JSON) -> dict[str, Any]:  # Any: not yet checked.
    inputs, outputs = _as_mapping(told.get("input_tokens_details")), _as_mapping(told.get("output_tokens_details"))
    return {
        "prompt_tokens": told.get("input_tokens"),
        "completion_tokens": told.get("output_tokens"),
        "total_tokens": told.get("total_tokens"),
        "prompt_tokens_details": inputs or None,
        "completion_tokens_details": outputs or None,
    }


def _with_hour_writes(usage: Usage, told: JSON) -> Usage:
    """Add the cache writes that live an hour, which Anthropic charges more for."""
    details = _as_mapping(_field(told.get("prompt_tokens_details"), "cache_creation_token_details"))
    written = details.get("ephemeral_1h_input_tokens")
    if isinstance(written, int) and not isinstance(written, bool) and 0 < written <= (usage.cache_write_tokens or 0):
        return msgspec.structs.replace(usage, cache_write_1h_tokens=written)
    return usage


def _characters(messages: object) -> int:
    try:
        return len(msgspec.json.encode(messages))
    except (TypeError, ValueError, RecursionError):
        return len(repr(messages))


def _answered_characters(response: object) -> int:
    """Return the length of what was generated."""
    choices = _field(response, "choices")
    messages = [_field(each, "message") for each in choices] if isinstance(choices, list) else []
    return sum(len(_text(_field(each, "content"))) + _characters_of_calls(each) for each in messages)


def _characters_of_calls(message: object) -> int:
    calls = _field(message, "tool_calls")
    functions = [_field(each, "function") for each in calls] if isinstance(calls, list) else []
    return sum(len(_text(_field(each, "arguments"))) for each in functions)


def _field(value: object, name: str) -> Any:  # Any: what LiteLLM hands out.
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _as_mapping(value: object) -> dict[str, Any]:  # Any: as above.
    """Return a dictionary, or what an object of LiteLLM's says that it holds."""
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    found = dump() if callable(dump) else None
    return found if isinstance(found, dict) else {}


def _mapping(value: object) -> JSON:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
