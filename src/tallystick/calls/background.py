"""Calls whose answers are generated in the background: they end when the upstream says what it has counted.

The caller has its answer, which says that the response is queued. Until the upstream has finished, the call stays open,
with its intent in the journal and what it holds of budgets; then it ends as its one event. The upstream is asked again
and again, more seldom the longer it takes. When this process ends first, the event is `interrupted`, with the input's
estimated cost, like that of any call that was running.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from tallystick.calls.call import NO_FAILURE, SERVER_STOPPED, Failure, RunningCall
from tallystick.calls.settle import Settler
from tallystick.errors import LedgerUnavailable, UpstreamError, UpstreamRefused
from tallystick.ledger.event import Status, UsageSource
from tallystick.providers.response_store import ResponseStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.responses.answer import ResponseObject, decode_response
from tallystick.wire.usage import Usage

log = structlog.get_logger(__name__)

WATCHED_MAX: Final = 10_000
"""More of them are billed by estimate at once."""
WATCH_SECONDS_MAX: Final = 6 * 3600.0
"""One that has not finished by then is billed by estimate."""
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = (2.0, 30.0)
_PART_OF_AGE: Final = 0.1
_LOOKS_AT_ONCE: Final = 32
_NOT_FINISHED: Final = ("queued", "in_progress")
_NOT_TOLD: Final = Failure(
    error_class="BackgroundUnknown", error_code="", message="The upstream did not say what became of the response."
)
_CANCELLED: Final = Failure(error_class="Cancelled", error_code="", message="The response was cancelled.")


class _Watched:
    """A call that is open."""

    def __init__(self, call: RunningCall, upstream_id: str, settler: Settler, *, now: float) -> None:
        self.call = call
        self.upstream_id = upstream_id
        self.settler = settler
        self.since = now
        self.due = now + _PAUSE_SECONDS[0]
        self.lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self.settler.is_running(self.call.context.event_id)


class BackgroundWatch:
    """The service that watches them. One per process."""

    name = "background_responses"

    def __init__(self, store: ResponseStore, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._loop = SupervisedLoop(self.name, self._run, clock=clock, metrics=metrics)

    async def start(self) -> None:
        """See Service."""
        await self._loop.start()

    async def stop(self) -> None:
        """End the calls that are still open, by estimate; see Service."""
        await self._loop.stop()
        for each in list(self._watched.values()):
            if each.is_open:
                event = each.call.event(
                    status="interrupted",
                    ended_at=each.settler.now(),
                    usage=_estimate(each),
                    usage_source="estimated",
                    provider_response_id=each.upstream_id,
                    failure=SERVER_STOPPED,
                )
                each.settler.end_unheard(event)
        self._watched.clear()

    def take(self, call: RunningCall, upstream_id: str, settler: Settler) -> bool:
        """Take a call over, whose caller has been answered; False when there are too many, or its id is another's."""
        key = (call.deployment.deployment_id, upstream_id)
        if len(self._watched) >= WATCHED_MAX or key in self._watched:
            return False
        self._watched[key] = _Watched(call, upstream_id, settler, now=self._clock.monotonic())
        return True

    async def look_at(self, deployment_id: str, upstream_id: str) -> None:
        """Look at a response now, if it is watched here: it is about to be deleted."""
        watched = self._watched.get((deployment_id, upstream_id))
        if watched is not None:
            await self._look(watched)

    async def look_at_due(self) -> None:
        """Look at all whose time has come."""
        now = self._clock.monotonic()
        due = [each for each in self._watched.values() if each.due <= now]
        for start in range(0, len(due), _LOOKS_AT_ONCE):
            await asyncio.gather(*map(self._look, due[start : start + _LOOKS_AT_ONCE]))

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            await self.look_at_due()

    async def _look(self, watched: _Watched) -> None:
        """Ask the upstream once, and settle when it has finished."""
        async with watched.lock:
            if not watched.is_open:
                self._forget(watched)
                return
            age = self._clock.monotonic() - watched.since
            watched.due += min(max(age * _PART_OF_AGE, _PAUSE_SECONDS[0]), _PAUSE_SECONDS[1])
            try:
                answer = await self._store.ask(watched.call.deployment.target, "GET", watched.upstream_id)
                response = decode_response(answer.body)
            except UpstreamError as error:
                is_gone = isinstance(error, UpstreamRefused) and error.http_status in (404, 410)
                if is_gone or age > WATCH_SECONDS_MAX:
                    await self._settle(watched, ResponseObject(), _NOT_TOLD)
                return
            if response.status not in _NOT_FINISHED:
                await self._settle(watched, response, _failure_of(response))
            elif age > WATCH_SECONDS_MAX:
                await self._settle(watched, ResponseObject(), _NOT_TOLD)

    async def _settle(self, watched: _Watched, response: ResponseObject, failure: Failure) -> None:
        usage = response.counted
        source: UsageSource = "provider" if usage is not None else "estimated"
        status: Status = "success"
        if failure is not NO_FAILURE:
            status = "interrupted" if failure in (_NOT_TOLD, _CANCELLED) else "failure"
        event = watched.call.event(
            status=status,
            ended_at=watched.settler.now(),
            usage=usage if usage is not None else _estimate(watched),
            usage_source=source,
            reported_cost_nano_usd=response.reported_cost_nano_usd,
            provider_response_id=watched.upstream_id,
            failure=failure,
        )
        self._forget(watched)
        try:
            await watched.settler.end(event)
        except LedgerUnavailable as error:  # The journal keeps the event, and tries again with the next one.
            log.warning("background_event_waits", reason=error.message)

    def _forget(self, watched: _Watched) -> None:
        self._watched.pop((watched.call.deployment.deployment_id, watched.upstream_id), None)


def _estimate(watched: _Watched) -> Usage:
    return Usage(input_tokens=watched.call.input_tokens_estimate)


def _failure_of(response: ResponseObject) -> Failure:
    if response.status == "cancelled":
        return _CANCELLED
    reported = response.failure
    return NO_FAILURE if reported is None else Failure.reported(reported)
