"""Cohere's chat (v2) as it is spoken to: a Conversation becomes a request, answers become Replies and deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.cohere.request import write_chat
from tallystick.wire.cohere.stream import CohereEvents
from tallystick.wire.cohere.usage import CohereUsage, failure, normalize_usage, stop_reason
from tallystick.wire.conversation import Conversation, Text, Thinking, ToolCall, Written
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.reply import Reply, ReplyPart
from tallystick.wire.reported import ReportedError
from tallystick.wire.stream_reader import SSEReader


class CohereChat:
    """The UpstreamDialect of one model: an answer does not tell it."""

    name = "cohere"

    __slots__ = ("_model",)

    def __init__(self, *, model: str) -> None:
        self._model = model

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect."""
        return write_chat(conversation, model=model)

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that is no chat: {error}") from error
        return Reply(
            id=answer.id or "",
            model=self._model,
            parts=tuple(_parts(answer.message)),
            stop_reason=stop_reason(answer.finish_reason),
            usage=normalize_usage(answer.usage),
            error=failure(answer.finish_reason),
        )

    def stream_reader(self) -> SSEReader:
        """See UpstreamDialect."""
        return SSEReader(CohereEvents(model=self._model).read)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""
        return read_error_text(body)


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    id: str = ""
    function: _Function = msgspec.field(default_factory=_Function)


class _Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Answer(msgspec.Struct, gc=False):
    message: _Message
    id: str | None = None
    finish_reason: str | None = None
    usage: CohereUsage | None = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)


def _parts(message: _Message) -> Iterator[ReplyPart]:
    if message.tool_plan:
        yield Thinking(text=message.tool_plan)
    for content in message.content or ():
        if content.thinking:
            yield Thinking(text=content.thinking)
        if content.text:
            yield Text(content.text)
    for call in message.tool_calls or ():
        yield ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments or "{}")
