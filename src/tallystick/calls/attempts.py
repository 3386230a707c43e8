"""The attempts of a call on one model group: deployment after deployment, until one answers or the policies give up.

A try on another deployment comes at once. When all have been tried, a pause comes before the first is tried again: what
the upstream asks for, else half a second and more each time. Deployments with a higher `order` are a group behind the
group: they are tried when those before them have failed for good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
import structlog

from tallystick.calls.admission import Admitted
from tallystick.calls.call import RunningCall
from tallystick.calls.first_event import EVENT_STREAM, begin_stream, refusal_of
from tallystick.calls.response_ids import ResponseIds
from tallystick.calls.route import Route
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.errors import BadRequest, Untranslatable, UpstreamError, UpstreamRefused
from tallystick.providers.base import Answer, ClosableStream, Provider, Target
from tallystick.routing.failure import FailureKind, kind_of, retry_after_seconds
from tallystick.routing.policies import may_retry_elsewhere, may_retry_here, pause_seconds
from tallystick.routing.tracker import Tracker
from tallystick.wire.call_options import CallOptions, MockFailure
from tallystick.wire.call_request import MEDIA, CallRequest
from tallystick.wire.dialect import PlainReading
from tallystick.wire.error_envelope import envelope
from tallystick.wire.responses.reading import ResponsesReading

log = structlog.get_logger(__name__)

_VARIANTS_MAX: Final = 1024
_MOCKED: Final[Mapping[MockFailure, tuple[int, str, str]]] = {
    "failure": (500, "internal_server_error", "500"),
    "context_window": (400, "invalid_request_error", "context_length_exceeded"),
    "content_policy": (400, "invalid_request_error", "content_policy_violation"),
}


class Answered(NamedTuple):
    """An answer: a stream that has begun, or a whole body with what it says."""

    answer: Answer
    reading: PlainReading | None
    """None for a stream, and for a body that can't be read."""


class UnusableAnswer(UpstreamError):
    """An upstream answered with status 200 what is no answer. `reason` is the error that it means."""

    def __init__(self, answered: Answered, reason: UpstreamError) -> None:
        super().__init__(reason.message)
        self.answered = answered
        self.reason = reason


class _Failed(NamedTuple):
    """A deployment that may be tried again, and after how long."""

    pause_seconds: float
    deployment: Deployment


