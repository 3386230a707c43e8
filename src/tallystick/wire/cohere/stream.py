"""Streams of Cohere's chat, read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.cohere.usage import CohereUsage, failure, normalize_usage, stop_reason
from tallystick.wire.conversation import Text, Thinking, ToolCall
from tallystick.wire.reply import (
    Begun,
    Delta,
    Ended,
    Failed,
    PartBegun,
    PartEnded,
    PartGrown,
    ReplyPart,
    Stopped,
    UsageTold,
)


class CohereEvents:
    """Reads the events of one stream: plan, thoughts, texts and tool calls, one part after the other."""

    def __init__(self, *, model: str) -> None:
        """The answer itself does not tell its model."""
        self._model = model
        self._has_begun = False
        self._parts = 0
        self._open: ReplyPart | None = None
        """The part that grows now."""
        self._has_arguments = False

    def read(self, _name: bytes, data: bytes) -> list[Delta]:
        """Return what an event says. Raises UpstreamGarbled."""
        if data == b"[DONE]":
            return []
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
        deltas: list[Delta] = []
        if not self._has_begun:
            self._has_begun = True
            deltas.append(Begun(id=event.id or "", model=self._model))
        deltas += self._read_event(event)
        return deltas

    def _read_event(self, event: _Event) -> Iterator[Delta]:
        message = event.delta.message or _Message()
        if event.type in ("content-start", "content-delta"):
            content = message.content if isinstance(message.content, _Content) else _Content()
            if content.thinking:
                yield from self._grow(Thinking(), content.thinking)
            if content.text:
                yield from self._grow(Text(""), content.text)
        elif event.type == "tool-plan-delta":
            if message.tool_plan:
                yield from self._grow(Thinking(), message.tool_plan)
        elif event.type in ("tool-call-start", "tool-call-delta"):
            yield from self._call(event.type, message.tool_calls)
        elif event.type in ("content-end", "tool-call-end"):
            yield from self._end_part()
        elif event.type == "message-end":
            yield from self._end(event.delta)

    def _call(self, kind: str, call: _ToolCall | list[msgspec.Raw] | None) -> Iterator[Delta]:
        given = call if isinstance(call, _ToolCall) else None
        function = given.function if given is not None else None
        if given is not None and kind == "tool-call-start":
            name = function.name if function is not None else None
            yield from self._begin(ToolCall(id=given.id or "", name=name or "", arguments=""))
        if function is not None and function.arguments and isinstance(self._open, ToolCall):
            self._has_arguments = True
            yield PartGrown(self._parts - 1, function.arguments)

    def _grow(self, part: ReplyPart, text: str) -> Iterator[Delta]:
        if type(self._open) is not type(part):
            yield from self._begin(part)
        yield PartGrown(self._parts - 1, text)

    def _begin(self, part: ReplyPart) -> Iterator[Delta]:
        yield from self._end_part()
        self._open, self._has_arguments = part, False
        self._parts += 1
        yield PartBegun(self._parts - 1, part)

    def _end_part(self) -> Iterator[Delta]:
        if self._open is None:
            return
        if isinstance(self._open, ToolCall) and not self._has_arguments:
            yield PartGrown(self._parts - 1, "{}")
        self._open = None
        yield PartEnded(self._parts - 1)

    def _end(self, delta: _Delta) -> Iterator[Delta]:
        yield from self._end_part()
        usage = normalize_usage(delta.usage)
        if usage is not None:
            yield UsageTold(usage=usage)
        error = failure(delta.finish_reason, delta.error)
        if error is not None:
            yield Failed(error)
            return
        reason = stop_reason(delta.finish_reason or "")
        assert reason is not None
        yield Stopped(reason)
        yield Ended()


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct, gc=False):
    # Lists only where the message starts, and empty there.
    content: _Content | list[msgspec.Raw] | None = None
    tool_plan: str | None = None
    tool_calls: _ToolCall | list[msgspec.Raw] | None = None


class _Delta(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: CohereUsage | None = None
    error: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    id: str | None = None
    delta: _Delta = msgspec.field(default_factory=_Delta)


_EVENT = msgspec.json.Decoder(_Event, strict=False)
