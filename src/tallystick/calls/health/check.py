"""One check: a call to one deployment, with its intent and its event, that takes part in no routing.

Its outcome changes no cooldown and no strategy. It is attributed to a key that is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from tallystick.access.principal import Principal
from tallystick.calls.admission import Admitted, CallAdmission
from tallystick.calls.attribution import Attribution
from tallystick.calls.call import NO_FAILURE, CallContext, Failure, RunningCall
from tallystick.calls.first_event import refusal_of
from tallystick.calls.health.question import NotCheckable, question_for
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.errors import TallystickError, UpstreamError
from tallystick.providers.base import Provider, Target
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.runtime.masking import mask_text
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.call_request import CallRequest
from tallystick.wire.token_estimate import estimate_input_tokens
from tallystick.wire.usage import Usage

HEALTH_CHECK_KEY: Final = "tallystick_health_check"
"""The key under which checks are in the ledger; no key has this hash."""
_PATH: Final = "/health"
_ERROR_CHARACTERS_MAX: Final = 500
_SECRET_CHARACTERS_MIN: Final = 6
_NOBODY: Final = Principal(key_hash=HEALTH_CHECK_KEY, key_alias="health-check")


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment was when it was asked last."""

    healthy: bool | None
    """None: it can't be asked, and `error` says why."""
    at: datetime
    milliseconds: int = 0
    error: str = ""
    """Without secrets."""
    seen: bool = False
    """It was not asked, as it had answered a caller."""


class Checker:
    """Makes checks. One per process."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        settler: Settler,
        admission: CallAdmission,
        timeout_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._providers = providers
        self._settler = settler
        self._admission = admission
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._metrics = metrics

    async def check(self, deployment: Deployment, *, mode: str | None = None) -> CheckResult:
        """Ask a deployment. Raises LedgerUnavailable when the call can't be written down; then it is not made."""
        begun = self._clock.monotonic()
        try:
            asked, request = question_for(deployment, mode)
        except NotCheckable as error:
            self._metrics.health_checks.labels("unchecked").inc()
            return CheckResult(healthy=None, at=self._clock.now(), error=str(error))
        failure = await self._ask(asked, request)
        self._metrics.health_checks.labels("unhealthy" if failure else "healthy").inc()
        return CheckResult(
            healthy=failure is None,
            at=self._clock.now(),
            milliseconds=round((self._clock.monotonic() - begun) * 1000),
            error="" if failure is None else _shown(failure, asked.target),
        )

    async def _ask(self, deployment: Deployment, request: CallRequest) -> TallystickError | None:
        started_at = truncate_to_millisecond(self._clock.now())
        context = CallContext(
            event_id=new_event_id(started_at),
            started_at=started_at,
            path=_PATH,
            request=request,
            principal=_NOBODY,
            headers={},
            requester_ip="",
        )
        tokens = estimate_input_tokens(request).estimate
        call = RunningCall(context=context, attribution=_OF_NOBODY, deployment=deployment, input_tokens_estimate=tokens)
        # No limit is anybody's here: what it holds is nothing.
        self._settler.begin(call.intent, Admitted(self._admission, context, [deployment], tokens_estimate=tokens))
        try:
            return await self._answer(call, deployment)
        except BaseException as error:
            if self._settler.is_running(context.event_id):
                self._settler.end_unheard(call.cut_short(error, ended_at=self._settler.now()))
            raise

    async def _answer(self, call: RunningCall, deployment: Deployment) -> TallystickError | None:
        provider = self._providers[deployment.target.served_by]
        usage = None
        failure: TallystickError | None = None
        cost, response_id = None, ""
        try:
            answer = await provider.send(call.request, self._hurried(deployment.target))
            # From here on it is perhaps billed.
            usage = Usage(input_tokens=call.input_tokens_estimate)
            facts = answer.reading.read_plain(answer.body).facts
            cost, response_id = facts.reported_cost_nano_usd, facts.response_id
            if facts.error is not None:
                failure = refusal_of(facts.error)
            if facts.usage is not None:
                usage = facts.usage
            reported = facts.usage is not None
        except TallystickError as error:
            failure, reported = error, False
        if usage is None:
            event = call.event(
                status="failure", ended_at=self._settler.now(), failure=Failure.of(failure) if failure else NO_FAILURE
            )
        else:
            event = call.event(
                status="failure" if failure else "success",
                ended_at=self._settler.now(),
                usage=usage,
                usage_source="provider" if reported else "estimated",
                reported_cost_nano_usd=cost,
                provider_response_id=response_id,
                failure=Failure.of(failure) if failure else NO_FAILURE,
            )
        await self._settler.end(event)
        return failure

    def _hurried(self, target: Target) -> Target:
        seconds = min(target.timeout_seconds, self._timeout_seconds)
        return msgspec.structs.replace(target, timeout_seconds=seconds)


_OF_NOBODY: Final = Attribution(
    user_id="", end_user_id="", tags=(), session_id="", requester_ip="", user_agent="", metadata={}
)


def _shown(error: TallystickError, target: Target) -> str:
    """Return what an admin is told: what the upstream said, without what it was sent to sign in."""
    failure = Failure.of(error)
    kind = f"{failure.error_class} {failure.error_code}" if isinstance(error, UpstreamError) else failure.error_class
    text = f"{kind}: {failure.message}"
    for secret in sorted(_secrets_of(target), key=len, reverse=True):
        text = text.replace(secret, "****")
    return mask_text(text)[:_ERROR_CHARACTERS_MAX]


def _secrets_of(target: Target) -> Iterator[str]:
    for value in (*target.headers.values(), *_texts_in(target.options)):
        for part in (value, *value.split()):
            if len(part) >= _SECRET_CHARACTERS_MIN:
                yield part


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_in(item)
