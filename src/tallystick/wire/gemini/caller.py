"""Gemini's dialect as callers speak it: Replies become answers, deltas become events or elements of an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tallystick.errors import TallystickError, Untranslatable, UpstreamRefused
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Conversation, Refusal, Text, Thinking, ToolCall
from tallystick.wire.dialect import RenderedError, StreamWriter
from tallystick.wire.error_envelope import printable, render
from tallystick.wire.gemini.conversation import read_gemini_request
from tallystick.wire.gemini.native import ArrayOfAnswers
from tallystick.wire.gemini.request import GEMINI, GEMINI_DIALECTS
from tallystick.wire.gemini.stop import finish_reason
from tallystick.wire.gemini.usage import write_usage
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

_STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BAD_GATEWAY: Final = 502


class GeminiCaller:
    """The CallerDialect of `generateContent` and `streamGenerateContent`."""

    def __init__(self, name: str = GEMINI) -> None:
        """`name` is one of GEMINI_DIALECTS, which differ in the form of streams."""
        assert name in GEMINI_DIALECTS
        self._name = name

    @property
    def name(self) -> str:
        """See CallerDialect."""
        return self._name

    def read_request(self, request: CallRequest) -> Conversation:
        """See CallerDialect."""
        if request.endpoint != "generateContent":
            raise Untranslatable(
                f"The model '{request.model[:256]}' is served in a dialect that has no {request.endpoint}: "
                "call it by :generateContent, or by /v1/embeddings.",
                param="model",
            )
        return read_gemini_request(request.raw, stream=request.stream)

    def write_reply(self, reply: Reply, *, created: int) -> bytes:
        """See CallerDialect; Gemini tells no time."""
        del created
        parts = [written for part in reply.parts if (written := _part(part)) is not None]
        candidate: JSON = {
            "content": {"parts": parts, "role": "model"},
            "finishReason": finish_reason(reply.stop_reason),
            "index": 0,
        }
        return _ENCODER.encode(_answer(reply.id, reply.model, candidate, reply.usage))

    def stream_writer(self, request: CallRequest, *, created: int) -> StreamWriter:
        """See CallerDialect."""
        del request, created
        return _AnswerWriter(None if self._name == GEMINI else ArrayOfAnswers())

    def render_error(self, error: TallystickError) -> RenderedError:
        """See CallerDialect."""
        headers = render(error)[2]
        if isinstance(error, UpstreamRefused):
            body = error.body if error.dialect == GEMINI and _is_envelope(error.body) else None
            return RenderedError(error.http_status, body or _envelope(error.http_status, error.message), headers)
        return RenderedError(
            error.http_status,
            _envelope(error.http_status, error.message, reason=error.error_type, param=error.param),
            headers,
        )

    def render_stream_error(self, error: TallystickError | ReportedError) -> bytes:
        """See CallerDialect. An array is ended behind it; see `_AnswerWriter.write` for how it has begun."""
        if isinstance(error, TallystickError):
            body = _envelope(error.http_status, error.message, reason=error.error_type)
        else:
            status = int(error.code) if error.code.isdecimal() and len(error.code) == 3 else _BAD_GATEWAY
            body = _envelope(status, error.message)
        return b"data: " + body + b"\r\n\r\n" if self._name == GEMINI else b",\r\n" + body + b"\r\n]"


_ENCODER = msgspec.json.Encoder()


def _is_envelope(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body)["error"]["message"], str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return False


def _envelope(status: int, message: str, *, reason: str = "", param: str | None = None) -> bytes:
    """Return the body of an error; our own type goes where Google tells a reason."""
    name = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    error: JSON = {"code": status, "message": printable(message), "status": name}
    if reason:
        info: JSON = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason.upper()}
        if param:
            info["metadata"] = {"field": printable(param)}
        error["details"] = [{**info, "domain": "tallystick"}]
    return _ENCODER.encode({"error": error})


def _answer(response_id: str, model: str, candidate: JSON, usage: Usage | None) -> JSON:
    answer: JSON = {"candidates": [candidate]}
    if usage is not None:
        answer["usageMetadata"] = write_usage(usage)
    return {**answer, "modelVersion": model, "responseId": response_id}


def _part(part: ReplyPart) -> JSON | None:
    if isinstance(part, ToolCall):
        call: JSON = {"name": part.name, "args": _arguments(part.arguments)}
        if part.id:
            call["id"] = part.id
        return {"functionCall": call, **({"thoughtSignature": part.signature} if part.signature else {})}
    if isinstance(part, Thinking):
        if not part.text:
            return None
        return {"text": part.text, "thought": True, **({"thoughtSignature": part.signature} if part.signature else {})}
    assert isinstance(part, Text | Refusal)
    return {"text": part.text} if part.text else None


def _arguments(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return msgspec.Raw(_ENCODER.encode({"arguments": text}) if text.strip() else b"{}")
    return msgspec.Raw(text.encode())


class _AnswerWriter:
    """Writes answers of one part each; see StreamWriter. A tool call comes whole, as Gemini's do."""

    def __init__(self, array: ArrayOfAnswers | None) -> None:
        self._array = array
        self._id = self._model = ""
        self._parts: dict[int, ReplyPart] = {}
        self._arguments: dict[int, str] = {}
        self._signatures: dict[int, str] = {}
        self._stop: StopReason | None = None
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> bytes:
        """See StreamWriter."""
        if isinstance(delta, PartGrown):
            return self._grow(delta)
        if isinstance(delta, PartBegun):
            self._parts[delta.index] = delta.part
            if isinstance(delta.part, ToolCall):
                self._arguments[delta.index] = delta.part.arguments
                return b""
            return self._say(delta.part)
        if isinstance(delta, PartEnded):
            return self._end_part(delta.index)
        if isinstance(delta, PartSigned):
            self._signatures[delta.index] = delta.signature
        elif isinstance(delta, Begun):
            self._id, self._model = delta.id, delta.model
        elif isinstance(delta, Stopped):
            self._stop = delta.reason
        elif isinstance(delta, UsageTold):
            self._usage = delta.usage
        elif self._stop is None and self._array is not None and self._array.is_empty:
            return self._array.begin_element() + b"{}"  # It failed at once; the error is never the first element.
        return b""

    def finish(self) -> bytes:
        """See StreamWriter."""
        candidate: JSON = {
            "content": {"parts": [{"text": ""}], "role": "model"},
            "finishReason": finish_reason(self._stop),
            "index": 0,
        }
        end = self._event(candidate, self._usage)
        return end if self._array is None else end + self._array.end()

    def _grow(self, grown: PartGrown) -> bytes:
        part = self._parts[grown.index]
        if isinstance(part, ToolCall):
            self._arguments[grown.index] += grown.text
            return b""
        return self._say(msgspec.structs.replace(part, text=grown.text))

    def _end_part(self, index: int) -> bytes:
        part = self._parts.pop(index)
        if not isinstance(part, ToolCall):
            return b""
        return self._say(
            msgspec.structs.replace(
                part,
                arguments=self._arguments.pop(index),
                signature=self._signatures.pop(index, part.signature),
            )
        )

    def _say(self, part: ReplyPart) -> bytes:
        written = _part(part)
        if written is None:
            return b""
        return self._event({"content": {"parts": [written], "role": "model"}, "index": 0}, None)

    def _event(self, candidate: JSON, usage: Usage | None) -> bytes:
        body = _ENCODER.encode(_answer(self._id, self._model, candidate, usage))
        return b"data: " + body + b"\r\n\r\n" if self._array is None else self._array.begin_element() + body
