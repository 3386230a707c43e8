"""The metered stream: an answer that is passed on as it comes, read on the way, and settled before its end leaves.

next()      the bytes for the client; b"" never, None at the end. The end itself ([DONE]) comes after the event
            is in the journal.
abandon()   the client left: close the upstream, or read it to its end, as the settings say; then settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tallystick.calls.admission import Headers
from tallystick.calls.caching.cache import CacheUse
from tallystick.calls.call import NO_FAILURE, SERVER_STOPPED, Failure, RunningCall
from tallystick.calls.settle import Settler
from tallystick.calls.text import clean_id
from tallystick.errors import UpstreamError
from tallystick.ledger.event import SpendEvent, Status
from tallystick.providers.base import Answer, ClosableStream
from tallystick.wire.caller_dialects import CALLER_DIALECTS
from tallystick.wire.dialect import StreamMeter
from tallystick.wire.token_estimate import estimate_output_tokens
from tallystick.wire.usage import Usage

_EVENT_STREAM = "text/event-stream"
_CLIENT_LEFT = Failure(error_class="ClientDisconnected", error_code="499", message="The client left before the end.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What happens to an upstream whose client has left."""

    on_client_disconnect: Literal["close", "drain"] = "close"
    drain_seconds: float = 60.0


class MeteredStream:
    """One streamed answer. Used by one task; exactly one event comes of it."""

    def __init__(
        self,
        *,
        call: RunningCall,
        answer: Answer,
        headers: Headers,
        settler: Settler,
        limits: StreamLimits,
        take_over: Callable[[str], bool] | None = None,
    ) -> None:
        """`take_over` is offered the response's id when the stream is left and its upstream goes on all the same."""
        assert answer.chunks is not None
        self.headers = headers
        self.status = answer.status
        types = answer.reading.content_types
        self.content_type = answer.content_type if types is None else types.stream
        self.event: SpendEvent | None = None
        """The call's, once it is over."""
        self._call = call
        self._settler = settler
        self._limits = limits
        self._take_over = take_over
        self._meter: StreamMeter = answer.reading.meter()
        self._upstream: ClosableStream = answer.chunks
        self._chunks: AsyncIterator[bytes] = aiter(answer.chunks)
        self._cache = call.cache
        self._ended = False
        self._is_sound = call.request.endpoint == "audio/speech" and not self.content_type.startswith(_EVENT_STREAM)

    async def next(self) -> bytes | None:
        """Return the next bytes for the client, None when there are no more.

        A stream that breaks ends with an error event in the dialect's shape; where there are no events, UpstreamError
        is raised. Raises LedgerUnavailable when the event can't be made safe: then the end must not leave.
        """
        if self._ended:
            return None
        try:
            # Not to the end of the bytes, which some upstreams leave open behind the end of the stream.
            while not self._meter.saw_done and (chunk := await anext(self._chunks, None)) is not None:
                passed = self._meter.feed(chunk)
                if self._call.first_token_at is None and self._meter.first_content:
                    self._call.first_token_at = self._settler.now()
                if passed:
                    if self._cache is not None:
                        self._cache.add(passed)
                    return passed
        except UpstreamError as error:
            self._ended = True
            await self._leave("failure", Failure.of(error))
            dialect = None if self._is_sound else CALLER_DIALECTS.get(self._call.request.dialect)
            if dialect is None:
                raise  # What is played as sound, or unknown, can't tell of an error: the connection breaks off.
            return dialect.render_stream_error(error)
        self._ended = True
        end = self._meter.finish()
        reported = self._meter.error
        if reported is None:
            await self._settle("success", NO_FAILURE)
            if self._cache is not None and self._meter.is_whole:
                await self._keep(self._cache, end)
        else:
            await self._settle("failure", Failure.reported(reported))
        return end or None

    async def _keep(self, cache: CacheUse, end: bytes) -> None:
        """Keep the stream as the caller got it."""
        cache.add(end)
        await cache.keep(
            self._call.deployment,
            status=self.status,
            content_type=self.content_type,
            response_id=clean_id(self._meter.response_id),
        )

    @property
    def reads_on_without_client(self) -> bool:
        """Whether the upstream is read to its end when the client leaves."""
        return self._limits.on_client_disconnect == "drain"

    async def abandon(self) -> None:
        """The client left. Bill what was streamed, or what the upstream says once it is read to its end."""
        if not self._is_running:
            return
        self._ended = True
        self._settler.count_disconnect()
        if self.reads_on_without_client:
            await self._drain()
        await self._leave("interrupted", _CLIENT_LEFT)

    def cut_short(self, error: BaseException) -> None:
        """The task is cancelled because the server stops, or something crashed: write the event without waiting.

        Harmless when the event is written already.
        """
        self._ended = True
        if not self._is_running:
            return
        if isinstance(error, Exception):  # Perhaps what was read is what can't be written.
            event = self._call.cut_short(error, ended_at=self._settler.now(), usage=self._estimate())
        else:
            event = self._event("interrupted", SERVER_STOPPED)
        self._settler.end_unheard(event)

    async def close(self) -> None:
        """Give the upstream's connection up if its stream has not ended."""
        await self._upstream.aclose()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._limits.drain_seconds):
                while not self._meter.saw_done and (chunk := await anext(self._chunks, None)) is not None:
                    self._meter.feed(chunk)
                self._meter.finish()
        except (UpstreamError, TimeoutError):
            return  # What was read until now is billed.

    async def _leave(self, status: Status, failure: Failure) -> None:
        """Settle a stream that is not read to its end, unless what becomes of the response is known later."""
        meter = self._meter
        goes_on = meter.usage is None and meter.error is None and bool(meter.response_id)
        if goes_on and self._take_over is not None and self._is_running and self._take_over(meter.response_id):
            return
        await self._settle(status, failure)

    async def _settle(self, status: Status, failure: Failure) -> None:
        if not self._is_running:
            return
        self._settler.count_unscanned(self._meter.unscanned_events)
        self.event = self._event(status, failure)
        await self._settler.end(self.event)

    @property
    def _is_running(self) -> bool:
        return self._settler.is_running(self._call.context.event_id)

    def _event(self, status: Status, failure: Failure) -> SpendEvent:
        meter = self._meter
        usage = meter.usage
        return self._call.event(
            status=status,
            ended_at=self._settler.now(),
            usage=usage if usage is not None else self._estimate(),
            usage_source="provider" if usage is not None else "estimated",
            reported_cost_nano_usd=meter.reported_cost_nano_usd,
            provider_response_id=meter.response_id,
            failure=failure,
        )

    def _estimate(self) -> Usage:
        """Return what was streamed until now; the input as the provider counted it, where it told that early."""
        output_tokens = estimate_output_tokens(self._meter.output_characters)
        begun = self._meter.begun_usage
        if begun is not None:
            return msgspec.structs.replace(begun, output_tokens=max(output_tokens, begun.output_tokens or 0))
        return msgspec.structs.replace(self._call.input_usage(), output_tokens=output_tokens)
