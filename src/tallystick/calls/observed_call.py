"""Calls that somebody else sends: written down before and after like every call, and never held back.

The program talks to the provider itself. What is bounded here by budgets and rates is not; what it spends counts.
"""

from __future__ import annotations

import msgspec

from tallystick.calls.admission import CallAdmission
from tallystick.calls.attribution import Attributor
from tallystick.calls.call import NO_FAILURE, NO_USAGE, CallContext, Failure, RunningCall
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.errors import TallystickError, UpstreamGarbled
from tallystick.ledger.event import SpendEvent, Status, UsageSource
from tallystick.wire.call_request import NOT_GENERATING, UNBILLED
from tallystick.wire.dialect import Reading, StreamMeter
from tallystick.wire.reported import AnswerFacts
from tallystick.wire.token_estimate import estimate_input_tokens, estimate_output_tokens
from tallystick.wire.usage import Usage


class ObservedCalls:
    """Records calls. One per process; used in its event loop."""

    def __init__(self, *, attributor: Attributor, admission: CallAdmission, settler: Settler) -> None:
        self._attributor = attributor
        self._admission = admission
        self._settler = settler

    def begin(self, context: CallContext, deployment: Deployment) -> RunningCall:
        """Write the intent of a call that is about to be sent. Raises LedgerUnavailable, BadRequest."""
        attribution = self._attributor.attribute(
            context.request, principal=context.principal, headers=context.headers, requester_ip=context.requester_ip
        )
        call = RunningCall(
            context=context,
            attribution=attribution,
            deployment=deployment,
            input_tokens_estimate=estimate_input_tokens(context.request).estimate,
        )
        self._settler.begin(call.intent, self._admission.observe(context, deployment))
        return call

    async def end_answered(self, call: RunningCall, reading: Reading, body: bytes) -> None:
        """Write the event of a call whose whole answer is there. Raises LedgerUnavailable."""
        try:
            facts = reading.read_plain(body).facts
        except UpstreamGarbled as error:
            await self.end_failed(call, error, usage=call.input_usage())
            return
        usage, source = _usage_of(call, facts, len(body))
        await self._end(
            call.event(
                status="failure" if facts.error is not None else "success",
                ended_at=self._settler.now(),
                usage=usage,
                usage_source=source,
                reported_cost_nano_usd=facts.reported_cost_nano_usd,
                provider_response_id=facts.response_id,
                failure=Failure.reported(facts.error) if facts.error is not None else NO_FAILURE,
            )
        )

    async def end_streamed(self, call: RunningCall, meter: StreamMeter, failure: Failure | None) -> None:
        """Write the event of a stream that is over, or that was left or broke off. Raises LedgerUnavailable."""
        self._settler.count_unscanned(meter.unscanned_events)
        status: Status = "success"
        if meter.error is not None:
            status, failure = "failure", Failure.reported(meter.error)
        elif failure is not None:
            status = "interrupted"
        usage = meter.usage
        await self._end(
            call.event(
                status=status,
                ended_at=self._settler.now(),
                usage=_streamed(call, meter) if usage is None else usage,
                usage_source="estimated" if usage is None else "provider",
                reported_cost_nano_usd=meter.reported_cost_nano_usd,
                provider_response_id=meter.response_id,
                failure=failure or NO_FAILURE,
            )
        )

    async def end_failed(self, call: RunningCall, error: TallystickError, *, usage: Usage = NO_USAGE) -> None:
        """Write the event of a call that got no usable answer. Raises LedgerUnavailable."""
        await self._end(
            call.event(
                status="failure",
                ended_at=self._settler.now(),
                usage=usage,
                usage_source="none" if usage is NO_USAGE else "estimated",
                failure=Failure.of(error),
            )
        )

    async def end_left(self, call: RunningCall, failure: Failure) -> None:
        """Write the event of a call that nobody waits for any more. Raises LedgerUnavailable."""
        await self._end(
            call.event(
                status="interrupted",
                ended_at=self._settler.now(),
                usage=call.input_usage(),
                usage_source="estimated",
                failure=failure,
            )
        )

    async def _end(self, event: SpendEvent) -> None:
        if self._settler.is_running(event.event_id):
            await self._settler.end(event)


def _usage_of(call: RunningCall, facts: AnswerFacts, body_bytes: int) -> tuple[Usage, UsageSource]:
    endpoint = call.request.endpoint
    if endpoint in UNBILLED:
        return NO_USAGE, "none"
    if facts.usage is not None:
        return facts.usage, "provider"
    if endpoint == "moderations":
        return NO_USAGE, "none"
    usage = call.input_usage()
    if endpoint not in NOT_GENERATING:
        usage = msgspec.structs.replace(usage, output_tokens=estimate_output_tokens(body_bytes))
    return usage, "estimated"


def _streamed(call: RunningCall, meter: StreamMeter) -> Usage:
    output_tokens = estimate_output_tokens(meter.output_characters)
    begun = meter.begun_usage
    if begun is not None:
        return msgspec.structs.replace(begun, output_tokens=max(output_tokens, begun.output_tokens or 0))
    return msgspec.structs.replace(call.input_usage(), output_tokens=output_tokens)
