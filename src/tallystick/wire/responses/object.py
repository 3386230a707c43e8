"""The response object and its items as the gateway writes them, for answers that came in another dialect."""

from __future__ import annotations

from typing import Any, Final

from tallystick.wire.conversation import Refusal, Thinking, ToolCall
from tallystick.wire.reply import ReplyPart, StopReason
from tallystick.wire.responses.conversation import REDACTED
from tallystick.wire.responses.usage import write_usage
from tallystick.wire.usage import Usage

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_INCOMPLETE: Final[dict[StopReason | None, str]] = {
    "max_tokens": "max_output_tokens",
    "context_full": "max_output_tokens",
    "refusal": "content_filter",
}


def response_object(response_id: str, model: str, *, created: int) -> JSON:
    """Return a response that has begun. Nothing keeps it: it can't be asked for again."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def ended(response: JSON, items: list[JSON], reason: StopReason | None, usage: Usage | None) -> JSON:
    """Return the response as it is at its end."""
    incomplete = _INCOMPLETE.get(reason)
    return {
        **response,
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": items,
        "usage": write_usage(usage),
    }


def item_of(part: ReplyPart, number: int, response_id: str, *, status: str = "completed") -> JSON:
    """Return the item that a part is, but for the content of a message."""
    if isinstance(part, ToolCall):
        item: JSON = {
            "id": f"fc_{response_id}_{number}",
            "type": "function_call",
            "status": status,
            "call_id": part.id,
            "name": part.name,
            "arguments": part.arguments,
        }
        if part.signature:  # What Gemini wants back with its call, where Google's own OpenAI endpoint has it.
            item["extra_content"] = {"google": {"thought_signature": part.signature}}
        return item
    if isinstance(part, Thinking):
        return {
            "id": f"rs_{response_id}_{number}",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
            "encrypted_content": REDACTED + part.redacted if part.redacted else part.signature or None,
        }
    return {
        "id": f"msg_{response_id}_{number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [content_of(part)] if status == "completed" else [],
    }


def content_of(part: ReplyPart) -> JSON:
    """Return the content of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    assert not isinstance(part, ToolCall)
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