class Attempts:
    """Makes attempts. One per process."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        tracker: Tracker,
        settler: Settler,
        now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]],
        draw: Callable[[], float],
        response_ids: ResponseIds,
    ) -> None:
        self._providers = providers
        self._tracker = tracker
        self._settler = settler
        self._now = now
        self._pause = pause
        self._draw = draw
        self._response_ids = response_ids
        # By identity, with the target itself, so that it lives as long as its id is used here.
        self._variants: dict[tuple[int, float, float], tuple[Target, Target]] = {}

    def of_group(self, call: RunningCall, route: Route, admitted: Admitted) -> Awaitable[Answered]:
        """Try the deployments that the call is admitted to until one answers.

        Raises the last one's UpstreamError, and Untranslatable when none of them can be asked what the caller asks.
        """
        route.tried_in_group = False
        if route.options.mock_failure is not None and not route.fallbacks:
            raise self._mocked(call, route.options.mock_failure)
        deployments = admitted.deployments
        if deployments[0].order == deployments[-1].order:
            return self._of_tier(call, route, admitted, deployments)
        return self._of_tiers(call, route, admitted, _tiers(deployments))

    async def _of_tiers(
        self, call: RunningCall, route: Route, admitted: Admitted, tiers: Sequence[Sequence[Deployment]]
    ) -> Answered:
        failure: UpstreamError | Untranslatable | None = None
        for tier in tiers:
            try:
                return await self._of_tier(call, route, admitted, tier)
            except (NothingFree, Untranslatable) as error:
                failure = failure or error
            except UpstreamError as error:
                failure = error
                if not may_retry_elsewhere(kind_of_failure(error), None):
                    raise
        assert failure is not None, "there is at least one tier"
        raise failure

    async def _of_tier(
        self, call: RunningCall, route: Route, admitted: Admitted, deployments: Sequence[Deployment]
    ) -> Answered:
        """Try them. Raises the last UpstreamError, else Untranslatable, else NothingFree: none has room."""
        failure: UpstreamError | None = None
        untold: Untranslatable | None = None
        failures = rounds = 0
        again: list[_Failed] = []
        while deployments:
            for deployment in deployments:
                if (rounds or deployment is not admitted.current) and not await admitted.may_try(
                    deployment, again=rounds > 0
                ):
                    continue
                try:
                    return await self._one(call, route, admitted, deployment)
                except Untranslatable as error:
                    untold = error
                    continue
                except UpstreamError as error:
                    failure = error
                failures += 1
                kind = kind_of_failure(failure)
                retries, of_policy = route.retries_for(kind, deployment)
                if failures > retries or not may_retry_elsewhere(kind, of_policy):
                    raise failure
                log.warning("attempt_failed", deployment_id=deployment.deployment_id, reason=str(kind))
                if may_retry_here(kind, of_policy):
                    self._remember(again, deployment, failure, route, rounds=rounds)
            again.sort(key=lambda each: each.pause_seconds)
            if again:
                await self._pause(again[0].pause_seconds)
            deployments, again = [each.deployment for each in again], []
            rounds += 1
        raise failure or untold or NothingFree()

    def _remember(
        self, again: list[_Failed], deployment: Deployment, failure: UpstreamError, route: Route, *, rounds: int
    ) -> None:
        seconds = pause_seconds(
            rounds=rounds,
            retry_after=retry_after_seconds(meant(failure), now=self._now()),
            least_seconds=route.settings.retry_after_seconds,
            draw=self._draw(),
        )
        if seconds is not None:
            again.append(_Failed(seconds, deployment))

    async def _one(self, call: RunningCall, route: Route, admitted: Admitted, deployment: Deployment) -> Answered:
        """Make one attempt. Raises UpstreamError; BadRequest when nothing was sent, as it can't be said."""
        request = call.request
        call.deployment = deployment
        route.retries += route.tried_in_group
        route.tried_in_group = True
        note = self._tracker.begin(
            deployment, stream=request.stream, settings=route.settings, has_others=route.has_others
        )
        admitted.attempt = note
        provider = self._providers[deployment.target.served_by]
        try:
            answer = await provider.send(request, self._target(deployment.target, route.options, request.stream))
            if isinstance(answer.reading, ResponsesReading):
                answer.reading = ResponsesReading(self._response_ids.teller(call.context.principal, deployment))
            answered = _read(answer) if answer.chunks is None else await _begun(request, answer, answer.chunks)
        except (BadRequest, RecursionError) as error:
            note.over(tokens=0, output_tokens=0, broke_off=False)
            if isinstance(error, BadRequest):
                raise
            # What could just be read where it came in can't be read deeper in the stack.
            raise BadRequest("The request body is nested too deeply.") from error
        except UpstreamError as error:
            cause = meant(error)
            retry_after = retry_after_seconds(cause, now=self._now())
            call.upstream_seconds += note.failed(kind_of(cause), retry_after=retry_after)
            call.note_failed_attempt(cause)
            self._settler.count_attempt(deployment, "failure")
            raise
        call.upstream_seconds += note.answered()
        self._settler.count_attempt(deployment, "success")
        return answered

    def _target(self, target: Target, options: CallOptions, stream: bool) -> Target:
        """Return the target with the times that hold for this call."""
        whole, pause = target.timeout_seconds, target.stream_idle_seconds
        if options.timeout_seconds is not None:
            whole = pause = options.timeout_seconds
        if options.stream_timeout_seconds is not None:
            pause = options.stream_timeout_seconds
        if stream:
            whole = pause  # A stream's first byte is the first thing that it may be too slow with.
        if whole == target.timeout_seconds and pause == target.stream_idle_seconds:
            return target
        known = self._variants.get((id(target), whole, pause))
        if known is None:
            if len(self._variants) >= _VARIANTS_MAX:
                self._variants.clear()
            variant = msgspec.structs.replace(target, timeout_seconds=whole, stream_idle_seconds=pause)
            known = self._variants[id(target), whole, pause] = (target, variant)
        return known[1]

    def _mocked(self, call: RunningCall, failure: MockFailure) -> UpstreamError:
        status, error_type, code = _MOCKED[failure]
        message = "This is a mock failure: the call asked for it, to see its fallbacks."
        body = envelope(message=message, error_type=error_type, param=None, code=code)
        error = UpstreamRefused(message, status=status, body=body, content_type="application/json")
        call.note_failed_attempt(error)
        return error


class NothingFree(UpstreamRefused):
    """No deployment has room in its own limits."""

    def __init__(self) -> None:
        message = "No deployment of the model has room in its own limits now. Try again."
        body = envelope(message=message, error_type="rate_limit_error", param=None, code="429")
        super().__init__(message, status=429, body=body, content_type="application/json")


def meant(error: UpstreamError) -> UpstreamError:
    """Return the error that an upstream means, whatever status it came with."""
    return error.reason if isinstance(error, UnusableAnswer) else error


def kind_of_failure(error: UpstreamError) -> FailureKind:
    """Return what to fall back by."""
    return kind_of(meant(error))


async def _begun(request: CallRequest, answer: Answer, chunks: ClosableStream) -> Answered:
    """Wait for the first event of a stream. Raises UpstreamError for what is no stream."""
    # Sound, and transcripts that come as text, are no events.
    if request.endpoint not in MEDIA or answer.content_type.startswith(EVENT_STREAM):
        answer.chunks = await begin_stream(chunks, answer.content_type)
    return Answered(answer, None)


def _read(answer: Answer) -> Answered:
    """Read a whole body. Raises UnusableAnswer for what is no answer."""
    try:
        reading = answer.reading.read_plain(answer.body)
    except UpstreamError as error:
        raise UnusableAnswer(Answered(answer, None), error) from error
    facts = reading.facts
    if facts.error is not None and facts.usage is None:
        if reading.refusal is not None:
            raise UnusableAnswer(Answered(answer, None), reading.refusal)
        raise UnusableAnswer(Answered(answer, reading), refusal_of(facts.error))
    return Answered(answer, reading)


def _tiers(deployments: Sequence[Deployment]) -> Sequence[Sequence[Deployment]]:
    """Cut deployments, which stand in their order, where `order` changes."""
    return [list(tier) for _, tier in groupby(deployments, key=lambda each: each.order)]
