"""Streams of Anthropic's dialect, read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.anthropic.usage import AnthropicUsage, normalize_usage, read_stop_reason
from tallystick.wire.conversation import Text, Thinking, ToolCall
from tallystick.wire.reply import (
    Begun,
    Delta,
    Ended,
    Failed,
    PartBegun,
    PartEnded,
    PartGrown,
    PartSigned,
    ReplyPart,
    Stopped,
    UsageTold,
)
from tallystick.wire.reported import ReportedError


class AnthropicEvents:
    """Reads the events of one stream. Blocks that no other dialect has are passed over, and not counted as parts."""

    def __init__(self) -> None:
        self._usage = AnthropicUsage()
        self._parts: dict[int, int] = {}
        """From the index of a block to that of its part."""
        self._empty_calls: set[int] = set()
        """Parts that are tool calls, and have no arguments yet."""

    def read(self, name: bytes, data: bytes) -> list[Delta]:
        """Return what an event says. Raises UpstreamGarbled."""
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
        kind = event.type or name.decode(errors="replace")
        if kind == "content_block_delta":
            return list(self._read_delta(event))
        if kind == "content_block_start":
            return self._begin_block(event)
        if kind == "content_block_stop":
            return self._end_block(event)
        if kind == "message_start":
            return list(self._begin(event))
        if kind == "message_delta":
            return list(self._end_message(event))
        if kind == "message_stop":
            return [Ended()]
        if kind == "error":
            return [Failed(event.error or ReportedError("The upstream reported an error."))]
        return []

    def _begin(self, event: _Event) -> Iterator[Delta]:
        message = event.message
        if message is None:
            return
        yield Begun(id=message.id, model=message.model)
        yield from self._tell(message.usage, final=False)

    def _end_message(self, event: _Event) -> Iterator[Delta]:
        yield from self._tell(event.usage, final=True)
        reason = read_stop_reason(event.delta.stop_reason) if event.delta is not None else None
        if event.delta is not None and reason is not None:
            yield Stopped(reason, event.delta.stop_sequence)

    def _tell(self, usage: AnthropicUsage | None, *, final: bool) -> Iterator[Delta]:
        if usage is None:
            return
        self._usage = self._usage.updated(usage)
        told = normalize_usage(self._usage)
        if told is not None:
            yield UsageTold(usage=told, final=final)

    def _begin_block(self, event: _Event) -> list[Delta]:
        part = _part_of(event.content_block or _Block())
        if part is None:
            return []
        index = self._parts[event.index] = len(self._parts)
        if isinstance(part, ToolCall) and not part.arguments:
            self._empty_calls.add(index)
        return [PartBegun(index, part)]

    def _end_block(self, event: _Event) -> list[Delta]:
        part = self._parts.get(event.index)
        if part is None:
            return []
        if part not in self._empty_calls:
            return [PartEnded(part)]
        self._empty_calls.remove(part)
        return [PartGrown(part, "{}"), PartEnded(part)]

    def _read_delta(self, event: _Event) -> Iterator[Delta]:
        part, delta = self._parts.get(event.index), event.delta
        if part is None or delta is None:
            return
        text = delta.text or delta.partial_json or delta.thinking
        if text:
            self._empty_calls.discard(part)
            yield PartGrown(part, text)
        if delta.signature:
            yield PartSigned(part, delta.signature)


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: AnthropicUsage | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    thinking: str = ""
    signature: str = ""
    data: str = ""


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: AnthropicUsage | None = None
    error: ReportedError | None = None


_EVENT = msgspec.json.Decoder(_Event)


def _part_of(block: _Block) -> ReplyPart | None:
    if block.type == "text":
        return Text(block.text)
    if block.type == "tool_use":
        # `{}` stands for arguments that are to come; some upstreams send them all at once.
        arguments = bytes(block.input).decode()
        return ToolCall(id=block.id, name=block.name, arguments="" if arguments in ("{}", "null") else arguments)
    if block.type == "thinking":
        return Thinking(text=block.thinking, signature=block.signature)
    if block.type == "redacted_thinking":
        return Thinking(redacted=block.data)
    return None
