"""Streams of OpenAI's chat dialect, read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.openai_stop import stop_reason
from tallystick.wire.openai_usage import ReportedUsage, XGroq, normalize_usage, read_error, reported_cost_nano_usd
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
from tallystick.wire.reported import ReportedError


class OpenAIChatEvents:
    """Reads the events of one stream. Only the first choice: nobody who needs a translation can ask for more."""

    def __init__(self) -> None:
        self._has_begun = False
        self._parts = 0
        self._open: int | None = None
        """The part that grows now; tool calls are found by their own index."""
        self._open_kind: type[ReplyPart] | None = None
        self._calls: dict[int, int] = {}
        """From the index of a tool call to that of its part."""
        self._stop: str | None = None

    def read(self, name: bytes, data: bytes) -> list[Delta]:
        """Return what an event says. Raises UpstreamGarbled."""
        if data == b"[DONE]":
            return [*self._end_part(), Ended()]
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that is no chunk: {error}") from error
        if chunk.error or name == b"error":
            failure = (
                read_error(bytes(chunk.error)) if chunk.error else ReportedError(data[:1000].decode(errors="replace"))
            )
            if failure is not None:
                return [Failed(failure)]
        deltas: list[Delta] = []
        if not self._has_begun:
            self._has_begun = True
            deltas.append(Begun(id=chunk.id or "", model=chunk.model or ""))
        for choice in chunk.choices or ():
            if choice.index == 0:
                deltas += self._read_choice(choice)
        usage = chunk.usage if chunk.usage is not None or chunk.x_groq is None else chunk.x_groq.usage
        if usage is not None:
            told = normalize_usage(usage)
            if told is not None:
                deltas.append(UsageTold(usage=told, reported_cost_nano_usd=reported_cost_nano_usd(usage)))
        return deltas

    def _read_choice(self, choice: _Choice) -> Iterator[Delta]:
        delta = choice.delta
        if delta is not None:
            thought = delta.reasoning_content or delta.reasoning
            if thought:
                yield from self._grow(Thinking(), thought)
            if delta.content:
                text = delta.content if isinstance(delta.content, str) else "".join(p.text or "" for p in delta.content)
                if text:
                    yield from self._grow(Text(""), text)
            if delta.refusal:
                yield from self._grow(Refusal(""), delta.refusal)
            for call in delta.tool_calls or ():
                yield from self._grow_call(call)
        if choice.finish_reason is not None:
            yield from self._end_part()
            reason = stop_reason(choice.finish_reason, called_tools=bool(self._calls))
            assert reason is not None
            yield Stopped(reason)

    def _grow(self, part: ReplyPart, text: str) -> Iterator[Delta]:
        if self._open_kind is not type(part):
            yield from self._begin(part)
        assert self._open is not None
        yield PartGrown(self._open, text)

    def _grow_call(self, call: _ToolCall) -> Iterator[Delta]:
        function = call.function or _Function()
        number = len(self._calls) if call.index is None and call.id else call.index or 0
        if number not in self._calls:
            yield from self._begin(ToolCall(id=call.id or "", name=function.name or "", arguments=""))
            assert self._open is not None
            self._calls[number] = self._open
        if function.arguments:
            yield PartGrown(self._calls[number], function.arguments)

    def _begin(self, part: ReplyPart) -> Iterator[Delta]:
        yield from self._end_part()
        self._open, self._open_kind = self._parts, type(part)
        self._parts += 1
        yield PartBegun(self._open, part)

    def _end_part(self) -> list[Delta]:
        if self._open is None:
            return []
        ended, self._open, self._open_kind = self._open, None, None
        return [PartEnded(ended)]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _ContentPart(msgspec.Struct, gc=False):
    text: str | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_ContentPart] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: ReportedUsage | None = None
    x_groq: XGroq | None = None
    error: msgspec.Raw = msgspec.Raw()


_CHUNK = msgspec.json.Decoder(_Chunk, strict=False)
