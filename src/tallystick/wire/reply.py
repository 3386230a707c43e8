"""The neutral answer: a whole one, and the deltas of a streamed one. In no dialect."""

from __future__ import annotations

from typing import Literal

import msgspec

from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

StopReason = Literal["end", "max_tokens", "stop_sequence", "tool_calls", "refusal", "pause", "context_full"]
"""Why the model stopped. `pause`: it wants to be asked to go on. `refusal` is also what a filter of contents does."""

ReplyPart = Text | Thinking | ToolCall | Refusal


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. Parts that no other dialect has (results of the provider's own tools) are not in it."""

    id: str
    model: str
    parts: tuple[ReplyPart, ...]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    usage: Usage | None = None
    reported_cost_nano_usd: int | None = None
    error: ReportedError | None = None
    """An error that came with status 200."""
    service_tier: str = ""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """The first delta of a stream."""

    id: str
    model: str
    service_tier: str = ""
    """As far as it is known now; `UsageTold` says it again."""


class PartBegun(msgspec.Struct, frozen=True):
    """A part begins; what is in it already counts. Indexes count from 0 without holes, in the order of beginnings."""

    index: int
    part: ReplyPart


class PartGrown(msgspec.Struct, frozen=True):
    """More of a part: of its text, of its thoughts, or of its arguments, whichever it has."""

    index: int
    text: str


class PartSigned(msgspec.Struct, frozen=True):
    """The signature of the thoughts, or of the tool call, at this index."""

    index: int
    signature: str


class PartEnded(msgspec.Struct, frozen=True):
    """A part is complete. Every part ends, at the latest before `Stopped`."""

    index: int


class UsageTold(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of the whole call as far as it is known now. The last one that is `final` is what is billed."""

    usage: Usage
    final: bool = True
    """False: counted before all was generated."""
    reported_cost_nano_usd: int | None = None
    service_tier: str = ""
    """See `wire.service_tier`."""


class Stopped(msgspec.Struct, frozen=True):
    """The model stopped. Usage may still follow."""

    reason: StopReason
    sequence: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The upstream says that it failed. Nothing follows."""

    error: ReportedError


class Ended(msgspec.Struct, frozen=True):
    """The end of the stream. Nothing follows."""


Delta = Begun | PartBegun | PartGrown | PartSigned | PartEnded | UsageTold | Stopped | Failed | Ended
