"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math

import msgspec

from tallystick.errors import RateLimited, TallystickError, UpstreamRefused
from tallystick.wire.reported import ReportedError

_MESSAGE_CHARACTERS_MAX = 4000
_RETRY_AFTER_SECONDS = "1"

_TYPE_BY_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    504: "timeout_error",
}


def envelope(*, message: str, error_type: str, param: str | None, code: str) -> bytes:
    """Return the body of an error; `code` is the HTTP status as text."""
    error = {"message": printable(message), "type": error_type, "param": param and printable(param), "code": code}
    return _ENCODER.encode({"error": error})


def render(error: TallystickError) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and extra headers of the answer that tells a client about an error."""
    status = error.http_status
    if isinstance(error, UpstreamRefused):
        headers = {"retry-after": error.retry_after} if error.retry_after else {}
        return status, _refusal(error), headers
    body = envelope(message=error.message, error_type=error.error_type, param=error.param, code=str(status))
    if isinstance(error, RateLimited):
        # The last millisecond passes on the way: a full minute is 60 seconds, not 61.
        return status, body, {"retry-after": str(max(1, math.ceil(error.retry_after_seconds - 0.001)))}
    return status, body, {"retry-after": _RETRY_AFTER_SECONDS} if status == 503 else {}


def _refusal(error: UpstreamRefused) -> bytes:
    """Return a body in this dialect as it is, one in another as what was read of it."""
    status = error.http_status
    if error.dialect == "openai":
        return keep_or_wrap(status, error.body, error.content_type)
    return envelope(
        message=error.message,
        error_type=error.reported_type or type_of_status(status),
        param=None,
        code=str(status),
    )


def type_of_status(status: int) -> str:
    """Return the type of an error that only its status tells of."""
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if status < 500 else "upstream_error")


def read_error_text(body: bytes) -> ReportedError:
    """Read the body of an error in any of the shapes that are common; '' where there is no text in it."""
    if body.lstrip()[:1] in (b"{", b"[", b'"'):
        try:
            answer = _JSON.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else None
        kind = error.get("type") if isinstance(error, dict) else None
        message = _message_in(error) or _message_in(answer)
        if message:
            return ReportedError(message[:_MESSAGE_CHARACTERS_MAX], type=kind if isinstance(kind, str) else "")
    return ReportedError(body[: 4 * _MESSAGE_CHARACTERS_MAX].decode(errors="replace").strip()[:_MESSAGE_CHARACTERS_MAX])


def keep_or_wrap(status: int, body: bytes, content_type: str) -> bytes:
    """Return an upstream's error body for our client: as it is when it is OpenAI's envelope, else put into one."""
    message = ""
    if body.lstrip()[:1] in (b"{", b"[", b'"') and "html" not in content_type:
        try:
            answer = _JSON.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            answer = None
        if _is_envelope(answer):
            return body
        message = _message_in(answer)
    if not message:
        message = body[: 4 * _MESSAGE_CHARACTERS_MAX].decode(errors="replace").strip()
    return envelope(
        message=message[:_MESSAGE_CHARACTERS_MAX] or f"The upstream answered with status {status} and no text.",
        error_type=type_of_status(status),
        param=None,
        code=str(status),
    )


_ENCODER = msgspec.json.Encoder()
_JSON = msgspec.json.Decoder()


def _is_envelope(answer: object) -> bool:
    if not isinstance(answer, dict):
        return False
    error = answer.get("error")
    return isinstance(error, dict) and isinstance(error.get("message"), str)


def _message_in(answer: object) -> str:
    """Find the text in the other shapes that are common: `detail`, `message`, `error` as text, a list around it."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list):
        return _message_in(answer[0]) if len(answer) == 1 else ""
    if isinstance(answer, dict):
        for name in ("message", "detail", "error"):
            found = _message_in(answer.get(name))
            if found:
                return found
    return ""


def printable(text: str) -> str:
    """Return a text without what UTF-8 can't hold: lone surrogates, which Python strings can."""
    return text.encode(errors="replace").decode()
