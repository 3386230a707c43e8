"""Streamed answers, for threads and for event loops. One that is left before its end is settled all the same."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from tallystick.client.engine import Engine
from tallystick.client.open_stream import Batch, OpenStream
from tallystick.client.record import Record, Recorded
from tallystick.errors import ClientClosed


class _Reader:
    """What both kinds have in common: what has come and was not taken yet."""

    def __init__(self, engine: Engine, stream: OpenStream) -> None:
        self.engine = engine
        self.stream = stream
        self.waiting: deque[Record] = deque()
        self.end: Recorded | None = None
        self._error: Exception | None = None

    def take(self, batch: Batch) -> None:
        self.waiting.extend(batch.records)
        self.end = batch.end
        self._error = batch.error

    def raise_error(self) -> None:
        """Raise what the stream ended with, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def leave(self) -> None:
        """Nobody reads on."""
        if self.end is None:
            self.engine.leave(self.stream.abandon)


class Stream:
    """A streamed answer for a thread: iterate over it. `close()`, or leaving its `with` block, ends it early."""

    def __init__(self, engine: Engine, stream: OpenStream) -> None:
        self._reader = _Reader(engine, stream)

    @property
    def tallystick(self) -> Recorded | None:
        """What the ledger has of the call; None until the stream has ended."""
        return self._reader.end

    def close(self) -> None:
        """End it. When this returns, the event is in the journal."""
        reader = self._reader
        if reader.end is None:
            with suppress(ClientClosed):  # Whoever closed the client has settled the call.
                reader.engine.wait(reader.stream.abandon())
                reader.take(reader.engine.wait(reader.stream.next_batch()))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        reader = self._reader
        while not reader.waiting:
            if reader.end is not None:
                reader.raise_error()
                raise StopIteration
            reader.take(reader.engine.wait(reader.stream.next_batch()))
        return reader.waiting.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._reader.leave()


class AsyncStream:
    """A streamed answer for an event loop: `async for`. `aclose()`, or leaving its block, ends it early."""

    def __init__(self, engine: Engine, stream: OpenStream) -> None:
        self._reader = _Reader(engine, stream)

    @property
    def tallystick(self) -> Recorded | None:
        """What the ledger has of the call; None until the stream has ended."""
        return self._reader.end

    async def aclose(self) -> None:
        """End it. When this returns, the event is in the journal."""
        reader = self._reader
        if reader.end is None:
            with suppress(ClientClosed):  # Whoever closed the client has settled the call.
                await asyncio.wrap_future(reader.engine.submit(reader.stream.abandon()))
                reader.take(await asyncio.wrap_future(reader.engine.submit(reader.stream.next_batch())))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        reader = self._reader
        while not reader.waiting:
            if reader.end is not None:
                reader.raise_error()
                raise StopAsyncIteration
            reader.take(await asyncio.wrap_future(reader.engine.submit(reader.stream.next_batch())))
        return reader.waiting.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._reader.leave()
