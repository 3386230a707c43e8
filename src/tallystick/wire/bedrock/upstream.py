"""Bedrock's Converse as it is spoken to: a Conversation becomes a request, answers become Replies and deltas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.bedrock.request import write_converse
from tallystick.wire.bedrock.stream import ConverseStream
from tallystick.wire.bedrock.terms import read_stop_sequence, reported_exception, stop_reason
from tallystick.wire.bedrock.usage import TokenUsage, normalize_usage
from tallystick.wire.conversation import Conversation, Text, Thinking, ToolCall, Written
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.reply import Reply, ReplyPart
from tallystick.wire.reported import ReportedError


class Converse:
    """The UpstreamDialect of one call: an answer tells neither its model, nor its id, which is among its headers."""

    name = "bedrock"

    __slots__ = ("_model", "response_id")

    def __init__(self, *, model: str) -> None:
        self._model = model
        self.response_id = ""
        """The id of the answer. Whoever has asked sets it before the answer is read."""

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect. The model is not in the body but in the path."""
        return write_converse(conversation, model=model)

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that is none of Converse: {error}") from error
        return Reply(
            id=self.response_id,
            model=self._model,
            parts=tuple(_parts(answer.output.message.content)),
            stop_reason=stop_reason(answer.stop_reason),
            stop_sequence=read_stop_sequence(answer.additional_model_response_fields),
            usage=None if answer.usage is None else normalize_usage(answer.usage),
        )

    def stream_reader(self) -> ConverseStream:
        """See UpstreamDialect."""
        return ConverseStream(response_id=self.response_id, model=self._model)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""
        try:
            refusal = _REFUSAL.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return read_error_text(body)
        message = refusal.message or refusal.Message
        if not message:
            return read_error_text(body)
        name = refusal.type.rpartition("#")[2]
        return reported_exception(name, message) if name else ReportedError(message)


class _ToolUse(msgspec.Struct, gc=False, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _ReasoningText(msgspec.Struct, gc=False):
    text: str | None = None
    signature: str | None = None


class _Reasoning(msgspec.Struct, gc=False, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _CitedText(msgspec.Struct, gc=False):
    text: str | None = None


class _Citations(msgspec.Struct, gc=False):
    content: list[_CitedText] | None = None


class _Block(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block]


class _Output(msgspec.Struct, gc=False):
    message: _Message


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    output: _Output
    stop_reason: str | None = None
    usage: TokenUsage | None = None
    additional_model_response_fields: msgspec.Raw = msgspec.Raw()


class _Refusal(msgspec.Struct, gc=False):
    message: str | None = None
    Message: str | None = None
    """What some of AWS' front ends write."""
    type: str = msgspec.field(name="__type", default="")


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_REFUSAL = msgspec.json.Decoder(_Refusal)


def _parts(blocks: list[_Block]) -> Iterator[ReplyPart]:
    for block in blocks:
        if block.text:
            yield Text(block.text)
        elif block.tool_use is not None:
            call = block.tool_use
            yield ToolCall(id=call.tool_use_id, name=call.name, arguments=bytes(call.input).decode())
        elif block.reasoning_content is not None:
            thought = block.reasoning_content
            text = thought.reasoning_text or _ReasoningText()
            yield Thinking(
                text=text.text or "", signature=text.signature or "", redacted=thought.redacted_content or ""
            )
        elif block.citations_content is not None:
            yield Text("".join(cited.text or "" for cited in block.citations_content.content or ()))
