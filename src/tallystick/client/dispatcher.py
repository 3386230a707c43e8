"""Calls inside of the engine: what a gateway does behind its HTTP, for callers in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final

import structlog

from tallystick.access.principal import Principal
from tallystick.access.users import Role
from tallystick.bootstrap import Services
from tallystick.calls.call import CallContext, RunningCall
from tallystick.calls.metered_stream import MeteredStream
from tallystick.calls.observed_call import ObservedCalls
from tallystick.calls.pipeline import Pipeline
from tallystick.client.asking import Question
from tallystick.client.open_stream import OpenStream
from tallystick.client.record import Answer, read_record, recorded
from tallystick.control.deployment import Deployment
from tallystick.control.resolving import CannotServe
from tallystick.errors import BadRequest, NotCommittedInTime, TallystickError, UpstreamGarbled
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.wire.call_request import CallRequest

log = structlog.get_logger(__name__)

SDK_KEY: Final = "tallystick_sdk"
"""Under this, calls of the SDK appear where a virtual key would: they need none."""

_PRICE_SECONDS: Final = 60.0
_PRICED_MAX: Final = 1_000


class Dispatcher:
    """Runs the calls of one client. Used in the engine's event loop only."""

    def __init__(self, services: Services, pipeline: Pipeline) -> None:
        self._services = services
        self._pipeline = pipeline
        self._priced: dict[tuple[str, str, str], tuple[Deployment, float]] = {}
        self._streams: set[OpenStream] = set()
        self._running: set[asyncio.Task[Any]] = set()  # Any: whatever each returns.

    async def call(self, question: Question) -> Answer | OpenStream:
        """Answer a call; its event is in the journal then, or when its stream is over. Raises TallystickError."""
        started_at = truncate_to_millisecond(self._services.clock.now())
        event_id = new_event_id(started_at)
        try:
            return await self._call(question, event_id, started_at=started_at)
        except TallystickError as error:
            error.event_id = event_id
            raise
        except Exception as error:
            log.exception("call_crashed", event_id=event_id)
            crash = TallystickError(f"Something unexpected happened; see the log for {event_id}.")
            crash.event_id = event_id
            raise crash from error

    async def _call(self, question: Question, event_id: str, *, started_at: datetime) -> Answer | OpenStream:
        request = question.request
        context = CallContext(
            event_id=event_id,
            started_at=started_at,
            path="/v1/" + request.endpoint,
            request=request,
            principal=_principal(question.team_id),
            headers={},
            requester_ip="",
        )
        try:
            answer = await self._pipeline.run(context)
        except BadRequest as error:
            why_not = self._why_not(request.model) if error.param == "model" else ""
            if why_not:
                raise BadRequest(f"The model '{request.model}' can't be called: {why_not}.", param="model") from error
            raise
        if isinstance(answer, MeteredStream):
            stream = OpenStream(event_id, answer, on_over=self._streams.discard)
            self._streams.add(stream)
            return stream
        try:
            told = read_record(answer.body, Answer)
        except ValueError as error:
            raise UpstreamGarbled("The upstream's answer is no JSON object.") from error
        told.tallystick = recorded(event_id, answer.event)
        return told

    @property
    def observed_calls(self) -> ObservedCalls:
        """What records calls that others send."""
        return self._services.observed_calls

    async def observe(self, request: CallRequest, *, provider: str, api_base: str, team_id: str) -> RunningCall:
        """Write the intent of a call that an instrumented client is about to send. Raises TallystickError."""
        deployment = await self._elsewhere(provider, request.model, api_base)
        started_at = truncate_to_millisecond(self._services.clock.now())
        context = CallContext(
            event_id=new_event_id(started_at),
            started_at=started_at,
            path="/v1/" + request.endpoint,
            request=request,
            principal=_principal(team_id),
            headers={},
            requester_ip="",
        )
        return self._services.observed_calls.begin(context, deployment)

    async def _elsewhere(self, provider: str, model: str, api_base: str) -> Deployment:
        """Return where the call goes, with its price, which is looked up now and then."""
        key, now = (provider, model, api_base), self._services.clock.monotonic()
        known = self._priced.get(key)
        if known is not None and known[1] > now:
            return known[0]
        builder = self._services.snapshots.builder
        await asyncio.to_thread(builder.load_prices)
        try:
            deployment = builder.price_elsewhere(provider, model, api_base=api_base)
        except CannotServe as error:
            raise BadRequest(f"The model '{model}' of {provider} can't be recorded: {error}.") from error
        if len(self._priced) >= _PRICED_MAX:
            self._priced.clear()
        self._priced[key] = (deployment, now + _PRICE_SECONDS)
        return deployment

    def count_unrecorded(self) -> None:
        """An instrumented client's call was not recorded."""
        self._services.metrics.unrecorded_calls.inc()

    def render_metrics(self) -> str:
        return self._services.render_metrics().decode()

    async def flush(self, timeout_seconds: float) -> None:
        """Return when the database has all events that are in the journal now. Raises NotCommittedInTime."""
        journal = self._services.ledger.journal
        journal.write_waiting_events()
        try:
            async with asyncio.timeout(timeout_seconds):
                await journal.committed(journal.last_seq)
        except TimeoutError as error:
            raise NotCommittedInTime(
                f"{journal.pending_events} events are not in the database after {timeout_seconds:g} s; the journal "
                "keeps them, and they will be committed."
            ) from error

    def keep(self, work: Coroutine[Any, Any, None]) -> None:  # Any: as coroutines are typed.
        """Run what nobody waits for; it is waited for when the client closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settle(self) -> None:
        """End the streams that are open."""
        for stream in tuple(self._streams):
            await stream.abandon()
        if self._running:
            await asyncio.wait(self._running)

    def _why_not(self, model: str) -> str:
        return self._services.snapshot().wildcards.why_not(model)


def _principal(team_id: str) -> Principal:
    return Principal(key_hash=SDK_KEY, key_alias="sdk", team_id=team_id, role=Role.PROXY_ADMIN)
