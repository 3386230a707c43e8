"""OpenAI's chat dialect as callers speak it: Replies become chat completions, deltas become chunks."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.errors import TallystickError, Untranslatable
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Conversation, Refusal, Text, Thinking, ToolCall
from tallystick.wire.dialect import RenderedError, StreamWriter
from tallystick.wire.error_envelope import envelope, render
from tallystick.wire.openai.chat_request import read_chat_request
from tallystick.wire.openai.request import OPENAI
from tallystick.wire.openai.stop import finish_reason
from tallystick.wire.reply import (
    Begun,
    Delta,
    PartBegun,
    PartEnded,
    PartGrown,
    PartSigned,
    Reply,
    ReplyPart,
    Stopped,
    StopReason,
    UsageTold,
)
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.


class OpenAIChatCaller:
    """The CallerDialect of OpenAI's endpoints; only chat can be translated."""

    name = OPENAI

    def read_request(self, request: CallRequest) -> Conversation:
        """See CallerDialect."""
        if request.endpoint != "chat/completions":
            raise Untranslatable(
                f"The model '{request.model[:256]}' is served in a dialect that has no /v1/{request.endpoint}: "
                "call it by /v1/chat/completions.",
                param="model",
            )
        return read_chat_request(request.raw)

    def write_reply(self, reply: Reply, *, created: int) -> bytes:
        """See CallerDialect."""
        choice = {
            "index": 0,
            "message": _message(reply),
            "logprobs": None,
            "finish_reason": finish_reason(reply.stop_reason),
        }
        answer: JSON = {
            "id": reply.id,
            "object": "chat.completion",
            "created": created,
            "model": reply.model,
            "choices": [choice],
        }
        if reply.usage is not None:
            answer["usage"] = write_usage(reply.usage)
        return _ENCODER.encode(answer)

    def stream_writer(self, request: CallRequest, *, created: int) -> StreamWriter:
        """See CallerDialect."""
        return _ChunkWriter(created=created, tells_usage=request.client_wants_usage)

    def render_error(self, error: TallystickError) -> RenderedError:
        """See CallerDialect."""
        return RenderedError(*render(error))

    def render_stream_error(self, error: TallystickError | ReportedError) -> bytes:
        """See CallerDialect."""
        if isinstance(error, TallystickError):
            code = str(error.http_status)
            body = envelope(message=error.message, error_type=error.error_type, param=None, code=code)
        else:
            body = envelope(
                message=error.message, error_type=error.type or "upstream_error", param=None, code=error.code or "502"
            )
        return b"data: " + body + b"\n\n"


_ENCODER = msgspec.json.Encoder()


def _message(reply: Reply) -> JSON:
    texts = [part.text for part in reply.parts if isinstance(part, Text)]
    refusals = [part.text for part in reply.parts if isinstance(part, Refusal)]
    message: JSON = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    calls = [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": part.name, "arguments": part.arguments},
            **_signature_fields(part.signature),
        }
        for part in reply.parts
        if isinstance(part, ToolCall)
    ]
    if calls:
        message["tool_calls"] = calls
    thoughts = [part for part in reply.parts if isinstance(part, Thinking)]
    if any(thought.text for thought in thoughts):
        message["reasoning_content"] = "".join(thought.text for thought in thoughts)
    blocks = [_thinking_block(thought) for thought in thoughts if thought.signature or thought.redacted]
    if blocks:
        message["thinking_blocks"] = blocks
    return message


def _signature_fields(signature: str) -> JSON:
    """Return where Google's own OpenAI endpoint puts the signature that Gemini wants back with a tool call."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def _thinking_block(thought: Thinking) -> JSON:
    """Return what a caller must send back for the provider to know its own thoughts again."""
    if thought.redacted:
        return {"type": "redacted_thinking", "data": thought.redacted}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def write_usage(usage: Usage) -> JSON:
    """Return the `usage` object."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    prompt_details: JSON = {"cached_tokens": usage.cache_read_tokens or 0}
    if usage.cache_write_tokens is not None:
        prompt_details["cache_write_tokens"] = usage.cache_write_tokens
    if usage.audio_input_tokens is not None:
        prompt_details["audio_tokens"] = usage.audio_input_tokens
    completion_details: JSON = {"reasoning_tokens": usage.reasoning_tokens or 0}
    if usage.audio_output_tokens is not None:
        completion_details["audio_tokens"] = usage.audio_output_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }


class _ChunkWriter:
    """Writes chunks; see StreamWriter."""

    def __init__(self, *, created: int, tells_usage: bool) -> None:
        self._head: JSON = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._tells_usage = tells_usage
        self._parts: dict[int, ReplyPart] = {}
        self._thoughts: dict[int, list[str]] = {}
        """The text of thoughts that may still be signed."""
        self._signatures: dict[int, str] = {}
        self._blocks = 0
        """How many blocks of thought were written."""
        self._calls: dict[int, int] = {}
        """From the index of a part to the number of the tool call that it is."""
        self._stop: StopReason | None = None
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> bytes:
        """See StreamWriter."""
        if isinstance(delta, PartGrown):
            return self._grow(delta.index, delta.text)
        if isinstance(delta, PartBegun):
            return self._begin(delta)
        if isinstance(delta, PartSigned):
            self._signatures[delta.index] = delta.signature
        elif isinstance(delta, PartEnded):
            return self._end_part(delta.index)
        elif isinstance(delta, Begun):
            self._head["id"], self._head["model"] = delta.id, delta.model
            return self._chunk({"role": "assistant", "content": ""})
        elif isinstance(delta, Stopped):
            self._stop = delta.reason
        elif isinstance(delta, UsageTold):
            self._usage = delta.usage
        return b""

    def finish(self) -> bytes:
        """See StreamWriter."""
        end = self._chunk({}, finish_reason(self._stop))
        if self._tells_usage and self._usage is not None:
            end += _event({**self._head, "choices": [], "usage": write_usage(self._usage)})
        return end + b"data: [DONE]\n\n"

    def _begin(self, begun: PartBegun) -> bytes:
        part = begun.part
        self._parts[begun.index] = part
        if isinstance(part, ToolCall):
            number = self._calls[begun.index] = len(self._calls)
            function = {"name": part.name, "arguments": part.arguments}
            call: JSON = {"index": number, "id": part.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [{**call, **_signature_fields(part.signature)}]})
        return self._grow(begun.index, part.text) if part.text else b""

    def _grow(self, index: int, text: str) -> bytes:
        part = self._parts[index]
        if isinstance(part, ToolCall):
            return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})
        if isinstance(part, Thinking):
            self._thoughts.setdefault(index, []).append(text)
            return self._chunk({"reasoning_content": text})
        return self._chunk({"refusal" if isinstance(part, Refusal) else "content": text})

    def _end_part(self, index: int) -> bytes:
        part = self._parts[index]
        if not isinstance(part, Thinking):
            return b""
        signature = self._signatures.get(index, part.signature)
        thought = Thinking(text="".join(self._thoughts.pop(index, ())), signature=signature, redacted=part.redacted)
        if not thought.signature and not thought.redacted:
            return b""
        # OpenAI's own client puts lists together by their entries' indexes.
        block = {"index": self._blocks, **_thinking_block(thought)}
        self._blocks += 1
        return self._chunk({"thinking_blocks": [block]})

    def _chunk(self, delta: JSON, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**self._head, "choices": [choice]})


def _event(body: JSON) -> bytes:
    return b"data: " + _ENCODER.encode(body) + b"\n\n"
