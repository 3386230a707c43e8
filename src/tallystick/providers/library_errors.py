"""What libraries raise, as our errors.

Each provider's SDK has classes of its own, and a library may wrap them or not, so that they are told by their names and
by the attributes that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from tallystick.wire.error_envelope import envelope, read_error_text, type_of_status

_TIMEOUTS: Final = frozenset((
    "APITimeoutError", "GatewayTimeoutError", "ReadTimeoutError", "Timeout", "TimeoutError", "TimeoutException",
))  # fmt: skip
_BROKEN: Final = frozenset((
    "APIConnectionError", "ClientConnectionError", "ConnectionError", "EndpointConnectionError", "HTTPClientError",
    "TransportError",
))  # fmt: skip
_MISSING: Final = frozenset(("ImportError", "UnsupportedProviderError", "LiteLLMUnknownProvider"))
"""The library can't call this provider as it is installed."""
_STATUSES: Final = (
    # Where no status came, as the library refuses the call itself.
    ("MissingApiKeyError", 401),
    ("AuthenticationError", 401),
    ("InsufficientFundsError", 402),
    ("ModelNotFoundError", 404),
    ("RateLimitError", 429),
    ("ContextLengthExceededError", 400),
    ("ContentFilterError", 400),
    ("UnsupportedParameterError", 400),
    ("InvalidRequestError", 400),
    ("NotImplementedError", 400),
    ("UpstreamProviderError", 502),
)
_MADE_UP: Final = 500
"""What LiteLLM says for want of a status."""
_WITHOUT_ANSWER: Final = _TIMEOUTS | _BROKEN | {"JSONDecodeError", "APIResponseValidationError"}
_CODES: Final = (
    ("ContextLengthExceededError", "context_length_exceeded"),
    ("ContextWindowExceededError", "context_length_exceeded"),
    ("ContentFilterError", "content_policy_violation"),
    ("ContentPolicyViolationError", "content_policy_violation"),
)
_CHAIN_MAX: Final = 8
_TEXT_CHARACTERS_MAX: Final = 1000


def error_of_library(error: Exception, *, library: str) -> UpstreamError:
    """Return what a library's error means for routing and for callers."""
    raised = [error, *_original(error)]
    names = _names(raised)
    if names & _MISSING:
        return UpstreamUnreachable(f"{library} can't call this provider: {_text(error)}")
    if names & _TIMEOUTS:
        return UpstreamTimeout(f"The upstream did not answer {library} in time.")
    if names & _BROKEN:
        return UpstreamUnreachable(f"{library} could not reach the upstream: {_text(error)}")
    status = _status(raised) or next((status for name, status in _STATUSES if name in names), 0)
    causes = _names(_causes(error))
    if status and (status != _MADE_UP or any(_body(each) for each in raised) or not causes & _WITHOUT_ANSWER):
        return _refusal(raised, names, status)
    if causes & _TIMEOUTS:
        return UpstreamTimeout(f"The upstream did not answer {library} in time.")
    if causes & _BROKEN:
        return UpstreamUnreachable(f"{library} could not reach the upstream: {_text(error)}")
    return UpstreamGarbled(f"{library} could not make an answer of what the upstream said: {_text(error)}")


def error_in_stream(error: Exception) -> dict[str, str] | None:
    """Return what an upstream said inside of a stream that had begun with 200; None for every other error."""
    raised = [error, *_original(error)]
    kind = _attribute(raised, "error_type") or _attribute(raised, "type")
    code = _attribute(raised, "code")
    if _status(raised) or not (kind or code) or _names(raised) & (_TIMEOUTS | _BROKEN):
        return None
    return {"message": _text(error), "type": kind, "code": code}


def _original(error: Exception) -> Iterator[BaseException]:
    original = getattr(error, "original_exception", None)
    if isinstance(original, BaseException):
        yield original


def _names(errors: list[BaseException] | list[Exception]) -> set[str]:
    return {kind.__name__ for each in errors for kind in type(each).__mro__}


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(found) < _CHAIN_MAX:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _status(raised: list[Exception] | list[BaseException]) -> int:
    for each in raised:
        status = getattr(each, "status_code", None)
        if isinstance(status, int) and 400 <= status <= 599:
            return status
    return 0


def _refusal(raised: list[BaseException] | list[Exception], names: set[str], status: int) -> UpstreamRefused:
    body = next((content for each in raised if (content := _body(each))), b"")
    reported = read_error_text(body)
    message = reported.message or _text(raised[0])
    kind = reported.type or _attribute(raised, "error_type") or _attribute(raised, "type") or type_of_status(status)
    code = next((code for name, code in _CODES if name in names), "") or _attribute(raised, "code") or str(status)
    told = envelope(message=message, error_type=kind, param=_attribute(raised, "param") or None, code=code)
    return UpstreamRefused(
        message,
        status=status,
        body=told,
        content_type="application/json",
        retry_after=_attribute(raised, "retry_after") or _header(raised, "retry-after") or None,
        reported_type=kind,
    )


def _attribute(raised: list[BaseException] | list[Exception], name: str) -> str:
    for each in raised:
        value = getattr(each, name, None)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _body(error: BaseException) -> bytes:
    """Return the body of the answer that an SDK's error holds; a stream's may not have been read."""
    try:
        content = getattr(getattr(error, "response", None), "content", b"")
    except RuntimeError:  # httpx' ResponseNotRead.
        return b""
    return content if isinstance(content, bytes) else b""


def _header(raised: list[BaseException] | list[Exception], name: str) -> str:
    for each in raised:
        headers = getattr(getattr(each, "response", None), "headers", None)
        value = headers.get(name) if headers is not None and hasattr(headers, "get") else None
        if isinstance(value, str):
            return value
    return ""


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return (message if isinstance(message, str) and message else str(error) or type(error).__name__)[
        :_TEXT_CHARACTERS_MAX
    ]
