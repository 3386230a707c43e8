"""The story of one call, in order: route, admit, write down, dispatch, meter, settle.

A call that was dispatched ends as exactly one event. `journal.append_event` is one synchronous write, so nothing can
come between an answer and its event, neither a cancelled task nor a stopping server.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

import structlog

from tallystick.calls.admission import Admitted, CallAdmission, Headers
from tallystick.calls.attribution import Attribution, Attributor
from tallystick.calls.call import NO_FAILURE, NO_USAGE, CallContext, Failure, RunningCall
from tallystick.calls.metered_stream import MeteredStream, StreamLimits
from tallystick.calls.model_choice import choose_model
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment, Snapshot
from tallystick.errors import BadRequest, PermissionDenied, Untranslatable, UpstreamError, UpstreamRefused
from tallystick.ledger.event import UsageSource
from tallystick.providers.base import Answer, Provider
from tallystick.routing.order import order_deployments
from tallystick.wire.call_request import NOT_GENERATING, UNBILLED
from tallystick.wire.reported import AnswerFacts
from tallystick.wire.token_estimate import estimate_input_tokens, estimate_output_tokens
from tallystick.wire.usage import Usage

log = structlog.get_logger()

# A status below 500 that another deployment may not give: too early, too many, timed out, or its own key is wrong.
_RETRIED_STATUSES = frozenset((401, 403, 404, 408, 409, 425, 429))


class PlainAnswer:
    """An answer that is there as a whole; its event is in the journal."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, *, status: int, content_type: str, body: bytes, headers: Headers) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers = headers


