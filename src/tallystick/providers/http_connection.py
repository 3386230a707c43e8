"""One HTTP/1.1 connection to an upstream: an exchange at a time, and never a byte of one answer in another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tallystick.providers.destination import Origin
from tallystick.providers.http_content import OversizedAnswer

HEAD_BYTES_MAX = 64 * 1024
"""The most that an answer's headers and trailers may take, and the most in a row that is not body."""
BUFFERED_BYTES_MAX = 256 * 1024
"""A stream that is this far ahead of its reader is not read on until the reader has taken it."""
_WRITE_BYTES = 256 * 1024  # Larger bodies are written in parts of this size, as the peer takes them.
_CLOCK_GRAIN_SECONDS = 0.001


class HTTPConnection(asyncio.Protocol):
    """An open connection. `ask` begins an exchange, `progress` waits, `take` gives what has come of the body.

    When the exchange is `over`, `reusable` says whether another may follow; if not, the owner aborts the connection.
    Peers that speak unasked are cut off.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        body_bytes_max: int,
        error_bytes_max: int,
        on_lost: Callable[[HTTPConnection], None],
    ) -> None:
        self.origin = origin
        self.closed = False
        self.idle_since = 0.0
        self._body_bytes_max = body_bytes_max
        self._error_bytes_max = error_bytes_max
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self._writing_paused = self._reading_paused = self._is_writing = False
        self._begin(stream=False)
        self.over = self.reusable = True

    def _begin(self, *, stream: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.streamed = self.over = self.reusable = self._is_asked = False
        self._stream_wanted = stream
        self.answer_began = False  # Interim answers are none.
        self._failure: Exception | None = None
        self._parts: list[bytes] = []
        self._buffered_bytes = self._barren_bytes = self._head_bytes = 0
        self._limit = self._body_bytes_max
        self._unsent: memoryview | None = None

    @property
    def is_usable(self) -> bool:
        """Whether an exchange may begin."""
        if not self.reusable or self._reading_paused:
            return False
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, head: bytes, body: bytes, *, stream: bool) -> None:
        """Begin an exchange. The request is written as the peer takes it, while `progress` waits for the answer.

        With `stream`, an answer that is neither an error nor JSON is `streamed`: it can be taken as it comes.
        """
        assert self.reusable, "an exchange at a time"
        assert self._transport is not None
        self._begin(stream=stream)
        if len(body) <= _WRITE_BYTES:
            self._is_asked = True
            self._transport.write(head + body)
        else:
            self._unsent = memoryview(body)
            self._transport.write(head)
            self._write_more()

    async def progress(self, deadline: float) -> None:
        """Return once the answer is over or a stream has something to take.

        Raises TimeoutError at the deadline (in the loop's time), ValueError when this is no HTTP or breaks a limit,
        OSError when the connection broke. What came of a stream before can be taken first.
        """
        if not (self.over or (self.streamed and self._parts)):
            assert self._waiter is None, "an exchange has one reader"
            self._arm(deadline)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._failure is not None and not (self.streamed and self._parts):
            raise self._failure

    def take(self) -> bytes:
        """Return what has come of the body since the last time; b'' if nothing has."""
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        self._buffered_bytes = 0
        if self._reading_paused:
            self._reading_paused = False
            if not self.closed:
                assert self._transport is not None
                self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def has_failed(self) -> bool:
        """Whether the exchange is over before its time. `progress` raises the reason."""
        return self._failure is not None

    def abort(self) -> None:
        """Close at once, whatever is going on. Harmless when called again."""
        self.reusable = False
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.abort()

    # --- the event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.over:
            self.abort()  # Nobody asked for this. An answer that is complete stays as it is.
            return
        buffered_bytes = self._buffered_bytes
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.over:
                self.abort()
            else:
                self._fail(error.__context__ if isinstance(error.__context__, ValueError) else ValueError(str(error)))
        if self.over:
            self._wake()
        elif self._buffered_bytes == buffered_bytes:
            self._barren_bytes += len(data)
            if self._barren_bytes > HEAD_BYTES_MAX:
                self._fail(ValueError("too much that is not body"))
        else:
            self._barren_bytes = 0
            if self.streamed:
                self._wake()
                self._pause_if_ahead()

    def eof_received(self) -> bool:
        if not self.over and self.status and not self._is_framed():
            self.over = True  # Such a body ends with its connection.
            self._wake()
        self._fail(ConnectionResetError("closed by the upstream"))
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.reusable = False
        self._fail(exc or ConnectionResetError("closed by the upstream"))
        self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        del self._parser  # It holds this object's methods.
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._write_more()

    # --- the parser's side. What these raise ends the parsing.

    def on_message_begin(self) -> None:
        if self.over:
            raise ValueError("a second answer")
        self.answer_began = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD_BYTES_MAX:
            raise ValueError("headers are too large")
        if self.status:
            return  # A trailer.
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ValueError("an unusable status")
            return
        self.status = status
        headers = self.headers
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise ValueError("an unknown transfer coding")
        if status >= 400:
            self._limit = self._error_bytes_max
        elif self._stream_wanted and not headers.get("content-type", "").startswith("application/json"):
            self.streamed = True
        if status >= 300 and self._unsent is not None:
            self._unsent = None  # It knows enough. The request stays unfinished.

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._buffered_bytes += len(body)
        if self._buffered_bytes > self._limit and not self.streamed:
            if self.status < 400:
                raise OversizedAnswer(self._limit)
            self.over = True  # Enough of an error.
            raise ValueError("an error is too large")

    def on_message_complete(self) -> None:
        if not self.status:  # An interim answer.
            self.answer_began = False
            self.headers = {}
            return
        assert self._transport is not None
        self.over = True
        self.reusable = (
            self._parser.should_keep_alive()
            and self._is_asked
            and not self._transport.get_write_buffer_size()
            and not self.closed
        )

    # --- below, plain work

    def _is_framed(self) -> bool:
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    def _fail(self, reason: Exception) -> None:
        if not self.over:
            self._failure = reason
            self.over = True
            self._wake()
            self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause_if_ahead(self) -> None:
        if self._buffered_bytes > BUFFERED_BYTES_MAX and not self._reading_paused:
            assert self._transport is not None
            self._reading_paused = True
            self._transport.pause_reading()

    def _write_more(self) -> None:
        if self._is_writing:
            return  # Called by `write` below, which goes on by itself.
        self._is_writing = True
        while self._unsent is not None and not self._writing_paused and not self.closed:
            assert self._transport is not None
            part, rest = self._unsent[:_WRITE_BYTES], self._unsent[_WRITE_BYTES:]
            self._unsent = rest or None
            self._is_asked = not rest
            self._transport.write(part)
        self._is_writing = False

    def _arm(self, deadline: float) -> None:
        """Set the deadline. The timer stays where it is unless it is too late: most deadlines never come."""
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() + _CLOCK_GRAIN_SECONDS < self._deadline:
            self._arm(self._deadline)
        else:
            self._fail(TimeoutError("no progress in time"))
