"""Bedrock's streams (ConverseStream), read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.bedrock.terms import read_stop_sequence, reported_exception, stop_reason
from tallystick.wire.bedrock.usage import TokenUsage, normalize_usage
from tallystick.wire.conversation import Text, Thinking, ToolCall
from tallystick.wire.event_stream import EventStream, StreamMessage
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


class ConverseStream:
    """The StreamReader of one stream."""

    unscanned_events = 0

    __slots__ = ("_empty_calls", "_events", "_frames", "_model", "_open", "_parts", "_response_id")

    def __init__(self, *, response_id: str, model: str) -> None:
        """The answer itself tells neither its id nor its model."""
        self._response_id = response_id
        self._model = model
        self._frames = EventStream()
        self._parts = 0
        self._open: dict[int, tuple[int, type[ReplyPart]]] = {}
        """From the index of a block to that of its part, and what it is."""
        self._empty_calls: set[int] = set()
        """Tool calls that have no arguments yet."""
        self._events = {
            "messageStart": self._begin,
            "contentBlockStart": self._begin_block,
            "contentBlockDelta": self._grow_block,
            "contentBlockStop": self._end_block,
            "messageStop": self._stop,
            "metadata": self._end,
        }

    def feed(self, chunk: bytes) -> list[Delta]:
        """See StreamReader."""
        return [delta for message in self._frames.feed(chunk) for delta in self._read(message)]

    def finish(self) -> list[Delta]:
        """See StreamReader."""
        return []

    def _read(self, message: StreamMessage) -> Iterator[Delta]:
        failure = exception_in(message)
        if failure is not None:
            yield Failed(failure)
            return
        read = self._events.get(message.headers.get(":event-type", ""))
        if read is None:  # Of a kind that came after us.
            return
        try:
            event = _EVENT.decode(message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
        yield from read(event)

    def _begin(self, _event: _Event) -> Iterator[Delta]:
        yield Begun(id=self._response_id, model=self._model)

    def _begin_block(self, event: _Event) -> Iterator[Delta]:
        tool = event.start.tool_use if event.start is not None else None
        if tool is not None:
            yield self._open_part(
                event.content_block_index, ToolCall(id=tool.tool_use_id, name=tool.name, arguments="")
            )
            self._empty_calls.add(event.content_block_index)

    def _grow_block(self, event: _Event) -> Iterator[Delta]:
        delta, block = event.delta or _Delta(), event.content_block_index
        if delta.text:
            yield from self._grow(block, Text(""), delta.text)
        elif delta.tool_use is not None and delta.tool_use.input and block in self._open:
            self._empty_calls.discard(block)
            yield PartGrown(self._open[block][0], delta.tool_use.input)
        elif delta.reasoning_content is not None:
            yield from self._think(block, delta.reasoning_content)

    def _think(self, block: int, thought: _Thought) -> Iterator[Delta]:
        if thought.redacted_content:
            yield from self._close_part(block)
            yield self._open_part(block, Thinking(redacted=thought.redacted_content))
        elif thought.text:
            yield from self._grow(block, Thinking(), thought.text)
        elif thought.signature:
            if self._open.get(block, (0, Text))[1] is not Thinking:
                yield from self._close_part(block)
                yield self._open_part(block, Thinking())
            yield PartSigned(self._open[block][0], thought.signature)

    def _grow(self, block: int, part: ReplyPart, text: str) -> Iterator[Delta]:
        if block not in self._open or self._open[block][1] is not type(part):
            yield from self._close_part(block)
            yield self._open_part(block, part)
        yield PartGrown(self._open[block][0], text)

    def _end_block(self, event: _Event) -> Iterator[Delta]:
        yield from self._close_part(event.content_block_index)

    def _stop(self, event: _Event) -> Iterator[Delta]:
        for block in tuple(self._open):
            yield from self._close_part(block)
        reason = stop_reason(event.stop_reason or "")
        assert reason is not None
        yield Stopped(reason, read_stop_sequence(event.additional_model_response_fields))

    def _end(self, event: _Event) -> Iterator[Delta]:
        """Usage is the last that is told."""
        usage = None if event.usage is None else normalize_usage(event.usage)
        if usage is not None:
            yield UsageTold(usage=usage)
        yield Ended()

    def _open_part(self, block: int, part: ReplyPart) -> PartBegun:
        index, self._parts = self._parts, self._parts + 1
        self._open[block] = (index, type(part))
        return PartBegun(index, part)

    def _close_part(self, block: int) -> Iterator[Delta]:
        if block not in self._open:
            return
        index, _ = self._open.pop(block)
        if block in self._empty_calls:
            self._empty_calls.discard(block)
            yield PartGrown(index, "{}")
        yield PartEnded(index)


class _ToolStart(msgspec.Struct, gc=False, rename="camel"):
    tool_use_id: str = ""
    name: str = ""


class _Start(msgspec.Struct, gc=False, rename="camel"):
    tool_use: _ToolStart | None = None


class _ToolInput(msgspec.Struct, gc=False):
    input: str | None = None


class _Thought(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolInput | None = None
    reasoning_content: _Thought | None = None


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """The fields of all kinds of events."""

    content_block_index: int = 0
    start: _Start | None = None
    delta: _Delta | None = None
    stop_reason: str | None = None
    additional_model_response_fields: msgspec.Raw = msgspec.Raw()
    usage: TokenUsage | None = None


class _Exception(msgspec.Struct, gc=False):
    message: str | None = None


_EVENT = msgspec.json.Decoder(_Event, strict=False)
_EXCEPTION = msgspec.json.Decoder(_Exception)


def exception_in(message: StreamMessage) -> ReportedError | None:
    """Return the failure that a message tells of; None when it is an event."""
    headers = message.headers
    kind = headers.get(":message-type", "event")
    if kind == "exception":
        return reported_exception(headers.get(":exception-type", ""), _text_of(message.payload))
    if kind == "error":
        return reported_exception(headers.get(":error-code", ""), headers.get(":error-message", ""))
    return None


def _text_of(payload: bytes) -> str:
    try:
        return _EXCEPTION.decode(payload).message or ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload[:1000].decode(errors="replace")
