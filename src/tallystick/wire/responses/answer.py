"""Answers of the Responses API as upstreams give them: the object itself, and what it says in no dialect."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.reply import Reply, ReplyPart, StopReason
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.responses.usage import ResponsesUsage, ToolItem, ToolUsage, read_cost, read_usage
from tallystick.wire.usage import Usage


class Failure(msgspec.Struct, gc=False):
    """Why a response failed."""

    message: str | None = None
    code: str | int | None = None
    type: str | None = None

    def reported(self) -> ReportedError:
        """Return it in the shape of no dialect."""
        return ReportedError(
            message=self.message or "The response failed.", type=self.type or "", code=str(self.code or "")
        )


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class ContentPart(msgspec.Struct, gc=False):
    """A part of a message's content, of a reasoning item's content or of its summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Item(ToolItem, gc=False):
    """An item of output, with the fields of all kinds that other dialects have."""

    id: str | None = None
    content: list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class ResponseObject(msgspec.Struct, gc=False):
    """The response itself, plain or inside an event."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[Item] | None = None
    usage: ResponsesUsage | None = None
    tool_usage: ToolUsage | None = None
    error: Failure | None = None
    incomplete_details: _Incomplete | None = None

    @property
    def counted(self) -> Usage | None:
        """What is billed, where it is told."""
        return read_usage(self.usage, self.tool_usage, self.output or ())

    @property
    def reported_cost_nano_usd(self) -> int | None:
        """What the upstream says that it costs."""
        return read_cost(self.usage)

    @property
    def failure(self) -> ReportedError | None:
        """Why it failed, if it did."""
        if self.error is None and self.status != "failed":
            return None
        return (self.error or Failure()).reported()

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the model stopped; None while it has not."""
        if self.status in ("queued", "in_progress"):
            return None
        if self.status == "incomplete":
            reason = self.incomplete_details.reason if self.incomplete_details is not None else None
            return "refusal" if reason == "content_filter" else "max_tokens"
        return "tool_calls" if any(item.type == "function_call" for item in self.output or ()) else "end"


def decode_response(body: bytes) -> ResponseObject:
    """Decode a whole answer. Raises UpstreamGarbled."""
    try:
        return _RESPONSE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"The upstream answered with a body that is no response: {error}") from error


def read_facts(body: bytes) -> AnswerFacts:
    """Read what the ledger needs. Raises UpstreamGarbled."""
    answer = decode_response(body)
    return AnswerFacts(
        answer.counted, answer.id or "", answer.model or "", answer.reported_cost_nano_usd, answer.failure
    )


def read_response(body: bytes) -> Reply:
    """Read a whole answer. Raises UpstreamGarbled."""
    answer = decode_response(body)
    if answer.output is None and answer.failure is None:
        raise UpstreamGarbled("The upstream answered with a response that has no output.")
    return Reply(
        id=answer.id or "",
        model=answer.model or "",
        parts=tuple(part for item in answer.output or () for part in _parts(item)),
        stop_reason=answer.stop_reason,
        usage=answer.counted,
        reported_cost_nano_usd=answer.reported_cost_nano_usd,
        error=answer.failure,
    )


def thinking_of(item: Item) -> Thinking:
    """Return a reasoning item as thoughts."""
    texts = [part.text for part in (*(item.summary or ()), *(item.content or ())) if part.text]
    return Thinking(text="\n\n".join(texts), signature=item.encrypted_content or "")


def _parts(item: Item) -> Iterator[ReplyPart]:
    if item.type == "reasoning":
        yield thinking_of(item)
    elif item.type == "function_call":
        yield ToolCall(id=item.call_id or item.id or "", name=item.name or "", arguments=item.arguments or "{}")
    elif item.type == "message":
        for part in item.content or ():
            if part.type == "refusal":
                yield Refusal(part.refusal or "")
            elif part.type == "output_text":
                yield Text(part.text or "")


_RESPONSE = msgspec.json.Decoder(ResponseObject, strict=False)