class Pipeline:
    """Runs calls. One for a process."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        providers: Mapping[str, Provider],
        attributor: Attributor,
        blocked_customers: Container[str],
        admission: CallAdmission,
        settler: Settler,
        stream_limits: StreamLimits,
        draw: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._providers = providers
        self._attributor = attributor
        self._blocked_customers = blocked_customers
        self._admission = admission
        self._settler = settler
        self._stream_limits = stream_limits
        self._draw = draw

    async def run(self, context: CallContext) -> PlainAnswer | MeteredStream:
        """Answer one call. A stream settles itself when it is read to its end or abandoned.

        Raises PermissionDenied, BadRequest for an unknown model, BudgetExceeded, BudgetUnknown, RateLimited,
        LedgerUnavailable, and the UpstreamError of the last attempt; a dispatched call's event is in the journal by
        then.
        """
        deployments = self._route(context)
        attribution = self._attribute(context)
        input_tokens = estimate_input_tokens(context.request)
        admitted = await self._admission.admit(context, attribution, deployments, input_tokens)
        call = RunningCall(
            context=context,
            attribution=attribution,
            deployment=admitted.deployments[0],
            input_tokens_estimate=input_tokens.estimate,
        )
        self._settler.begin(call.intent(), admitted)
        try:
            return await self._answer(call, admitted)
        except BaseException as error:
            # Cancelled because the server stops, or a fault of ours: what the upstream billed is not known.
            if self._settler.is_running(context.event_id):
                self._settler.end_unheard(call.cut_short(error, ended_at=self._settler.now()))
            raise

    async def _answer(self, call: RunningCall, admitted: Admitted) -> PlainAnswer | MeteredStream:
        try:
            answer = await self._dispatch(call, admitted)
        except (UpstreamError, BadRequest) as error:
            await self._settler.end(
                call.event(status="failure", ended_at=self._settler.now(), failure=Failure.of(error))
            )
            raise
        if answer.chunks is not None:
            return MeteredStream(
                call=call,
                answer=answer,
                headers=admitted.headers(),
                settler=self._settler,
                limits=self._stream_limits,
            )
        return await self._settle_plain(call, answer, admitted)

    def _attribute(self, context: CallContext) -> Attribution:
        """Say whom the call belongs to. Raises BadRequest, and PermissionDenied for a customer who is blocked."""
        attribution = self._attributor.attribute(
            context.request,
            principal=context.principal,
            headers=context.headers,
            requester_ip=context.requester_ip,
        )
        if attribution.end_user_id in self._blocked_customers:
            raise PermissionDenied(
                f"Customer '{attribution.end_user_id}' is blocked. An admin can unblock it with /customer/unblock."
            )
        return attribution

    def _route(self, context: CallContext) -> Sequence[Deployment]:
        """Return the deployments to try, in order; of one snapshot, whatever admins write meanwhile."""
        snapshot = self._snapshot()
        deployments = choose_model(context.principal, context.request.model, snapshot)
        return order_deployments(deployments, attempts_max=1 + snapshot.settings.num_retries, draw=self._draw)

    async def _dispatch(self, call: RunningCall, admitted: Admitted) -> Answer:
        """Try the deployments in order until one answers.

        Raises the last one's UpstreamError, or BadRequest when it can't be said what the caller asks.
        """
        failure: UpstreamError | Untranslatable | None = None
        for deployment in admitted.deployments:
            if not await admitted.may_try(deployment):
                continue
            call.deployment = deployment
            provider = self._providers[deployment.target.provider]
            try:
                answer = await provider.send(call.request, deployment.target)
            except Untranslatable as error:
                failure = error
                continue
            except UpstreamError as error:
                call.note_failed_attempt(error)
                self._settler.count_attempt(deployment, "failure")
                if not _another_may_answer(error):
                    raise
                log.warning("attempt_failed", deployment_id=deployment.deployment_id, reason=type(error).__name__)
                failure = error
                continue
            self._settler.count_attempt(deployment, "success")
            return answer
        assert failure is not None, "the first deployment may always be tried"
        raise failure

    async def _settle_plain(self, call: RunningCall, answer: Answer, admitted: Admitted) -> PlainAnswer:
        """Meter a whole answer and put its event into the journal before it leaves."""
        try:
            facts, body = answer.reading.read_plain(answer.body)
        except UpstreamError as error:
            await self._settler.end(
                call.event(
                    status="failure",
                    ended_at=self._settler.now(),
                    usage=Usage(input_tokens=call.input_tokens_estimate),
                    usage_source="estimated",
                    failure=Failure.of(error),
                )
            )
            raise
        usage, usage_source = _usage_of(call, facts, answer)
        await self._settler.end(
            call.event(
                status="failure" if facts.error is not None else "success",
                ended_at=self._settler.now(),
                usage=usage,
                usage_source=usage_source,
                reported_cost_nano_usd=facts.reported_cost_nano_usd,
                provider_response_id=facts.response_id,
                failure=Failure.reported(facts.error) if facts.error is not None else NO_FAILURE,
            )
        )
        types = answer.reading.content_types
        return PlainAnswer(
            status=answer.status,
            content_type=answer.content_type if types is None else types.plain,
            body=body,
            headers=admitted.headers(),
        )


def _another_may_answer(error: UpstreamError) -> bool:
    """Whether the next deployment may do better: the request itself is not what is wrong."""
    if not isinstance(error, UpstreamRefused):
        return True
    return error.http_status >= 500 or error.http_status in _RETRIED_STATUSES


def _usage_of(call: RunningCall, facts: AnswerFacts, answer: Answer) -> tuple[Usage, UsageSource]:
    """Return what is billed: what the provider counted, else an estimate; nothing where it bills nothing."""
    if call.request.endpoint in UNBILLED:
        return NO_USAGE, "none"
    if facts.usage is not None:
        return facts.usage, "provider"
    return _estimated_usage(call, answer), "estimated"


def _estimated_usage(call: RunningCall, answer: Answer) -> Usage:
    """Bound the usage of an answer that does not tell it: embeddings have no output, others their whole body."""
    if call.request.endpoint in NOT_GENERATING:
        return Usage(input_tokens=call.input_tokens_estimate)
    return Usage(
        input_tokens=call.input_tokens_estimate,
        output_tokens=estimate_output_tokens(len(answer.body)),
    )
