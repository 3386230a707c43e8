"""OpenAI's finish reasons, to and fro."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.wire.reply import StopReason

_READ: Mapping[str, StopReason] = {
    "stop": "end",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_WRITTEN: Mapping[StopReason, str] = {
    "end": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "pause": "stop",
    "context_full": "length",
}


def stop_reason(finish_reason: str | None, *, called_tools: bool) -> StopReason | None:
    """Return what a finish reason means. Some upstreams say `stop` although they call tools."""
    if finish_reason is None:
        return None
    reason = _READ.get(finish_reason, "end")
    return "tool_calls" if called_tools and reason == "end" else reason


def finish_reason(reason: StopReason | None) -> str:
    """Return the finish reason to write; one must be given."""
    return "stop" if reason is None else _WRITTEN[reason]
