"""What is seen of the requests that an official client sends, and how it gets into the ledger.

Nothing here ever breaks a call: whatever goes wrong on our side is logged once, counted, and the call goes on.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from tallystick.calls.call import Failure, RunningCall
from tallystick.client.engine import Engine
from tallystick.client.runtime import Runtime
from tallystick.errors import UpstreamError, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from tallystick.runtime.clock import SystemClock
from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import Reading, StreamMeter
from tallystick.wire.native_answers import asks_for_usage, reading_of, request_at
from tallystick.wire.openai.request import asking_usage

log = structlog.get_logger(__name__)

LEFT: Final = Failure(error_class="ClientDisconnected", error_code="499", message="The stream was left before its end.")
CANCELLED: Final = Failure(error_class="Interrupted", error_code="", message="The call was cancelled.")
BROKEN: Final = Failure(error_class="UpstreamUnreachable", error_code="502", message="The answer broke off.")
WAIT_SECONDS: Final = 30.0
"""For the journal, before a call goes on unrecorded."""
_REST_SECONDS: Final = 10.0


class HTTPRequest(Protocol):
    """What is used of a request of the official clients' HTTP library."""

    method: str
    headers: Any  # Any: a mutable mapping that ignores case.
    extensions: Any  # Any: the library's own.
    url: Any  # Any: the library's own; `path` is used.
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """Whom the calls of an instrumented client belong to, where they don't say it themselves."""

    team: str = ""
    user: str | None = None
    session: str = ""
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None  # Any: JSON.

    def add_to(self, request: CallRequest) -> None:
        request.user = request.user or self.user
        request.session_id = request.session_id or self.session
        request.tags = [*request.tags, *self.tags]
        request.litellm_metadata = {**(self.metadata or {}), **request.litellm_metadata}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request that makes a call."""

    request: CallRequest
    reading: Reading
    sent: HTTPRequest
    """What is sent: the request as it came, or one that asks for the stream's usage too."""


class Recording:
    """One call between its intent and its event."""

    def __init__(self, engine: Engine, call: RunningCall, seen: Seen) -> None:
        self.engine = engine
        self.call = call
        self.reading = seen.reading
        self.is_over = False

    def answered(self, status: int, content_type: str, body: bytes) -> Coroutine[Any, Any, None]:
        """Record a whole answer."""
        self.is_over = True
        calls = self.engine.dispatcher.observed_calls
        if status >= 400:
            refusal = UpstreamRefused(status=status, body=body, content_type=content_type)
            return calls.end_failed(self.call, refusal)
        return calls.end_answered(self.call, self.reading, body)

    def streamed(self, meter: StreamMeter, failure: Failure | None) -> Coroutine[Any, Any, None]:
        """Record a stream."""
        self.is_over = True
        return self.engine.dispatcher.observed_calls.end_streamed(self.call, meter, failure)

    def failed(self, error: BaseException) -> Coroutine[Any, Any, None]:
        """Record that there was no answer."""
        self.is_over = True
        calls = self.engine.dispatcher.observed_calls
        if isinstance(error, Exception):
            return calls.end_failed(self.call, _upstream_error(error))
        return calls.end_left(self.call, CANCELLED)

    def left(self) -> Coroutine[Any, Any, None]:
        """Record that nobody waits for the answer any more."""
        self.is_over = True
        return self.engine.dispatcher.observed_calls.end_left(self.call, LEFT)


class Observer:
    """What an instrumented client's requests go by."""

    def __init__(
        self, runtime: Runtime, *, provider: str, api_base: str, asks_usage: bool, belonging: Belonging
    ) -> None:
        self.runtime = runtime
        self._provider = provider
        self._api_base = api_base
        self._asks_usage = asks_usage
        self._belonging = belonging
        self._has_complained = False
        self._clock = SystemClock()
        self._rests_until = 0.0
        """After a start that failed: no call is to wait for another one soon."""

    @property
    def is_resting(self) -> bool:
        """Whether calls go unrecorded for now, because nothing could be started."""
        return self.runtime.running is None and self._clock.monotonic() < self._rests_until

    def see(self, request: Any) -> Seen | None:  # Any: an HTTPRequest whose body may not be read yet.
        """Return the call that a request makes; None when it makes none."""
        try:
            if request.method != "POST" or self.is_resting:
                return None
            parsed = request_at(request.url.path, request.content, request.headers.get("content-type", ""))
            if parsed is None:
                return None
            asks = self._asks_usage and asks_for_usage(parsed)
            sent = _asking(request, parsed.raw) if asks else request
            self._belonging.add_to(parsed)
            return Seen(request=parsed, reading=reading_of(parsed, hides_usage=asks), sent=sent)
        except Exception as error:  # noqa: BLE001 - the call goes on, whatever it is.
            self.complain(error)
            return None

    async def begin(self, engine: Engine, seen: Seen) -> Recording:
        """Write the intent. In the engine. Raises TallystickError."""
        call = await engine.dispatcher.observe(
            seen.request, provider=self._provider, api_base=self._api_base, team_id=self._belonging.team
        )
        return Recording(engine, call, seen)

    def complain(self, error: BaseException) -> None:
        """Count an error of ours, and log the first one."""
        engine = self.runtime.running
        if engine is not None:
            engine.dispatcher.count_unrecorded()
        else:
            self._rests_until = self._clock.monotonic() + _REST_SECONDS
        if not self._has_complained:
            self._has_complained = True
            log.error("call_not_recorded", reason=f"{type(error).__name__}: {error}", told="once")


def _asking(request: HTTPRequest, raw: bytes) -> HTTPRequest:
    """Return the request with a body that asks for usage; its answer must come as plain text, to be read on the way."""
    body = asking_usage(raw)
    headers = request.headers.copy()
    headers["content-length"] = str(len(body))
    headers["accept-encoding"] = "identity"
    made: HTTPRequest = type(request)(  # type: ignore[call-arg]  # The library's own class.
        request.method, request.url, headers=headers, content=body, extensions=request.extensions
    )
    return made


def _upstream_error(error: Exception) -> UpstreamError:
    message = f"{type(error).__name__}: {error}"
    return UpstreamTimeout(message) if "Timeout" in type(error).__name__ else UpstreamUnreachable(message)
