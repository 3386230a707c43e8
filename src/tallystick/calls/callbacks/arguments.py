"""What callbacks are called with: LiteLLM's `kwargs`, `response_obj`, `start_time`, `end_time`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tallystick.calls.call import RunningCall
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.calls.callbacks.asked import REDACTED, Asked, read_asked
from tallystick.calls.callbacks.response import ResponseDict, known_of, response_of, usage_of
from tallystick.calls.callbacks.standard_payload import CALL_TYPES, JSON, metadata_of, standard_payload, usd
from tallystick.ledger.event import SpendEvent

Moment = Literal["begin", "success", "failure"]
Form = Literal["input_function", "before", "after"]
"""`fn(kwargs)`, `method(model, messages, kwargs)`, `fn(kwargs, response_obj, start_time, end_time)`."""
_LOG_EVENT_TYPES: Final = {
    "begin": "pre_api_call",
    "success": "successful_api_call",
    "failure": "failed_api_call",
}


class CallFailed(Exception):
    """Why a call failed, as `kwargs["exception"]`. It is never raised."""

    def __init__(self, event: SpendEvent, message: str) -> None:
        super().__init__(f"{event.error_class}: {message}")
        self.message = message
        self.status_code = int(event.error_code) if event.error_code.isdecimal() else 500
        self.llm_provider = event.provider
        self.model = event.model


class Arguments(NamedTuple):
    """All that a callback may be called with."""

    model: str
    messages: Any  # Any: JSON.
    kwargs: JSON
    response_obj: ResponseDict | None
    start_time: datetime
    end_time: datetime

    def of(self, form: Form) -> tuple[object, ...]:
        """Return them as a callback of this form takes them."""
        if form == "input_function":
            return (self.kwargs,)
        if form == "before":
            return (self.model, self.messages, self.kwargs)
        return (self.kwargs, self.response_obj, self.start_time, self.end_time)


def arguments_of(
    moment: Moment, call: RunningCall, event: SpendEvent, answer: HeardAnswer, *, redacts: bool
) -> Arguments:
    """Build them anew: a callback may change what it gets."""
    if redacts and event.error_message:  # Upstreams quote what they refuse.
        event = msgspec.structs.replace(event, error_message=REDACTED)
    request = call.request
    asked = read_asked(request, redacts=redacts)
    kwargs = _kwargs(event, asked, is_stream=request.stream)
    kwargs["log_event_type"] = _LOG_EVENT_TYPES[moment]
    response: ResponseDict | None = None
    if moment != "begin":
        shown: object = None
        if moment == "success":
            response = known_of(event) if redacts else response_of(request, event, answer)
            shown = {"text": REDACTED} if redacts else response
            if request.stream:
                kwargs["complete_streaming_response"] = kwargs["async_complete_streaming_response"] = response
        kwargs["standard_logging_object"] = standard = standard_payload(
            event,
            asked,
            response=shown,
            usage=usage_of(event),
            is_stream=request.stream,
            overhead_seconds=_overhead(call, event, is_stream=request.stream),
        )
        if moment == "failure":
            kwargs["exception"] = CallFailed(event, standard["error_str"] or "")
            kwargs["traceback_exception"] = ""
    return Arguments(event.model, asked.messages, kwargs, response, event.started_at, event.ended_at)


def _kwargs(event: SpendEvent, asked: Asked, *, is_stream: bool) -> JSON:
    metadata = {
        **event.metadata,
        **{name: value for name, value in metadata_of(event, usage=None).items() if value is not None},
        "model_group": event.model_group,
        "deployment": f"{event.provider}/{event.model}",
        "model_info": {"id": event.deployment_id},
        "api_base": event.api_base,
        "tags": list(event.tags),
    }
    shown_event: JSON = msgspec.to_builtins(event, builtin_types=(datetime,))
    return {
        "model": event.model,
        "messages": asked.messages,
        "input": asked.messages,
        "user": event.end_user_id or None,
        "stream": is_stream,
        "call_type": CALL_TYPES.get(event.call_type, event.call_type),
        "litellm_call_id": event.event_id,
        "litellm_trace_id": event.session_id or None,
        "custom_llm_provider": event.provider,
        "optional_params": asked.parameters,
        "additional_args": {},
        "litellm_params": {
            "litellm_call_id": event.event_id,
            "api_base": event.api_base,
            "custom_llm_provider": event.provider,
            "metadata": metadata,
            "model_info": {"id": event.deployment_id},
            "proxy_server_request": {"url": event.endpoint, "method": "POST", "headers": {}, "body": asked.body},
        },
        "start_time": event.started_at,
        "end_time": event.ended_at,
        "completion_start_time": event.first_token_at or event.ended_at,
        "response_cost": usd(event.cost_nano_usd),
        "response_cost_nano_usd": event.cost_nano_usd,
        "cache_hit": event.cache_hit,
        "tallystick_event": shown_event,
    }


def _overhead(call: RunningCall, event: SpendEvent, *, is_stream: bool) -> float | None:
    """Return how long the gateway itself took; of a stream nobody can tell."""
    if is_stream or event.status != "success":
        return None
    return max(0.0, (event.ended_at - event.started_at).total_seconds() - call.upstream_seconds)
