"""Taps: streams of bytes that are read on the way to an official client, and recorded before their end leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from tallystick.client.observing import BROKEN, LEFT, Recording
from tallystick.providers.http_content import Inflater, inflater
from tallystick.wire.dialect import StreamMeter

_EVENT_STREAM: Final = "text/event-stream"
_WHOLE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer answer that is no stream of events passes unread; its usage is estimated."""


class Flow:
    """What both kinds of tap do with bytes: what leaves now, what is held back, and what is recorded at the end."""

    def __init__(
        self,
        recording: Recording,
        *,
        status: int,
        headers: Any,  # Any: a mutable mapping.
        complain: Callable[[BaseException], None],
    ) -> None:
        self._recording = recording
        self._complain = complain
        self._status = status
        self._content_type: str = headers.get("content-type", "")
        self._meter: StreamMeter | None = None
        if self._content_type.startswith(_EVENT_STREAM):
            self._meter = recording.reading.meter()
        self._undo, self._is_readable = _inflater_of(headers)
        self._whole = bytearray()
        self._held = b""

    @property
    def recording(self) -> Recording:
        return self._recording

    def feed(self, raw: bytes) -> bytes:
        """Take the next bytes and return those that may leave."""
        if not self._is_readable:
            return raw
        try:
            return self._read(raw)
        except Exception as error:  # noqa: BLE001 - the answer goes on, unread.
            self._complain(error)
            self._is_readable = False
            return raw

    def _read(self, raw: bytes) -> bytes:
        plain = raw if self._undo is None else b"".join(self._undo.steps(raw))
        if self._meter is not None:
            passed = self._meter.feed(plain)
            call = self._recording.call
            if call.first_token_at is None and self._meter.first_content:
                call.first_token_at = self._recording.engine.now()
            return passed
        if len(self._whole) <= _WHOLE_BYTES_MAX:
            self._whole += plain
        passed, self._held = self._held, plain
        return passed

    @property
    def ends_here(self) -> bool:
        """Whether the end has come, whatever bytes follow."""
        return self._meter is not None and self._meter.saw_done

    def end(self) -> bytes:
        """Return what was held back."""
        if self._meter is not None:
            return self._meter.finish()
        held, self._held = self._held, b""
        return held

    def record(self, *, broke_off: bool = False, was_left: bool = False) -> Any:  # Any: a coroutine.
        """Return the work that records the answer."""
        if self._meter is not None:
            return self._recording.streamed(self._meter, BROKEN if broke_off else LEFT if was_left else None)
        if broke_off or was_left:
            return self._recording.left()
        return self._recording.answered(self._status, self._content_type, bytes(self._whole))

    def forget(self) -> None:
        """The answer was dropped: record it, unless that is done."""
        if not self._recording.is_over:
            self._recording.engine.leave(partial(self.record, was_left=True))


class SyncTap:
    """Mixed with the HTTP library's own kind of stream by `tapped`."""

    def attach(self, inner: Any, flow: Flow, settle: Callable[[Any], None]) -> None:  # Any: the library's stream.
        self._inner = inner
        self._flow = flow
        self._settle = settle

    def __iter__(self) -> Iterator[bytes]:
        flow = self._flow
        try:
            for raw in self._inner:
                out = flow.feed(raw)
                if flow.ends_here and not flow.recording.is_over:
                    self._settle(flow.record())
                    out += flow.end()
                if out:
                    yield out
        except GeneratorExit:
            raise
        except BaseException:
            if not flow.recording.is_over:
                self._settle(flow.record(broke_off=True))
            raise
        if not flow.recording.is_over:
            end = flow.end()
            self._settle(flow.record())
            if end:
                yield end

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            if not self._flow.recording.is_over:
                self._settle(self._flow.record(was_left=True))

    def __del__(self) -> None:
        self._flow.forget()

    def __getattr__(self, name: str) -> Any:  # Any: whatever the library's stream has.
        return getattr(self.__dict__["_inner"], name)


class AsyncTap:
    """Mixed with the HTTP library's own kind of stream by `tapped`."""

    def attach(self, inner: Any, flow: Flow, settle: Callable[[Any], Awaitable[None]]) -> None:  # Any: as above.
        self._inner = inner
        self._flow = flow
        self._settle = settle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        flow = self._flow
        try:
            async for raw in self._inner:
                out = flow.feed(raw)
                if flow.ends_here and not flow.recording.is_over:
                    await self._settle(flow.record())
                    out += flow.end()
                if out:
                    yield out
        except GeneratorExit:
            raise
        except Exception:
            if not flow.recording.is_over:
                await self._settle(flow.record(broke_off=True))
            raise
        if not flow.recording.is_over:
            end = flow.end()
            await self._settle(flow.record())
            if end:
                yield end

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            if not self._flow.recording.is_over:
                await self._settle(self._flow.record(was_left=True))

    def __del__(self) -> None:
        self._flow.forget()

    def __getattr__(self, name: str) -> Any:  # Any: whatever the library's stream has.
        return getattr(self.__dict__["_inner"], name)


def tapped(kind: type, inner: object) -> Any:  # Any: an object of a class made here.
    """Return an object of a tap's kind that the HTTP library takes for one of its own streams."""
    family = next(base for base in type(inner).__mro__ if base.__name__ in ("SyncByteStream", "AsyncByteStream"))
    return type(kind.__name__, (kind, family), {})()


def _inflater_of(headers: Any) -> tuple[Inflater | None, bool]:  # Any: a mutable mapping.
    """Return what undoes an answer's compression, which its reader then does not see; and whether it can be read."""
    encoding = headers.get("content-encoding", "")
    try:
        undo = inflater(encoding)
    except ValueError:
        return None, False
    if undo is not None:
        del headers["content-encoding"]
    return undo, True
