"""A streamed answer inside of the engine: bytes become objects, and whatever happens, the call is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tallystick.calls.metered_stream import MeteredStream
from tallystick.client.record import Record, Recorded, read_record, recorded
from tallystick.errors import TallystickError, UpstreamError
from tallystick.ledger.event import SpendEvent
from tallystick.wire.sse_frames import Frame, SSEFrames


class Batch(NamedTuple):
    """What came at once."""

    records: Sequence[Record]
    end: Recorded | None = None
    """Set when nothing more comes."""
    error: TallystickError | None = None
    """To be raised behind the records."""


class OpenStream:
    """One stream, in the engine's event loop. `on_over` is told once, when it is over."""

    def __init__(self, event_id: str, stream: MeteredStream, *, on_over: Callable[[OpenStream], None]) -> None:
        self._event_id = event_id
        self._stream = stream
        self._frames = SSEFrames()
        self._on_over = on_over
        self._turn = asyncio.Lock()
        self._is_over = False

    async def next_batch(self) -> Batch:
        """Return what comes next. The end comes when the event is in the journal. Raises TallystickError."""
        async with self._turn:
            if self._is_over:
                return Batch((), self._facts())
            try:
                return await self._read()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()  # This task goes on, to settle the call.
                await self._abandon()
                raise
            except BaseException as error:
                self._stream.cut_short(error)
                await self._leave()
                raise

    async def abandon(self) -> None:
        """Nobody reads on: settle the call with what was streamed. Harmless when it is over."""
        async with self._turn:
            if not self._is_over:
                await self._abandon()

    async def _read(self) -> Batch:
        while True:
            chunk = await self._stream.next()
            frames = self._frames.finish() if chunk is None else self._frames.feed(chunk)
            records = [record for frame in frames if (record := _record_of(frame)) is not None]
            if chunk is None:
                await self._leave()
                return Batch(records, self._facts(), _failure(self._stream.event))
            if records:
                return Batch(records)

    async def _abandon(self) -> None:
        try:
            await self._stream.abandon()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        self._is_over = True
        self._on_over(self)
        await self._stream.close()

    def _facts(self) -> Recorded:
        return recorded(self._event_id, self._stream.event)


def _record_of(frame: Frame) -> Record | None:
    """Return the object of an event; None where there is none, or where it only tells of an error."""
    if not frame.data.startswith(b"{"):
        return None
    try:
        record = read_record(frame.data, Record)
    except ValueError:
        return None
    tells_of_error = ("error" in record and "choices" not in record and "response" not in record) or (
        record.get("type") == "error"
    )
    return None if tells_of_error else record


def _failure(event: SpendEvent | None) -> UpstreamError | None:
    if event is None or event.status != "failure":
        return None
    error = UpstreamError(event.error_message or "The stream broke off.")
    error.event_id = event.event_id
    return error
