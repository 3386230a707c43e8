"""`kwargs["standard_logging_object"]`: LiteLLM's payload for its loggers, filled from the event.

Names and types are LiteLLM's. What we do not know is None, never left out. Costs are floats in USD there, because
their readers expect them; the ledger's own integers stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tallystick.calls.callbacks.asked import Asked
from tallystick.ledger.event import SpendEvent

JSON = dict[str, Any]  # Any: JSON of LiteLLM's shape.

CALL_TYPES: Final[Mapping[str, str]] = {
    "chat_completion": "acompletion",
    "text_completion": "atext_completion",
    "embedding": "aembedding",
    "responses": "aresponses",
    "generate_content": "agenerate_content",
    "image_generation": "aimage_generation",
    "image_edit": "aimage_edit",
    "transcription": "atranscription",
    "translation": "atranscription",
    "speech": "aspeech",
    "moderation": "amoderation",
    "rerank": "arerank",
}
"""From an event's call type to LiteLLM's; others have the same name."""
_COSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_cost": ("input", "audio_input", "image_input"),
    "cache_read_cost": ("cache_read", "audio_cache_read"),
    "cache_creation_cost": ("cache_write", "cache_write_1h"),
    "output_cost": ("output", "reasoning", "audio_output", "image_output"),
    "reasoning_cost": ("reasoning",),
    "tool_usage_cost": ("searches",),
}
"""LiteLLM's lines of a cost, and ours that they sum."""
_NANO: Final = 1_000_000_000
_NOT_KNOWN: Final = (
    "user_api_key_spend", "user_api_key_max_budget", "user_api_key_budget_reset_at", "user_api_key_user_spend",
    "user_api_key_user_max_budget", "user_api_key_team_spend", "user_api_key_team_max_budget",
    "user_api_key_org_alias", "user_api_key_project_id", "user_api_key_project_alias", "user_api_key_user_email",
    "user_api_key_team_alias", "user_api_key_auth_metadata", "requester_custom_headers", "prompt_management_metadata",
    "mcp_tool_call_metadata", "vector_store_request_metadata", "routing_decision", "applied_guardrails",
    "cold_storage_object_key", "team_alias", "used_client_oauth_token",
)  # fmt: skip


def usd(nano_usd: int) -> float:
    """Return money as LiteLLM's consumers expect it. For showing; nothing is added up from it."""
    return nano_usd / _NANO


def standard_payload(
    event: SpendEvent,
    asked: Asked,
    *,
    response: object,
    usage: JSON,
    is_stream: bool,
    overhead_seconds: float | None,
) -> JSON:
    """Return the payload of a call that has ended."""
    status = "success" if event.status == "success" else "failure"
    first_token_at = event.first_token_at or event.ended_at
    answered_at = first_token_at if is_stream else event.ended_at
    message = None if event.status == "success" else event.error_message
    return {
        "id": event.provider_response_id or event.event_id,
        "trace_id": event.session_id or event.event_id,
        "session_id": event.session_id,
        "litellm_call_id": event.event_id,
        "call_type": CALL_TYPES.get(event.call_type, event.call_type),
        "stream": is_stream or None,
        "response_cost": usd(event.cost_nano_usd),
        "response_cost_nano_usd": event.cost_nano_usd,
        "cost_status": event.cost_status,
        "cost_breakdown": cost_breakdown(event),
        "cost_breakdown_nano_usd": dict(event.cost_breakdown),
        "autorouter_savings": None,
        "autorouter_savings_estimate": None,
        "autorouter_baseline_observation": None,
        "response_cost_failure_debug_info": None,
        "status": status,
        "status_fields": {"llm_api_status": status, "guardrail_status": "not_run"},
        "custom_llm_provider": event.provider or None,
        "total_tokens": usage["total_tokens"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "startTime": event.started_at.timestamp(),
        "endTime": event.ended_at.timestamp(),
        "completionStartTime": first_token_at.timestamp(),
        "response_time": _seconds(event.started_at, answered_at),
        "model_map_information": {"model_map_key": event.model, "model_map_value": None},
        "model": f"{event.provider}/{event.model}" if event.provider and event.model else event.model,
        "model_id": event.deployment_id or None,
        "model_group": event.model_group or None,
        "api_base": event.api_base,
        "metadata": metadata_of(event, usage=usage),
        "cache_hit": event.cache_hit,
        "cache_key": None,
        "saved_cache_cost": 0.0,
        "request_tags": list(event.tags),
        "request_model_access_groups": [],
        "end_user": event.end_user_id or None,
        "requester_ip_address": event.requester_ip or None,
        "user_agent": event.user_agent or None,
        "messages": asked.messages,
        "response": response,
        "error_str": message,
        "error_information": None if status == "success" else _error_information(event, message),
        "model_parameters": asked.parameters,
        "hidden_params": _hidden_params(event, usage, overhead_seconds),
        "guardrail_information": None,
        "standard_built_in_tools_params": None,
    }


def metadata_of(event: SpendEvent, *, usage: JSON | None) -> JSON:
    """Return the payload's `metadata`."""
    spend_logs = event.metadata.get("spend_logs_metadata")
    return {
        **dict.fromkeys(_NOT_KNOWN),
        "user_api_key_hash": event.key_hash or None,
        "user_api_key_alias": event.key_alias or None,
        "user_api_key_org_id": event.organization_id or None,
        "user_api_key_team_id": event.team_id or None,
        "user_api_key_user_id": event.user_id or None,
        "user_api_key_end_user_id": event.end_user_id or None,
        "user_api_key_request_route": event.endpoint,
        "team_id": event.team_id or None,
        "requester_ip_address": event.requester_ip or None,
        "user_agent": event.user_agent or None,
        "requester_metadata": event.metadata or None,
        "spend_logs_metadata": spend_logs if isinstance(spend_logs, dict) else None,
        "usage_object": usage,
    }


def cost_breakdown(event: SpendEvent) -> JSON:
    """Return LiteLLM's lines of the cost."""
    lines = event.cost_breakdown
    breakdown: JSON = {
        name: usd(sum(lines.get(each, 0) for each in parts))
        for name, parts in _COSTS.items()
        if any(each in lines for each in parts)
    }
    if "discount" in lines:
        breakdown["discount_amount"] = usd(-lines["discount"])
    if "margin" in lines:
        breakdown["margin_total_amount"] = usd(lines["margin"])
    return {**breakdown, "total_cost": usd(event.cost_nano_usd)}


def _error_information(event: SpendEvent, message: str | None) -> JSON:
    return {
        "error_code": event.error_code,
        "error_class": event.error_class,
        "llm_provider": event.provider,
        "traceback": "",
        "error_message": message,
    }


def _hidden_params(event: SpendEvent, usage: JSON, overhead_seconds: float | None) -> JSON:
    return {
        "model_id": event.deployment_id or None,
        "cache_key": None,
        "api_base": event.api_base or None,
        "response_cost": usd(event.cost_nano_usd),
        "litellm_overhead_time_ms": None if overhead_seconds is None else round(overhead_seconds * 1000, 3),
        "additional_headers": None,
        "batch_models": None,
        "batch_successful_requests": None,
        "batch_failed_requests": None,
        "litellm_model_name": event.model or None,
        "usage_object": usage,
    }


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
