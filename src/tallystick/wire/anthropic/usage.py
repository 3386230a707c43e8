"""Usage as Anthropic writes it, brought into our shape and back.

Anthropic's `input_tokens` are those that no cache was involved with; ours are the whole prompt. What a compaction on
the server used is billed, and stands only in `iterations`. What an advisor used is another model's, and not counted.
"""

from __future__ import annotations

import msgspec

from tallystick.wire.reply import StopReason
from tallystick.wire.usage import Usage

_COUNT_MAX = 1_000_000_000  # Above any model's limit: such a number is garbled.


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _ServerTools(msgspec.Struct, gc=False):
    web_search_requests: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Iteration(msgspec.Struct, gc=False):
    type: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


class AnthropicUsage(msgspec.Struct, gc=False):
    """The `usage` object. In a stream it comes twice, and what the second one has replaces what the first one had."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerTools | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Iteration] | None = None

    def updated(self, later: AnthropicUsage) -> AnthropicUsage:
        """Return this with every field that the later one has."""
        told = {name: getattr(later, name) for name in self.__struct_fields__ if getattr(later, name) is not None}
        return msgspec.structs.replace(self, **told)


def normalize_usage(reported: AnthropicUsage) -> Usage | None:
    """Return the quantities in our terms; None when nothing was counted, or what was is garbled."""
    if reported.input_tokens is None and reported.output_tokens is None:
        return None
    written, read = reported.cache_creation_input_tokens, reported.cache_read_input_tokens
    creation = reported.cache_creation
    tools, details = reported.server_tool_use, reported.output_tokens_details
    compactions = [each for each in reported.iterations or () if each.type == "compaction"]
    output = reported.output_tokens
    if compactions:
        output = (output or 0) + sum(each.output_tokens or 0 for each in compactions)
    usage = Usage(
        input_tokens=(reported.input_tokens or 0)
        + (written or 0)
        + (read or 0)
        + sum(each.input_tokens or 0 for each in compactions),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=creation.ephemeral_1h_input_tokens if creation is not None else None,
        reasoning_tokens=details.thinking_tokens if details is not None else None,
        searches=tools.web_search_requests if tools is not None else None,
    )
    if all(count is None or 0 <= count <= _COUNT_MAX for count in msgspec.structs.astuple(usage)):
        return usage
    return None


def write_usage(usage: Usage | None) -> dict[str, object]:
    """Return the `usage` object of a message."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    told: dict[str, object] = {
        "input_tokens": max(0, (usage.input_tokens or 0) - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
    }
    if usage.cache_write_1h_tokens is not None:
        told["cache_creation"] = {
            "ephemeral_5m_input_tokens": max(0, written - usage.cache_write_1h_tokens),
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.searches:
        told["server_tool_use"] = {"web_search_requests": usage.searches, "web_fetch_requests": 0}
    return told


_READ: dict[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_full",
}
_WRITTEN: dict[StopReason, str] = {ours: theirs for theirs, ours in _READ.items()}


def read_stop_reason(reason: str | None) -> StopReason | None:
    """Return what a stop reason means; an unknown one is an end."""
    return None if reason is None else _READ.get(reason, "end")


def write_stop_reason(reason: StopReason | None) -> str | None:
    """Return the stop reason to write."""
    return None if reason is None else _WRITTEN[reason]
