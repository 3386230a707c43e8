"""What kind of failure an attempt ended with, by LiteLLM's names, so that policies can speak of it."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from tallystick.errors import TallystickError, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable

_READ_BYTES: Final = 16 * 1024
_CONTENT_POLICY: Final = (
    b"content_policy_violation",
    b"content_filter",
    b"content management policy",
    b"responsibleaipolicyviolation",
    b"rejected as a result of our safety system",
    b"violating our usage policy",
)
_CONTEXT_WINDOW: Final = (
    b"context_length_exceeded",
    b"maximum context length",
    b"context window",
    b"prompt is too long",
    b"prompt_too_long",
    b"input is too long",
    b"input length and `max_tokens` exceed context limit",
    b"input token count exceeds",
    b"exceeds the maximum number of tokens",
    b"too many tokens",
    b"model's context limit",
)


class FailureKind(StrEnum):
    """LiteLLM's classes of errors, as far as policies tell them apart."""

    BAD_REQUEST = "BadRequestError"
    CONTEXT_WINDOW = "ContextWindowExceededError"
    CONTENT_POLICY = "ContentPolicyViolationError"
    AUTHENTICATION = "AuthenticationError"
    PERMISSION = "PermissionDeniedError"
    NOT_FOUND = "NotFoundError"
    TIMEOUT = "Timeout"
    RATE_LIMIT = "RateLimitError"
    INTERNAL = "InternalServerError"
    BAD_GATEWAY = "BadGatewayError"
    UNAVAILABLE = "ServiceUnavailableError"
    CONNECTION = "APIConnectionError"

    @property
    def policy_name(self) -> str:
        """What the key of a policy begins with: a broken connection has the policy of a broken server."""
        if self is FailureKind.TIMEOUT:
            return "TimeoutError"
        return FailureKind.INTERNAL if self is FailureKind.CONNECTION else str(self)


_BY_STATUS: Final = {
    401: FailureKind.AUTHENTICATION,
    403: FailureKind.PERMISSION,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    # Too early, and a conflict with what the upstream does at the moment: both pass, as LiteLLM takes them. So does the
    # 424 of Bedrock's ModelErrorException.
    409: FailureKind.INTERNAL,
    424: FailureKind.INTERNAL,
    425: FailureKind.INTERNAL,
    429: FailureKind.RATE_LIMIT,
    502: FailureKind.BAD_GATEWAY,
    503: FailureKind.UNAVAILABLE,
    504: FailureKind.TIMEOUT,
    529: FailureKind.UNAVAILABLE,
}


def kind_of(error: TallystickError) -> FailureKind:
    """Return the kind of an upstream's failure."""
    if isinstance(error, UpstreamTimeout):
        return FailureKind.TIMEOUT
    if isinstance(error, UpstreamUnreachable):
        return FailureKind.CONNECTION
    if not isinstance(error, UpstreamRefused):
        return FailureKind.INTERNAL
    known = _BY_STATUS.get(error.http_status)
    if known is not None and known is not FailureKind.PERMISSION:
        return known
    if error.http_status >= 500:
        return FailureKind.INTERNAL
    text = error.body[:_READ_BYTES].lower()
    if any(words in text for words in _CONTENT_POLICY):
        return FailureKind.CONTENT_POLICY
    if known is None and any(words in text for words in _CONTEXT_WINDOW):
        return FailureKind.CONTEXT_WINDOW
    return known or FailureKind.BAD_REQUEST


def retry_after_seconds(error: TallystickError, *, now: datetime) -> float | None:
    """Return how long the upstream asks to be left alone; None when it does not say, or nothing one can read."""
    text = error.retry_after if isinstance(error, UpstreamRefused) else None
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
            seconds = (moment - now).total_seconds()
        except (TypeError, ValueError, OverflowError):  # TypeError: a date without its zone.
            return None
    return seconds if 0 <= seconds < float("inf") else None
