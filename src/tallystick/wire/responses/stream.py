"""Streams of the Responses API, read into deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
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
from tallystick.wire.responses.answer import ContentPart, Failure, Item, ResponseObject

_GROWING = frozenset((
    "response.output_text.delta", "response.refusal.delta", "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta", "response.function_call_arguments.delta",
))  # fmt: skip
_LAST = frozenset(("response.completed", "response.incomplete", "response.failed", "response.cancelled"))
_WHOLE = -1
"""In place of the index of a content part: the item is one part."""


class ResponsesEvents:
    """Reads the events of one stream. Items that no other dialect has are passed over, and not counted as parts."""

    def __init__(self) -> None:
        self._has_begun = False
        self._parts: dict[tuple[int, int], int] = {}
        """From the indexes of an item and of its content to that of its part."""
        self._open: set[int] = set()
        self._grown: set[int] = set()

    def read(self, name: bytes, data: bytes) -> list[Delta]:
        """Return what an event says. Raises UpstreamGarbled."""
        if data == b"[DONE]":
            return [Ended()]
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
        kind = event.type or name.decode(errors="replace")
        if kind in _GROWING:
            return list(self._grow(kind, event))
        if kind == "error":
            return [Failed(_error_of(event))]
        deltas: list[Delta] = []
        if event.response is not None:
            deltas += self._begin(event.response)
            if kind in _LAST:
                deltas += self._end(event.response)
        elif event.item is not None:
            deltas += self._read_item(kind, event, event.item)
        elif event.part is not None:
            deltas += self._read_part(kind, event, event.part)
        elif kind == "response.function_call_arguments.done" and event.arguments:
            index = self._parts.get((event.output_index, _WHOLE))
            if index is not None and index not in self._grown:
                self._grown.add(index)
                deltas.append(PartGrown(index, event.arguments))
        return deltas

    def _begin(self, response: ResponseObject) -> Iterator[Delta]:
        if not self._has_begun:
            self._has_begun = True
            yield Begun(id=response.id or "", model=response.model or "")

    def _end(self, response: ResponseObject) -> Iterator[Delta]:
        yield from [PartEnded(index) for index in sorted(self._open)]
        self._open.clear()
        usage = response.counted
        if usage is not None:
            yield UsageTold(usage=usage, reported_cost_nano_usd=response.reported_cost_nano_usd)
        failure = response.failure
        if failure is not None:
            yield Failed(failure)
            return
        yield Stopped(response.stop_reason or "end")
        yield Ended()

    def _read_item(self, kind: str, event: _Event, item: Item) -> Iterator[Delta]:
        key = (event.output_index, _WHOLE)
        if kind == "response.output_item.added":
            if item.type == "function_call":
                call = ToolCall(id=item.call_id or item.id or "", name=item.name or "", arguments="")
                yield from self._begin_part(key, call)
            elif item.type == "reasoning":
                yield from self._begin_part(key, Thinking())
        elif kind == "response.output_item.done":
            index = self._parts.get(key)
            if index is not None and item.encrypted_content:
                yield PartSigned(index, item.encrypted_content)
            for each in [at for at in self._parts if at[0] == event.output_index]:
                yield from self._end_part(self._parts[each])

    def _read_part(self, kind: str, event: _Event, part: ContentPart) -> Iterator[Delta]:
        key = (event.output_index, event.content_index)
        if kind == "response.content_part.added" and part.type in ("output_text", "refusal"):
            yield from self._begin_part(key, Refusal("") if part.type == "refusal" else Text(""))
        elif kind == "response.content_part.done" and key in self._parts:
            yield from self._end_part(self._parts[key])
        elif kind == "response.reasoning_summary_part.added" and event.summary_index > 0:
            index = self._parts.get((event.output_index, _WHOLE))
            if index is not None:
                yield PartGrown(index, "\n\n")

    def _grow(self, kind: str, event: _Event) -> Iterator[Delta]:
        is_content = kind in ("response.output_text.delta", "response.refusal.delta")
        key = (event.output_index, event.content_index if is_content else _WHOLE)
        if key not in self._parts:
            if kind == "response.function_call_arguments.delta":
                return  # Of a call that nobody announced, not even the name is known.
            part: ReplyPart = Thinking()
            if is_content:
                part = Text("") if kind == "response.output_text.delta" else Refusal("")
            yield from self._begin_part(key, part)
        index = self._parts[key]
        if event.delta:
            self._grown.add(index)
            yield PartGrown(index, event.delta)

    def _begin_part(self, key: tuple[int, int], part: ReplyPart) -> Iterator[Delta]:
        if key in self._parts:
            return
        index = self._parts[key] = len(self._parts)
        self._open.add(index)
        yield PartBegun(index, part)

    def _end_part(self, index: int) -> Iterator[Delta]:
        if index in self._open:
            self._open.remove(index)
            yield PartEnded(index)


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    response: ResponseObject | None = None
    item: Item | None = None
    part: ContentPart | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    arguments: str | None = None
    message: str | None = None
    code: str | int | None = None
    error: Failure | None = None


def _error_of(event: _Event) -> ReportedError:
    error = event.error or Failure(message=event.message, code=event.code)
    return error.reported()


_EVENT = msgspec.json.Decoder(_Event, strict=False)
