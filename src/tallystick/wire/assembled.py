"""A whole answer from the deltas of a stream."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.reply import Begun, Delta, PartBegun, PartGrown, PartSigned, Reply, ReplyPart, Stopped


def assemble(deltas: Iterable[Delta]) -> Reply:
    """Return what a stream said, as if it had come at once. Its usage is left out: the call's event has it."""
    begun = Begun(id="", model="")
    parts: dict[int, ReplyPart] = {}
    texts: dict[int, list[str]] = {}
    stopped: Stopped | None = None
    for delta in deltas:
        if isinstance(delta, PartGrown):
            texts.setdefault(delta.index, []).append(delta.text)
        elif isinstance(delta, PartBegun):
            parts[delta.index] = delta.part
        elif isinstance(delta, PartSigned):
            part = parts.get(delta.index)
            if isinstance(part, Thinking | ToolCall):
                parts[delta.index] = msgspec.structs.replace(part, signature=delta.signature)
        elif isinstance(delta, Begun):
            begun = delta
        elif isinstance(delta, Stopped):
            stopped = delta
    return Reply(
        id=begun.id,
        model=begun.model,
        parts=tuple(_grown(part, "".join(texts.get(index, ()))) for index, part in sorted(parts.items())),
        stop_reason=stopped.reason if stopped else None,
        stop_sequence=stopped.sequence if stopped else None,
    )


def _grown(part: ReplyPart, text: str) -> ReplyPart:
    if isinstance(part, ToolCall):
        return msgspec.structs.replace(part, arguments=part.arguments + text)
    if isinstance(part, Text | Thinking | Refusal):
        return msgspec.structs.replace(part, text=part.text + text)
    return part
