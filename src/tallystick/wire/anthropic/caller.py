"""Anthropic's dialect as callers speak it: Replies become messages, deltas become its events, errors its envelope."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tallystick.errors import TallystickError, UpstreamRefused
from tallystick.wire.anthropic.conversation import read_messages_request
from tallystick.wire.anthropic.request import ANTHROPIC
from tallystick.wire.anthropic.usage import write_stop_reason, write_usage
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Conversation, Thinking, ToolCall
from tallystick.wire.dialect import RenderedError, StreamWriter
from tallystick.wire.error_envelope import printable, read_error_text, render
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
    UsageTold,
)
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The types that Anthropic's own clients know, by status."""


class AnthropicCaller:
    """The CallerDialect of `/v1/messages`."""

    name = ANTHROPIC

    def read_request(self, request: CallRequest) -> Conversation:
        """See CallerDialect."""
        return read_messages_request(request.raw)

    def write_reply(self, reply: Reply, *, created: int) -> bytes:  # noqa: ARG002 - messages tell no time.
        """See CallerDialect."""
        return _ENCODER.encode(
            {
                **_message(reply.id, reply.model),
                "content": [_block(part) for part in reply.parts],
                "stop_reason": write_stop_reason(reply.stop_reason or "end"),
                "stop_sequence": reply.stop_sequence,
                "usage": write_usage(reply.usage),
            }
        )

    def stream_writer(self, request: CallRequest, *, created: int) -> StreamWriter:  # noqa: ARG002 - as above.
        """See CallerDialect."""
        return _EventWriter()

    def render_error(self, error: TallystickError) -> RenderedError:
        """See CallerDialect."""
        status, body, headers = render(error)
        if isinstance(error, UpstreamRefused):
            if error.dialect == ANTHROPIC and _is_envelope(error.body):
                return RenderedError(status, error.body, headers)
            message = read_error_text(error.body).message or error.message
        else:
            message = read_error_text(body).message
        return RenderedError(status, _envelope(type_of_status(status), message), headers)

    def render_stream_error(self, error: TallystickError | ReportedError) -> bytes:
        """See CallerDialect."""
        if isinstance(error, TallystickError):
            body = _envelope(type_of_status(error.http_status), error.message)
        else:
            body = _envelope(error.type if error.type in _TYPES.values() else "api_error", error.message)
        return b"event: error\ndata: " + body + b"\n\n"


def type_of_status(status: int) -> str:
    """Return the type of an error with this status, as Anthropic names it."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


class _ErrorFields(msgspec.Struct):
    type: str
    message: str


class _ErrorBody(msgspec.Struct):
    type: str
    error: _ErrorFields


_ENCODER = msgspec.json.Encoder()
_ERROR_BODY = msgspec.json.Decoder(_ErrorBody)


def _envelope(error_type: str, message: str) -> bytes:
    return _ENCODER.encode({"type": "error", "error": {"type": error_type, "message": printable(message)}})


def _is_envelope(body: bytes) -> bool:
    try:
        return _ERROR_BODY.decode(body).type == "error"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _message(message_id: str, model: str) -> JSON:
    return {"id": message_id, "type": "message", "role": "assistant", "model": model}


def _block(part: ReplyPart) -> JSON:
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part.arguments)}
    if isinstance(part, Thinking):
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.redacted}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return {"type": "text", "text": part.text}


def _input(arguments: str) -> msgspec.Raw | JSON:
    """Return the arguments as an object; what the model wrote amiss is kept as a text in one."""
    try:
        is_object = isinstance(msgspec.json.decode(arguments or "{}"), dict)
    except (msgspec.MsgspecError, RecursionError):
        is_object = False
    return msgspec.Raw((arguments or "{}").encode()) if is_object else {"invalid_json": arguments}


class _EventWriter:
    """Writes events; see StreamWriter. A model's refusal is text here: only the reason of its stop tells it apart."""

    def __init__(self) -> None:
        self._parts: dict[int, ReplyPart] = {}
        self._stop = Stopped("end")
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> bytes:
        """See StreamWriter."""
        if isinstance(delta, PartGrown):
            return self._grow(delta.index, delta.text)
        if isinstance(delta, PartBegun):
            return self._begin(delta.index, delta.part)
        if isinstance(delta, PartSigned):
            if not isinstance(self._parts[delta.index], Thinking):
                return b""
            return _delta(delta.index, {"type": "signature_delta", "signature": delta.signature})
        if isinstance(delta, PartEnded):
            return _event("content_block_stop", index=delta.index)
        if isinstance(delta, Begun):
            message = {
                **_message(delta.id, delta.model),
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": write_usage(self._usage),
            }
            return _event("message_start", message=message)
        if isinstance(delta, Stopped):
            self._stop = delta
        elif isinstance(delta, UsageTold):
            self._usage = delta.usage
        return b""

    def finish(self) -> bytes:
        """See StreamWriter."""
        stopped = {"stop_reason": write_stop_reason(self._stop.reason), "stop_sequence": self._stop.sequence}
        return _event("message_delta", delta=stopped, usage=write_usage(self._usage)) + _event("message_stop")

    def _begin(self, index: int, part: ReplyPart) -> bytes:
        self._parts[index] = part
        if isinstance(part, ToolCall):
            block: JSON = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            begun = _event("content_block_start", index=index, content_block=block)
            return begun + (self._grow(index, part.arguments) if part.arguments else b"")
        if isinstance(part, Thinking):
            return _event("content_block_start", index=index, content_block=_block(part))
        begun = _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        return begun + (self._grow(index, part.text) if part.text else b"")

    def _grow(self, index: int, text: str) -> bytes:
        part = self._parts[index]
        if isinstance(part, ToolCall):
            return _delta(index, {"type": "input_json_delta", "partial_json": text})
        if isinstance(part, Thinking):
            return _delta(index, {"type": "thinking_delta", "thinking": text})
        return _delta(index, {"type": "text_delta", "text": text})


def _delta(index: int, delta: JSON) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)


def _event(event_type: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event_type.encode(), _ENCODER.encode({"type": event_type, **fields}))
