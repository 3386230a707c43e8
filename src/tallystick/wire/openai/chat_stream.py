"""Streams of OpenAI's chat dialect, read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.openai.stop import stop_reason
from tallystick.wire.openai.usage import ReportedUsage, XGroq, normalize_usage, read_error, reported_cost_nano_usd
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
        self._calls: dict[int, str] = {}
        """From the index of a tool call to its id."""
        self._growing: int | None = None
        """The tool call that grows now."""
        self._arguments: list[str] = []
        self._later: dict[int, _ToolCall] = {}
        """Calls that began before the arguments of another were complete: parts come one after the other."""

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
        if not self._has_begun and (chunk.id or chunk.choices):  # Azure tells of its filters first, with no id.
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
            yield from self._end_part()
            yield from self._begin(part)
        assert self._open is not None
        yield PartGrown(self._open, text)

    def _grow_call(self, call: _ToolCall) -> Iterator[Delta]:
        function = call.function or _Function()
        number = self._number_of(call)
        if number in self._later:
            self._later[number] = _joined(self._later[number], function)
        elif number not in self._calls:
            self._calls[number] = call.id or ""
            if self._growing is not None and not _is_object("".join(self._arguments)):
                self._later[number] = _joined(call, _Function())
                return
            yield from self._begin_call(number, call)
        elif function.arguments and number == self._growing:
            self._arguments.append(function.arguments)
            yield PartGrown(self._parts - 1, function.arguments)
        elif function.arguments and function.arguments.strip():
            raise UpstreamGarbled("The upstream's stream goes on with the arguments of a tool call that were complete.")

    def _number_of(self, call: _ToolCall) -> int:
        """Return the index of a call. Some upstreams give none, others the same one to each call."""
        number = len(self._calls) if call.index is None and call.id else call.index or 0
        names_one = call.id and call.function is not None and call.function.name
        if names_one and self._calls.get(number, call.id) not in ("", call.id):
            known = next((each for each, call_id in self._calls.items() if call_id == call.id), None)
            return max(self._calls) + 1 if known is None else known
        return number

    def _begin_call(self, number: int, call: _ToolCall) -> Iterator[Delta]:
        function = call.function or _Function()
        yield from self._begin(ToolCall(id=call.id or "", name=function.name or "", arguments=""))
        self._growing, self._arguments = number, [function.arguments or ""]
        if function.arguments:
            yield PartGrown(self._parts - 1, function.arguments)

    def _begin(self, part: ReplyPart) -> Iterator[Delta]:
        yield from self._end_open()
        self._open, self._open_kind = self._parts, type(part)
        self._parts += 1
        yield PartBegun(self._open, part)

    def _end_part(self) -> Iterator[Delta]:
        """End the part that grows, and say the calls that waited for its end."""
        yield from self._end_open()
        later, self._later = self._later, {}
        for number, call in later.items():
            yield from self._begin_call(number, call)
        yield from self._end_open()

    def _end_open(self) -> Iterator[Delta]:
        if self._open is not None:
            ended, self._open, self._open_kind, self._growing = self._open, None, None, None
            yield PartEnded(ended)


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
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _is_object(text: str) -> bool:
    """Whether arguments are complete."""
    try:
        _OBJECT.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _joined(call: _ToolCall, more: _Function) -> _ToolCall:
    """Return a call with more of its arguments."""
    function = call.function or _Function()
    arguments = (function.arguments or "") + (more.arguments or "")
    return _ToolCall(id=call.id, function=_Function(name=function.name or more.name, arguments=arguments))
