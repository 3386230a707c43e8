"""Usage as the Responses API tells it: the fields of chat completions by other names, and the tools' own counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tallystick.wire.openai.usage import (
    CompletionDetails,
    CostDetails,
    PromptDetails,
    ReportedUsage,
    normalize_usage,
    reported_cost_nano_usd,
)
from tallystick.wire.usage import Usage


class ResponsesUsage(msgspec.Struct, gc=False):
    """The `usage` object."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None
    cost: msgspec.Raw = msgspec.Raw()
    cost_details: CostDetails | None = None
    cost_in_usd_ticks: int | None = None
    is_byok: bool | None = None

    @property
    def reported(self) -> ReportedUsage:
        """The same as chat completions tell it."""
        return ReportedUsage(
            prompt_tokens=self.input_tokens,
            completion_tokens=self.output_tokens,
            total_tokens=self.total_tokens,
            prompt_tokens_details=self.input_tokens_details,
            completion_tokens_details=self.output_tokens_details,
            cost=self.cost,
            cost_details=self.cost_details,
            cost_in_usd_ticks=self.cost_in_usd_ticks,
            is_byok=self.is_byok,
        )


class _WebSearch(msgspec.Struct, gc=False):
    num_requests: int | None = None


class ToolUsage(msgspec.Struct, gc=False):
    """The `tool_usage` object."""

    web_search: _WebSearch | None = None


class SearchAction(msgspec.Struct, gc=False):
    """What a call of the search tool did: pages that it opens are not billed as searches."""

    type: str = ""


class ToolItem(msgspec.Struct, gc=False):
    """The part of an item of output that tells whether it is a call of the provider's own tools."""

    type: str = ""
    action: SearchAction | None = None
    container_id: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    """Of a call that draws: the picture."""


def read_usage(reported: ResponsesUsage | None, tools: ToolUsage | None, items: Sequence[ToolItem]) -> Usage | None:
    """Return what is billed; None when nothing was counted.

    Tools are counted by their calls, code by its containers, which are charged for as long as they live: one that an
    earlier response began counts in each that uses it.
    """
    usage = normalize_usage(reported.reported) if reported is not None else None
    if usage is None:
        return None
    containers = {item.container_id or "" for item in items if item.type == "code_interpreter_call"}
    files = sum(item.type == "file_search_call" for item in items)
    images = sum(
        item.type == "image_generation_call" and bytes(item.result) not in (b"", b"null", b'""') for item in items
    )
    if containers or files or images:
        usage = msgspec.structs.replace(
            usage, code_sessions=len(containers) or None, file_searches=files or None, images=images or None
        )
    told = tools.web_search.num_requests if tools is not None and tools.web_search is not None else None
    searches = sum(map(_is_search, items)) if told is None else told
    return msgspec.structs.replace(usage, searches=searches) if searches > 0 else usage


def read_cost(reported: ResponsesUsage | None) -> int | None:
    """Return the cost that the upstream itself reports."""
    return reported_cost_nano_usd(reported.reported) if reported is not None else None


def write_usage(usage: Usage | None) -> dict[str, object] | None:
    """Return the `usage` object of a response."""
    if usage is None:
        return None
    inputs, outputs = usage.input_tokens or 0, usage.output_tokens or 0
    details = {"cached_tokens": usage.cache_read_tokens or 0}
    if usage.cache_write_tokens is not None:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "input_tokens": inputs,
        "input_tokens_details": details,
        "output_tokens": outputs,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": inputs + outputs,
    }


def _is_search(item: ToolItem) -> bool:
    return item.type == "web_search_call" and (item.action is None or item.action.type in ("", "search"))
