"""The events of the Responses API, written from deltas."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tallystick.wire.conversation import Refusal, Thinking, ToolCall
from tallystick.wire.reply import (
    Begun,
    Delta,
    PartBegun,
    PartEnded,
    PartGrown,
    PartSigned,
    ReplyPart,
    Stopped,
    StopReason,
    UsageTold,
)
from tallystick.wire.responses.object import JSON, content_of, ended, item_of, response_object
from tallystick.wire.usage import Usage


class _Growing:
    """A part that is not complete."""

    def __init__(self, part: ReplyPart) -> None:
        self.part = part
        self.texts: list[str] = []
        self.signature = ""

    def whole(self) -> ReplyPart:
        """Return the part with all that came."""
        text = "".join(self.texts)
        part = self.part
        if isinstance(part, ToolCall):
            return msgspec.structs.replace(part, arguments=text or "{}", signature=self.signature or part.signature)
        if isinstance(part, Thinking):
            return msgspec.structs.replace(part, text=text, signature=self.signature or part.signature)
        return msgspec.structs.replace(part, text=text)


class EventWriter:
    """Writes events; see StreamWriter. Each part is an item of its own."""

    def __init__(self, *, created: int) -> None:
        self._response = response_object("", "", created=created)
        self._number = 0
        self._growing: dict[int, _Growing] = {}
        self._items: dict[int, JSON] = {}
        self._stop: StopReason | None = None
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> bytes:
        """See StreamWriter."""
        if isinstance(delta, PartGrown):
            return self._grow(delta.index, delta.text)
        if isinstance(delta, PartBegun):
            return self._begin(delta.index, delta.part)
        if isinstance(delta, PartSigned):
            self._growing[delta.index].signature = delta.signature
        elif isinstance(delta, PartEnded):
            return self._end(delta.index)
        elif isinstance(delta, Begun):
            self._response["id"], self._response["model"] = delta.id, delta.model
            return self._event("response.created", response=self._response) + self._event(
                "response.in_progress", response=self._response
            )
        elif isinstance(delta, Stopped):
            self._stop = delta.reason
        elif isinstance(delta, UsageTold):
            self._usage = delta.usage
        return b""

    def finish(self) -> bytes:
        """See StreamWriter."""
        items = [self._items[index] for index in sorted(self._items)]
        response = ended(self._response, items, self._stop, self._usage)
        return self._event(f"response.{response['status']}", response=response)

    def _begin(self, index: int, part: ReplyPart) -> bytes:
        self._growing[index] = _Growing(part)
        text = part.arguments if isinstance(part, ToolCall) else part.text
        empty = msgspec.structs.replace(part, **{"arguments" if isinstance(part, ToolCall) else "text": ""})
        item = item_of(empty, index, self._response["id"], status="in_progress")
        out = self._event("response.output_item.added", output_index=index, item=item)
        if isinstance(part, Thinking):
            if not part.redacted:
                begun = {"type": "summary_text", "text": ""}
                out += self._of(index, "response.reasoning_summary_part.added", summary_index=0, part=begun)
        elif not isinstance(part, ToolCall):
            out += self._of(index, "response.content_part.added", content_index=0, part=content_of(empty))
        return out + (self._grow(index, text) if text else b"")

    def _grow(self, index: int, text: str) -> bytes:
        growing = self._growing[index]
        growing.texts.append(text)
        part = growing.part
        if isinstance(part, ToolCall):
            return self._of(index, "response.function_call_arguments.delta", delta=text)
        if isinstance(part, Thinking):
            return self._of(index, "response.reasoning_summary_text.delta", summary_index=0, delta=text)
        if isinstance(part, Refusal):
            return self._of(index, "response.refusal.delta", content_index=0, delta=text)
        return self._of(index, "response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def _end(self, index: int) -> bytes:
        part = self._growing.pop(index).whole()
        item = self._items[index] = item_of(part, index, self._response["id"])
        if isinstance(part, ToolCall):
            out = self._of(index, "response.function_call_arguments.done", name=part.name, arguments=part.arguments)
        elif isinstance(part, Thinking):
            out = b"" if part.redacted else self._end_thought(index, part.text)
        else:
            done: Callable[..., bytes] = self._of
            if isinstance(part, Refusal):
                out = done(index, "response.refusal.done", content_index=0, refusal=part.text)
            else:
                out = done(index, "response.output_text.done", content_index=0, text=part.text, logprobs=[])
            out += done(index, "response.content_part.done", content_index=0, part=content_of(part))
        return out + self._event("response.output_item.done", output_index=index, item=item)

    def _end_thought(self, index: int, text: str) -> bytes:
        whole = {"type": "summary_text", "text": text}
        return self._of(index, "response.reasoning_summary_text.done", summary_index=0, text=text) + self._of(
            index, "response.reasoning_summary_part.done", summary_index=0, part=whole
        )

    def _of(self, index: int, event_type: str, **fields: object) -> bytes:
        """Return an event about an item."""
        growing = self._growing.get(index)
        item_id = self._items[index]["id"] if growing is None else self._item_id(index, growing.part)
        return self._event(event_type, item_id=item_id, output_index=index, **fields)

    def _item_id(self, index: int, part: ReplyPart) -> str:
        item_id: str = item_of(part, index, self._response["id"], status="in_progress")["id"]
        return item_id

    def _event(self, event_type: str, **fields: object) -> bytes:
        body = _ENCODER.encode({"type": event_type, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (event_type.encode(), body)


_ENCODER = msgspec.json.Encoder()
