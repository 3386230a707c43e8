"""What a library gives back, as the bytes that OpenAI would have sent, within the times that hold for the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from tallystick.errors import UpstreamError, UpstreamTimeout
from tallystick.providers.library_errors import error_in_stream, error_of_library

JSON = dict[str, Any]  # Any: bodies of many shapes, which a library makes.

_T = TypeVar("_T")
_CLOSE_SECONDS: Final = 5.0
_DONE: Final = b"data: [DONE]\n\n"


class LibraryStream(Protocol):
    """The chunks of a stream, as OpenAI's. Raises what the library raises."""

    def __aiter__(self) -> AsyncIterator[JSON]: ...

    async def aclose(self) -> None:
        """Give the upstream's connection up. Harmless when called again."""


class BegunChunks(NamedTuple):
    """A stream and its first chunk, which was waited for; None when there is none."""

    first: JSON | None
    chunks: AsyncIterator[JSON]
    stream: LibraryStream


async def begin(stream: LibraryStream) -> BegunChunks:
    """Wait for the first chunk; when that fails, the stream is closed."""
    chunks = aiter(stream)
    try:
        first = await _next(chunks)
    except BaseException:
        await stream.aclose()
        raise
    return BegunChunks(first, chunks, stream)


class LibraryEvents:
    """A ClosableStream of server-sent events. A stream that broke off has no `[DONE]`."""

    __slots__ = ("_chunks", "_first", "_has_ended", "_idle_seconds", "_is_whole", "_library", "_stream")

    def __init__(self, begun: BegunChunks, *, idle_seconds: float, library: str) -> None:
        self._first, self._chunks, self._stream = begun
        self._idle_seconds = idle_seconds
        self._library = library
        self._is_whole = False
        self._has_ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._has_ended:
            raise StopAsyncIteration
        chunk, self._first = self._first, None
        if chunk is None:
            try:
                chunk = await within(_next(self._chunks), self._idle_seconds, library=self._library)
            except BaseException:
                await self.aclose()
                raise
        if chunk is not None:
            self._is_whole = self._is_whole or _finishes(chunk)
            return b"data: " + tidied(chunk) + b"\n\n"
        await self.aclose()
        if not self._is_whole:  # The library does not tell an end from a connection that was cut.
            raise StopAsyncIteration
        return _DONE

    async def aclose(self) -> None:
        """`ClosableStream`."""
        self._has_ended = True
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._stream.aclose()
        except TimeoutError:
            return  # It is the library's connection: there is nothing else to close.


async def within(work: Awaitable[_T], seconds: float, *, library: str) -> _T:
    """Wait so long for a library's work. Whatever else ends it is an UpstreamError."""
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await work
    except UpstreamError:
        raise
    except Exception as error:
        if deadline.expired():
            raise UpstreamTimeout(f"The upstream did not answer {library} within {seconds:g} seconds.") from error
        raise error_of_library(error, library=library) from error


def tidied(answer: JSON) -> bytes:
    """Encode a completion or a chunk without the nulls; what clients look for by name stays."""
    for choice in answer.get("choices") or ():
        choice.setdefault("finish_reason", None)
        if (message := choice.get("message")) is not None:
            message.setdefault("content", None)
    return _ENCODER.encode(answer)


_ENCODER = msgspec.json.Encoder()


async def _next(chunks: AsyncIterator[JSON]) -> JSON | None:
    """Return the next chunk; an error that the upstream tells of in the stream is one, as it was before the library."""
    try:
        return await anext(chunks, None)
    except Exception as error:
        told = error_in_stream(error)
        if told is None:
            raise
        return {"error": told}


def _finishes(chunk: JSON) -> bool:
    return any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
