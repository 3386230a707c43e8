"""Gemini's finish reasons, to and fro."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.wire.reply import StopReason

_READ: Mapping[str, StopReason] = {
    "STOP": "end",
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "MODEL_ARMOR": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
}
_WRITTEN: Mapping[StopReason, str] = {
    "end": "STOP",
    "max_tokens": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
    "pause": "STOP",
    "context_full": "MAX_TOKENS",
}


def stop_reason(finish_reason: str | None, *, called_tools: bool) -> StopReason | None:
    """Return what a finish reason means; Gemini says STOP, too, when it calls tools."""
    if not finish_reason or finish_reason == "FINISH_REASON_UNSPECIFIED":
        return None
    reason = _READ.get(finish_reason, "end")
    return "tool_calls" if called_tools and reason == "end" else reason


def finish_reason(reason: StopReason | None) -> str:
    """Return the finish reason to write; one must be given."""
    return "STOP" if reason is None else _WRITTEN[reason]
