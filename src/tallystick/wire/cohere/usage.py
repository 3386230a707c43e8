"""What Cohere bills, and its reasons to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tallystick.wire.reply import StopReason
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

_COUNT_MAX: Final = 1_000_000_000  # Above any model's limit: such a number is garbled.


class Units(msgspec.Struct, gc=False):
    """Counts of one kind."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    image_tokens: int | None = None
    search_units: int | None = None


class CohereUsage(msgspec.Struct, gc=False):
    """`usage` of an answer; `meta` of embeddings."""

    billed_units: Units | None = None
    """Without what Cohere adds to a prompt, which it does not charge."""
    tokens: Units | None = None


def normalize_usage(reported: CohereUsage | None) -> Usage | None:
    """Return what is billed; None when nothing was counted, or what was is garbled."""
    units = None if reported is None else reported.billed_units or reported.tokens
    if units is None:
        return None
    images = units.image_tokens or None
    tokens = units.input_tokens
    if images is not None:
        tokens = (tokens or 0) + images
    usage = Usage(
        input_tokens=tokens,
        output_tokens=units.output_tokens,
        image_input_tokens=images,
        searches=units.search_units,
    )
    told = [count for count in msgspec.structs.astuple(usage) if count is not None]
    return usage if told and all(0 <= count <= _COUNT_MAX for count in told) else None


_READ: Final[Mapping[str, StopReason]] = {
    "COMPLETE": "end",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "max_tokens",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "refusal",
    "ERROR_LIMIT": "context_full",
}
_FAILURES: Final[Mapping[str, tuple[str, str]]] = {
    "ERROR": ("upstream_error", "502"),
    "TIMEOUT": ("timeout_error", "504"),
}


def stop_reason(reason: str | None) -> StopReason | None:
    """Return why the model stopped; an unknown reason is an end."""
    return None if reason is None else _READ.get(reason, "end")


def failure(reason: str | None, message: str | None = None) -> ReportedError | None:
    """Return the error that a reason to stop is; None when it is none."""
    known = _FAILURES.get(reason or "")
    if known is None:
        return None
    kind, code = known
    return ReportedError(message or f"The model failed ({reason}).", type=kind, code=code)
