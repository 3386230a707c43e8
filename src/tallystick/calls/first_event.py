"""The beginning of a stream, looked at before any of it is passed on: what fails at once can still be left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Final

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamRefused
from tallystick.providers.base import ClosableStream
from tallystick.wire.error_envelope import envelope
from tallystick.wire.reported import ReportedError
from tallystick.wire.sse import StreamScanner

_LOOKED_AT_BYTES: Final = 64 * 1024
_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_STATUS_OF_WORDS: Final = (
    ("rate_limit", 429),
    ("too_many_requests", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("permission", 403),
    ("not_found", 404),
    ("timeout", 504),
    ("context_length", 400),
    ("content_policy", 400),
    ("content_filter", 400),
    ("invalid_request", 400),
)


class BegunStream:
    """A stream whose beginning was read: it comes first, and then the rest as it is."""

    __slots__ = ("_begun", "_chunks", "_upstream")

    def __init__(self, begun: list[bytes], chunks: AsyncIterator[bytes], upstream: ClosableStream) -> None:
        self._begun = begun
        self._chunks = chunks
        self._upstream = upstream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return _ready(self._begun.pop(0)) if self._begun else self._chunks.__anext__()

    async def aclose(self) -> None:
        """`ClosableStream`."""
        await self._upstream.aclose()


async def begin_stream(upstream: ClosableStream) -> ClosableStream:
    """Wait for the first event and return the stream with it.

    Raises UpstreamError when the stream breaks before it or ends without one, and UpstreamRefused when the event is an
    error: then the stream is closed.
    """
    chunks = aiter(upstream)
    begun: list[bytes] = []
    try:
        await _read_first(chunks, begun)
        failure = _failure_in(_first_event(b"".join(begun)))
    except BaseException:
        await upstream.aclose()
        raise
    if failure is not None:
        await upstream.aclose()
        raise failure
    return BegunStream(begun, chunks, upstream)


async def _read_first(chunks: AsyncIterator[bytes], begun: list[bytes]) -> None:
    size = 0
    while (chunk := await anext(chunks, None)) is not None:
        begun.append(chunk)
        size += len(chunk)
        if _end_of_event(chunk if len(begun) == 1 else b"".join(begun)) or size > _LOOKED_AT_BYTES:
            return


def refusal_of(error: ReportedError) -> UpstreamRefused:
    """Return an error that came inside an answer of status 200 as what its status should have been."""
    body = envelope(message=error.message, error_type=error.type or "upstream_error", param=None, code=error.code)
    return UpstreamRefused(error.message or None, status=_status_of(error), body=body, content_type="application/json")


def _status_of(error: ReportedError) -> int:
    if error.code.isdigit() and 400 <= int(error.code) <= 599:
        return int(error.code)
    words = f"{error.type} {error.code}".lower()
    return next((status for word, status in _STATUS_OF_WORDS if word in words), 502)


def _first_event(begun: bytes) -> bytes:
    """Return the first event alone: what comes behind it in the same piece is no failure at the beginning."""
    return begun[: _end_of_event(begun) or len(begun)]


def _end_of_event(begun: bytes) -> int:
    """Return where the first event with data ends, 0 when it is not whole. Comments are no events."""
    place = begun.find(b"data:")
    ends = [end + len(mark) for mark in _ENDS if place >= 0 and (end := begun.find(mark, place)) >= 0]
    return min(ends, default=0)


def _failure_in(begun: bytes) -> UpstreamError | None:
    if not begun:
        return UpstreamGarbled("The upstream's stream ended before its first event.")
    if b"error" not in begun:
        return None
    scanner = StreamScanner(hide_usage=False)
    scanner.feed(begun)
    scanner.finish()
    # What was generated or counted is billed, so that it is passed on.
    if scanner.error is None or scanner.first_content or scanner.usage is not None:
        return None
    return refusal_of(scanner.error)


async def _ready(chunk: bytes) -> bytes:
    return chunk
