"""The story of one call, in order: route, admit, write down, dispatch, meter, settle.

A call that was dispatched ends as exactly one event. `journal.append_event` is one synchronous write, so nothing can
come between an answer and its event, neither a cancelled task nor a stopping server.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from tallystick.calls.admission import Admitted, CallAdmission, Headers
from tallystick.calls.answer_headers import AnswerHeaders, cost_header, time_headers
from tallystick.calls.attempts import Answered, Attempts, UnusableAnswer, kind_of_failure, meant
from tallystick.calls.attribution import Attribution, Attributor
from tallystick.calls.background import BackgroundWatch
from tallystick.calls.caching.cache import AnswerCache
from tallystick.calls.call import NO_FAILURE, NO_USAGE, CallContext, Failure, RunningCall
from tallystick.calls.metered_stream import MeteredStream, StreamLimits
from tallystick.calls.plain_answer import PlainAnswer
from tallystick.calls.replay import Replayer
from tallystick.calls.response_ids import ResponseIds
from tallystick.calls.route import Route, Router
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.errors import (
    BadRequest,
    BudgetExceeded,
    BudgetUnknown,
    LedgerUnavailable,
    NotFound,
    PermissionDenied,
    RateLimited,
    Untranslatable,
    UpstreamError,
)
from tallystick.ledger.event import UsageSource
from tallystick.providers.base import Answer
from tallystick.routing.choice import Wanted
from tallystick.routing.failure import FailureKind
from tallystick.wire.call_options import with_headers
from tallystick.wire.call_request import NOT_GENERATING, UNBILLED, CallRequest
from tallystick.wire.reported import AnswerFacts
from tallystick.wire.responses.reading import ResponsesReading
from tallystick.wire.token_estimate import InputTokens, estimate_input_tokens, estimate_output_tokens
from tallystick.wire.usage import Usage


class Pipeline:
    """Runs calls. One for a process."""

    def __init__(
        self,
        *,
        router: Router,
        attempts: Attempts,
        attributor: Attributor,
        blocked_customers: Container[str],
        admission: CallAdmission,
        settler: Settler,
        stream_limits: StreamLimits,
        monotonic: Callable[[], float],
        response_ids: ResponseIds,
        background: BackgroundWatch,
        cache: AnswerCache | None = None,
    ) -> None:
        self._router = router
        self._attempts = attempts
        self._attributor = attributor
        self._blocked_customers = blocked_customers
        self._admission = admission
        self._settler = settler
        self._stream_limits = stream_limits
        self._monotonic = monotonic
        self._cache = cache
        self._replayer = Replayer(admission=admission, settler=settler, monotonic=monotonic)
        self._response_ids = response_ids
        self._background = background
        self._answer_headers = AnswerHeaders()

    async def run(self, context: CallContext) -> PlainAnswer | MeteredStream:
        """Answer one call. A stream settles itself when it is read to its end or abandoned.

        Raises PermissionDenied, BadRequest for an unknown model, BudgetExceeded, BudgetUnknown, RateLimited,
        LedgerUnavailable, and the UpstreamError of the last attempt; a dispatched call's event is in the journal by
        then.
        """
        begun = self._monotonic()
        request = context.request
        attribution = self._attribute(context)
        input_tokens = estimate_input_tokens(request)
        route = self._router.begin(
            context.principal,
            request.model,
            with_headers(request.options, context.headers),
            Wanted(attribution.tags, input_tokens.estimate, request.stream, self._continued(context)),
        )
        use = None
        if self._cache is not None:
            use = await self._cache.look_up(request, context.headers, context.principal, route, attribution.tags)
            if use is not None and use.hit is not None:
                return await self._replayer.replay(context, attribution, route, use, use.hit, begun=begun)
        admitted = await self._admit(context, attribution, route, input_tokens)
        call = RunningCall(
            context=context,
            attribution=attribution,
            deployment=admitted.deployments[0],
            input_tokens_estimate=input_tokens.estimate,
        )
        call.cache = use
        self._settler.begin(call.intent, admitted)
        try:
            return await self._answer(call, route, admitted, attribution, input_tokens, begun=begun)
        except BaseException as error:
            # Cancelled because the server stops, or a fault of ours: what the upstream billed is not known.
            if self._settler.is_running(context.event_id):
                self._settler.end_unheard(call.cut_short(error, ended_at=self._settler.now()))
            raise

    async def _answer(
        self,
        call: RunningCall,
        route: Route,
        admitted: Admitted,
        attribution: Attribution,
        input_tokens: InputTokens,
        *,
        begun: float,
    ) -> PlainAnswer | MeteredStream:
        try:
            answered, admitted = await self._dispatch(call, route, admitted, attribution, input_tokens)
        except UnusableAnswer as error:
            return await self._settle_unusable(call, route, error)
        except BadRequest as error:  # No deployment's dialect can say what the caller asks.
            await self._settler.end(
                call.event(status="failure", ended_at=self._settler.now(), failure=Failure.of(error))
            )
            raise
        except UpstreamError as error:
            await self._settler.end(
                call.event(status="failure", ended_at=self._settler.now(), failure=Failure.of(error))
            )
            error.headers = self._answer_headers.of_route(call.deployment, route)
            raise
        whole_seconds = self._monotonic() - begun
        headers = [
            *self._answer_headers.of_route(call.deployment, route),
            *time_headers(whole_seconds=whole_seconds, upstream_seconds=call.upstream_seconds),
            *admitted.headers(),
        ]
        if call.cache is not None:
            headers += call.cache.headers(hit=False)
            if route.fallbacks:  # Another model's answer: the one that was asked for may be back soon.
                call.cache.forgo()
        if answered.answer.chunks is not None:
            return MeteredStream(
                call=call,
                answer=answered.answer,
                headers=headers,
                settler=self._settler,
                limits=self._stream_limits,
                take_over=self._take_over(call, answered.answer) if call.request.is_background else None,
            )
        return await self._settle_plain(call, answered, headers)

    def _take_over(self, call: RunningCall, answer: Answer) -> Callable[[str], bool] | None:
        """Return what watches a streamed response that goes on in the background when nobody reads it."""
        if not isinstance(answer.reading, ResponsesReading):
            return None
        return lambda upstream_id: self._background.take(call, upstream_id, self._settler)

    def _attribute(self, context: CallContext) -> Attribution:
        """Say whom the call belongs to. Raises BadRequest, and PermissionDenied for a customer who is blocked."""
        attribution = self._attributor.attribute(
            context.request,
            principal=context.principal,
            headers=context.headers,
            requester_ip=context.requester_ip,
        )
        require_customer(attribution, self._blocked_customers)
        return attribution

    def _continued(self, context: CallContext) -> str:
        """Return the id of the deployment that has the response which the call goes on from; '' when there is none.

        Raises BadRequest when it is not known, PermissionDenied when it belongs to somebody else.
        """
        request = context.request
        if not request.previous_response_id:
            return ""
        try:
            kept = self._response_ids.find(request.previous_response_id, context.principal)
        except NotFound as error:
            raise BadRequest(error.message, param="previous_response_id") from error
        request.upstream_previous_id = kept.upstream_id
        return kept.deployment_id

    async def _admit(
        self, context: CallContext, attribution: Attribution, route: Route, input_tokens: InputTokens
    ) -> Admitted:
        """Admit the call to its model group; where only deployments and their providers are full, to a fallback."""
        while True:
            try:
                return await self._admission.admit(context, attribution, route.deployments, input_tokens)
            except (RateLimited, BudgetExceeded) as error:
                if error.scope_type not in ("deployment", "provider") or not route.fall_back(FailureKind.RATE_LIMIT):
                    raise
                self._settler.count_fallback(FailureKind.RATE_LIMIT)

    async def _dispatch(
        self,
        call: RunningCall,
        route: Route,
        admitted: Admitted,
        attribution: Attribution,
        input_tokens: InputTokens,
    ) -> tuple[Answered, Admitted]:
        """Try one model group after the other. Raises the last UpstreamError, else Untranslatable."""
        failed: tuple[UpstreamError | Untranslatable, Deployment] | None = None
        while True:
            try:
                return await self._attempts.of_group(call, route, admitted), admitted
            except (UpstreamError, Untranslatable) as error:
                # What a fallback can't be asked says nothing of why the group before it failed.
                if failed is None or isinstance(error, UpstreamError):
                    failed = (error, call.deployment)
                kind = FailureKind.BAD_REQUEST if isinstance(error, Untranslatable) else kind_of_failure(error)
                following = await self._fall_back(call, route, admitted, attribution, input_tokens, kind)
                if following is None:
                    reason, call.deployment = failed
                    raise reason from None
                admitted = following

    async def _fall_back(
        self,
        call: RunningCall,
        route: Route,
        admitted: Admitted,
        attribution: Attribution,
        input_tokens: InputTokens,
        kind: FailureKind,
    ) -> Admitted | None:
        """Admit the call to the next model group that takes it; None when there is none."""
        stepped_back = False
        while route.fall_back(kind):
            if not stepped_back:  # First: what the call holds is not to stand in its own way.
                admitted.step_back()
                stepped_back = True
            try:
                following = await self._admission.admit(call.context, attribution, route.deployments, input_tokens)
            except (RateLimited, BudgetExceeded, BudgetUnknown, BadRequest):
                continue
            call.deployment = following.deployments[0]
            try:
                self._settler.readmit(call.intent, following)
            except LedgerUnavailable:
                break
            self._settler.count_fallback(kind)
            return following
        if stepped_back:
            await admitted.count_again()
        return None

    async def _settle_plain(self, call: RunningCall, answered: Answered, headers: Headers) -> PlainAnswer:
        """Meter a whole answer and put its event into the journal before it leaves.

        Raises UpstreamRefused where the answer is one.
        """
        answer, reading = answered
        assert reading is not None
        facts = reading.facts
        if _goes_on(answer, facts, call.request) and self._background.take(call, facts.response_id, self._settler):
            return PlainAnswer(
                status=answer.status, content_type=answer.content_type, body=reading.body, headers=headers
            )
        usage, usage_source = _usage_of(call, facts, answer)
        event = call.event(
            status="failure" if facts.error is not None else "success",
            ended_at=self._settler.now(),
            usage=usage,
            usage_source=usage_source,
            reported_cost_nano_usd=facts.reported_cost_nano_usd,
            provider_response_id=facts.response_id,
            failure=Failure.reported(facts.error) if facts.error is not None else NO_FAILURE,
        )
        await self._settler.end(event)
        if reading.refusal is not None:
            reading.refusal.headers = [*headers, *cost_header(event)]
            raise reading.refusal
        types = answer.reading.content_types
        content_type = answer.content_type if types is None else types.plain
        if call.cache is not None and event.status == "success":
            call.cache.add(reading.body)
            await call.cache.keep(
                call.deployment, status=answer.status, content_type=content_type, response_id=event.provider_response_id
            )
        return PlainAnswer(
            status=answer.status,
            content_type=content_type,
            body=reading.body,
            headers=[*headers, *cost_header(event)],
            event=event,
        )

    async def _settle_unusable(self, call: RunningCall, route: Route, error: UnusableAnswer) -> PlainAnswer:
        """Nothing better came than an answer that is none: the upstream has perhaps billed it.

        One that is in the dialect is passed on as it is; for one that is not, its UpstreamError is raised.
        """
        call.failed_attempts.pop()  # The event itself tells of the last one, with its usage.
        headers = self._answer_headers.of_route(call.deployment, route)
        if error.answered.reading is not None:
            return await self._settle_plain(call, error.answered, headers)
        reason = meant(error)
        await self._settler.end(
            call.event(
                status="failure",
                ended_at=self._settler.now(),
                usage=call.input_usage(),
                usage_source="estimated",
                failure=Failure.of(reason),
            )
        )
        reason.headers = headers
        raise reason


def require_customer(attribution: Attribution, blocked_customers: Container[str]) -> None:
    """Raise PermissionDenied for a customer who is blocked."""
    if attribution.end_user_id in blocked_customers:
        raise PermissionDenied(
            f"Customer '{attribution.end_user_id}' is blocked. An admin can unblock it with /customer/unblock."
        )


def _goes_on(answer: Answer, facts: AnswerFacts, request: CallRequest) -> bool:
    """Whether the upstream has only begun: what it counts is known later."""
    return (
        request.is_background
        and isinstance(answer.reading, ResponsesReading)
        and facts.usage is None
        and facts.error is None
        and bool(facts.response_id)
    )


def _usage_of(call: RunningCall, facts: AnswerFacts, answer: Answer) -> tuple[Usage, UsageSource]:
    """Return what is billed: what the provider counted, else an estimate; nothing where it bills nothing."""
    if call.request.endpoint in UNBILLED:
        return NO_USAGE, "none"
    if facts.usage is not None:
        return facts.usage, "provider"
    if call.request.endpoint == "moderations":  # Most providers give them for nothing; who charges, counts.
        return NO_USAGE, "none"
    return _estimated_usage(call, answer), "estimated"


def _estimated_usage(call: RunningCall, answer: Answer) -> Usage:
    """Bound the usage of an answer that does not tell it: embeddings have no output, others their whole body."""
    if call.request.endpoint in NOT_GENERATING:
        return call.input_usage()
    return msgspec.structs.replace(call.input_usage(), output_tokens=estimate_output_tokens(len(answer.body)))
