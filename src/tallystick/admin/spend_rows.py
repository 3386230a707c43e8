"""Spend events as JSON: in full for the ledger's feed, and in the shape of LiteLLM's spend logs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from tallystick.admin.limits import usd
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import CommittedEvent

CACHE_HIT_MARK: Final = "_cache_hit"
_MILLISECOND: Final = timedelta(milliseconds=1)


def event_fields(committed: CommittedEvent) -> dict[str, Any]:  # Any: JSON.
    """Return every field of an event, by its own name; money stays integer nano-USD."""
    event = committed.event
    return {
        **{name: getattr(event, name) for name in event.__struct_fields__},
        "producer_id": committed.producer_id,
        "seq": committed.seq,
        "cursor": committed.cursor,
    }


def spend_row(event: SpendEvent) -> dict[str, Any]:  # Any: JSON.
    """Return an event as a row of LiteLLM's spend logs. Money becomes a number of dollars here."""
    usage = event.usage
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "request_id": request_id_of(event),
        "litellm_call_id": event.event_id,
        "call_type": event.call_type,
        "api_key": event.key_hash,
        "spend": usd(event.cost_nano_usd),
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "startTime": _text_of(event.started_at),
        "endTime": _text_of(event.ended_at),
        "completionStartTime": _text_of(event.first_token_at or event.ended_at),
        "request_duration_ms": (event.ended_at - event.started_at) // _MILLISECOND,
        "model": event.model,
        "model_group": event.model_group,
        "model_id": event.deployment_id,
        "api_base": event.api_base,
        "custom_llm_provider": event.provider,
        "user": event.user_id,
        "team_id": event.team_id or None,
        "organization_id": event.organization_id or None,
        "end_user": event.end_user_id,
        "request_tags": event.tags,
        "session_id": event.session_id or None,
        "cache_hit": str(event.cache_hit),
        "status": _status_of(event),
        "requester_ip_address": event.requester_ip or None,
        "metadata": _row_metadata(event),
        "messages": {},
        "response": {},
        "proxy_server_request": {},
    }


def request_id_of(event: SpendEvent) -> str:
    """Return the id under which callers know a call: the provider's answer's where there is one, else the event's."""
    if event.status != "success" or not event.provider_response_id:
        return event.event_id
    if event.cache_hit:
        return f"{event.provider_response_id}{CACHE_HIT_MARK}{int(event.started_at.timestamp())}"
    return event.provider_response_id


def _row_metadata(event: SpendEvent) -> dict[str, Any]:  # Any: JSON.
    usage = event.usage
    return {
        "status": _status_of(event),
        "user_api_key": event.key_hash,
        "user_api_key_alias": event.key_alias or None,
        "user_api_key_user_id": event.user_id or None,
        "user_api_key_team_id": event.team_id or None,
        "user_api_key_org_id": event.organization_id or None,
        "requester_ip_address": event.requester_ip or None,
        "user_agent": event.user_agent or None,
        "litellm_call_id": event.event_id,
        "attempted_retries": max(0, len(event.attempts) - 1),
        "usage_object": usage,
        "usage_source": event.usage_source,
        "additional_usage_values": {
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
        },
        "cost_status": event.cost_status,
        "cost_breakdown": {name: usd(amount) for name, amount in event.cost_breakdown.items()},
        "spend_logs_metadata": event.metadata or None,
        "error_information": _error_of(event),
    }


def _error_of(event: SpendEvent) -> dict[str, str] | None:
    if event.status == "success":
        return None
    return {
        "error_code": event.error_code,
        "error_class": event.error_class,
        "error_message": event.error_message,
        "traceback": "",
    }


def _status_of(event: SpendEvent) -> str:
    """LiteLLM knows no interrupted calls; to its clients they are failures."""
    return "success" if event.status == "success" else "failure"


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
