"""The beginning of a stream, looked at before any of it is passed on: what fails at once can still be left."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamRefused
from tallystick.providers.base import ClosableStream
from tallystick.wire.bedrock.stream import exception_in
from tallystick.wire.error_envelope import envelope
from tallystick.wire.event_stream import EventStream
from tallystick.wire.reported import ReportedError
from tallystick.wire.sse import StreamScanner

EVENT_STREAM: Final = "text/event-stream"
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


class Framing(NamedTuple):
    """How a stream is cut into events."""

    end_of_event: Callable[[bytes], int]
    """Return where the first event ends, 0 when it is not whole."""
    failure_in: Callable[[bytes], UpstreamError | None]
    """Return the failure that the first event tells of. Raises UpstreamGarbled."""


async def begin_stream(upstream: ClosableStream, content_type: str = EVENT_STREAM) -> ClosableStream:
    """Wait for the first event and return the stream with it.

    Raises UpstreamError when the stream breaks before it or ends without one, UpstreamRefused when the event is an
    error, and UpstreamGarbled for what is no stream of events: then the stream is closed.
    """
    chunks = aiter(upstream)
    begun: list[bytes] = []
    framing = _framing_of(content_type)
    try:
        await _read_first(chunks, begun, framing)
        whole = b"".join(begun)
        # What comes behind the first event in the same piece is no failure at the beginning.
        failure = framing.failure_in(whole[: framing.end_of_event(whole) or len(whole)]) if whole else _no_event()
    except BaseException:
        await upstream.aclose()
        raise
    if failure is not None:
        await upstream.aclose()
        raise failure
    return BegunStream(begun, chunks, upstream)


async def _read_first(chunks: AsyncIterator[bytes], begun: list[bytes], framing: Framing) -> None:
    size = 0
    while (chunk := await anext(chunks, None)) is not None:
        begun.append(chunk)
        size += len(chunk)
        if framing.end_of_event(chunk if len(begun) == 1 else b"".join(begun)) or size > _LOOKED_AT_BYTES:
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


def _no_event() -> UpstreamGarbled:
    return UpstreamGarbled("The upstream's stream ended before its first event.")


def _end_of_event(begun: bytes) -> int:
    """Return where the first event with data ends, 0 when it is not whole. Comments are no events."""
    place = begun.find(b"data:")
    ends = [end + len(mark) for mark in _ENDS if place >= 0 and (end := begun.find(mark, place)) >= 0]
    return min(ends, default=0)


def _failure_in(begun: bytes) -> UpstreamError | None:
    if b"error" not in begun:
        return None
    scanner = StreamScanner(hide_usage=False)
    scanner.feed(begun)
    scanner.finish()
    # What was generated or counted is billed, so that it is passed on.
    if scanner.error is None or scanner.first_content or scanner.usage is not None:
        return None
    return refusal_of(scanner.error)


def _failure_in_unnamed(begun: bytes) -> UpstreamError | None:
    """Of a stream that is not called one of events: some upstreams forget to say it."""
    if _EVENT_BEGINS.match(begun) is None:
        return UpstreamGarbled("The upstream answered with what is no stream of events.")
    return _failure_in(begun)


def _end_of_message(begun: bytes) -> int:
    """Return where the first message of AWS' framing ends, 0 when it is not whole. It begins with its length."""
    end = int.from_bytes(begun[:4])
    return end if _MESSAGE_BYTES_MIN <= end <= len(begun) else 0


def _failure_in_message(begun: bytes) -> UpstreamError | None:
    messages = EventStream().feed(begun)
    if not messages and len(begun) <= _LOOKED_AT_BYTES:
        return _no_event()
    error = next((found for message in messages if (found := exception_in(message))), None)
    return None if error is None else refusal_of(error)


def _framing_of(content_type: str) -> Framing:
    content_type = content_type.lower()
    return next((framing for name, framing in _FRAMINGS if content_type.startswith(name)), _UNNAMED)


_EVENT_BEGINS: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_MESSAGE_BYTES_MIN: Final = 16
_UNNAMED: Final = Framing(_end_of_event, _failure_in_unnamed)
_FRAMINGS: Final = (
    (EVENT_STREAM, Framing(_end_of_event, _failure_in)),
    ("application/vnd.amazon.eventstream", Framing(_end_of_message, _failure_in_message)),
)


async def _ready(chunk: bytes) -> bytes:
    return chunk
