"""An event in the shape of LiteLLM's standard logging payload, for destinations that expect its field names."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.ledger.event import SpendEvent

_USD = 1_000_000_000


def standard_payload(event: SpendEvent) -> dict[str, Any]:  # Any: JSON.
    """Return the payload. Money is a number of dollars, times are seconds since 1970, as they are there.

    `litellm_call_id` is the event's id, and unique; `id` is the provider's answer's where there is one. Prompts and
    answers are not part of an event.
    """
    usage = event.usage
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "id": event.provider_response_id or event.event_id,
        "litellm_call_id": event.event_id,
        "trace_id": event.session_id or event.event_id,
        "call_type": event.call_type,
        "cache_hit": event.cache_hit,
        "stream": event.first_token_at is not None,
        "status": status_of(event),
        "custom_llm_provider": event.provider,
        "response_cost": usd(event.cost_nano_usd),
        "cost_breakdown": {name: usd(amount) for name, amount in event.cost_breakdown.items()},
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "startTime": event.started_at.timestamp(),
        "endTime": event.ended_at.timestamp(),
        "completionStartTime": (event.first_token_at or event.ended_at).timestamp(),
        "response_time": (event.ended_at - event.started_at).total_seconds(),
        "model": event.model,
        "model_id": event.deployment_id,
        "model_group": event.model_group,
        "api_base": event.api_base,
        "request_tags": list(event.tags),
        "end_user": event.end_user_id,
        "requester_ip_address": event.requester_ip or None,
        "user_agent": event.user_agent or None,
        "messages": None,
        "response": None,
        "error_str": event.error_message or None,
        "error_information": _error_of(event),
        "metadata": _metadata_of(event),
        "hidden_params": {"model_id": event.deployment_id, "api_base": event.api_base},
        "model_parameters": {},
    }


def usd(nano_usd: int) -> float:
    """Return an amount as the nearest number of dollars, which is what LiteLLM's fields hold."""
    return nano_usd / _USD


def status_of(event: SpendEvent) -> str:
    """LiteLLM knows no interrupted calls; there they are failures."""
    return "success" if event.status == "success" else "failure"


def _error_of(event: SpendEvent) -> dict[str, str] | None:
    if event.status == "success":
        return None
    return {
        "error_code": event.error_code,
        "error_class": event.error_class,
        "error_message": event.error_message,
        "llm_provider": event.provider,
        "traceback": "",
    }


def _metadata_of(event: SpendEvent) -> dict[str, Any]:  # Any: JSON.
    return {
        "user_api_key_hash": event.key_hash or None,
        "user_api_key_alias": event.key_alias or None,
        "user_api_key_user_id": event.user_id or None,
        "user_api_key_team_id": event.team_id or None,
        "user_api_key_org_id": event.organization_id or None,
        "user_api_key_end_user_id": event.end_user_id or None,
        "requester_ip_address": event.requester_ip or None,
        "requester_metadata": event.metadata,
        "usage_object": msgspec.to_builtins(event.usage),
        "attempted_retries": max(0, len(event.attempts) - 1),
    }
