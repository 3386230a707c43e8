"""Admission: what has to hold before a call is dispatched, and what it holds while it runs.

In this order: the rate limits, then a hold on every budget at once. An admitted call holds both until its event is in
the journal; `Admitted` ends them exactly once, however the call ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from tallystick.access.call_limits import CallLimits
from tallystick.access.leasing.admission import NO_HOLD, Admission, Estimate, Hold
from tallystick.access.leasing.bounds import Bound
from tallystick.access.principal import Principal
from tallystick.access.rates.limiter import NO_RATES, RateLimiter
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.calls.attribution import Attribution
from tallystick.calls.call import CallContext
from tallystick.calls.estimate import FREE, CallEstimator, priced
from tallystick.control.deployment import Deployment
from tallystick.control.live_settings import LiveSettings
from tallystick.errors import BadRequest, BudgetExceeded, BudgetUnknown, RateLimited
from tallystick.ledger.budget_scopes import scopes_of
from tallystick.ledger.event import SpendEvent
from tallystick.pricing.money import format_usd
from tallystick.routing.tracker import AttemptNote
from tallystick.wire.token_estimate import InputTokens

Headers = list[tuple[bytes, bytes]]

_PROVIDER: Final = "provider"
_UNKNOWN: Final = Estimate(need_nano_usd=1, full_nano_usd=1)
"""Of a call whose price is unknown: something must be left of its budgets, for what it may turn out to cost."""


class Admitted:
    """What one running call holds. Ended once, by `settle` or by `cancel`; ending it again does nothing."""

    __slots__ = (
        "_admission",
        "_bounds",
        "_context",
        "_deployment",
        "_deployment_rates",
        "_estimate",
        "_hold",
        "_provider_hold",
        "_rates",
        "_scoped",
        "_tokens_estimate",
        "attempt",
        "deployments",
    )

    def __init__(
        self, admission: CallAdmission, context: CallContext, deployments: Sequence[Deployment], *, tokens_estimate: int
    ) -> None:
        self.deployments = deployments
        """Those that may be tried, in their order; what the first one needs is held already."""
        self._admission = admission
        self._context = context
        self._deployment = deployments[0]
        self._bounds: Sequence[Bound] = ()
        self._hold = self._provider_hold = NO_HOLD
        self._estimate = FREE
        self._rates = self._deployment_rates = NO_RATES
        self._scoped: Sequence[ScopedLimits] = ()
        self._tokens_estimate = tokens_estimate
        self.attempt: AttemptNote | None = None
        """The attempt that was made last; it is over with the call."""

    @property
    def current(self) -> Deployment:
        """The deployment whose room is held."""
        return self._deployment

    async def take_rates(self, scoped: Sequence[ScopedLimits]) -> None:
        """Take room in the rates of the call, and of the first deployment that has some. Raises RateLimited."""
        rates, context = self._admission.rates, self._context
        self._scoped = scoped
        await self._take_callers_rates()
        for position, deployment in enumerate(self.deployments):
            try:
                self._deployment_rates = await rates.admit_deployment(
                    deployment, tokens_estimate=self._tokens_estimate, call_id=context.event_id
                )
            except RateLimited:
                if position == len(self.deployments) - 1:
                    raise
                continue
            self.deployments, self._deployment = self.deployments[position:], deployment
            return

    async def take_callers_rates(self, scoped: Sequence[ScopedLimits]) -> None:
        """Take room in the rates of the call, and of no deployment. Raises RateLimited."""
        self._scoped = scoped
        await self._take_callers_rates()

    async def _take_callers_rates(self) -> None:
        self._rates = await self._admission.rates.admit(
            self._scoped,
            model_group=self.deployments[0].model_group,
            tokens_estimate=self._tokens_estimate,
            call_id=self._context.event_id,
            caller=_caller(self._context),
        )

    async def take_budgets(self, scoped: Sequence[ScopedLimits], estimate: Callable[[], Estimate | None]) -> None:
        """Take a hold on every budget of the call and of its deployment's provider; without any, nothing is estimated.

        Raises BudgetExceeded and BudgetUnknown; where only a provider has no room, the next one is taken.
        """
        moment = self._context.started_at
        budgets = self._admission.budgets
        self._bounds = bounds = budgets.bounds.of_limits(
            scoped, model_group=self.deployments[0].model_group, moment=moment
        )
        if not bounds and not self._admission.has_provider_budgets:
            return
        estimated = estimate() or _UNKNOWN
        if not estimated.full_nano_usd:
            return
        self._estimate = estimated
        while True:
            of_provider = self._admission.bounds_of_provider(self._deployment.target.provider, moment)
            if not bounds and not of_provider:
                return
            both = [*bounds, *of_provider] if of_provider else bounds
            try:
                hold = await budgets.admit(both, estimated, caller=_caller(self._context))
            except BudgetExceeded as error:
                if error.scope_type != _PROVIDER or not await self._leave_provider():
                    raise
                continue
            self._hold, self._provider_hold = hold.split(len(bounds))
            return

    async def _leave_provider(self) -> bool:
        """Go on to the first deployment of another provider; False when there is none."""
        rates, full = self._admission.rates, self._deployment.target.provider
        self.deployments = [each for each in self.deployments if each.target.provider != full]
        for position, deployment in enumerate(self.deployments):
            try:
                held = await rates.admit_deployment(
                    deployment, tokens_estimate=self._tokens_estimate, call_id=self._context.event_id
                )
            except RateLimited:
                continue
            rates.cancel(self._deployment_rates)
            self.deployments = self.deployments[position:]
            self._deployment, self._deployment_rates = deployment, held
            return True
        return False

    async def may_try(self, deployment: Deployment, *, again: bool = False) -> bool:
        """Whether a deployment may be tried: another one needs room in its own rates and its provider's budget.

        One that was tried before needs room for one more request.
        """
        if deployment is self._deployment:
            return not again or await self._take_again()
        try:
            await self._move_to(deployment)
        except (BudgetExceeded, BudgetUnknown, RateLimited):
            return False
        return True

    async def _take_again(self) -> bool:
        rates = self._admission.rates
        rates.settle(self._deployment_rates, tokens=0)
        self._deployment_rates = NO_RATES
        try:
            self._deployment_rates = await rates.admit_deployment(
                self._deployment, tokens_estimate=self._tokens_estimate, call_id=self._context.event_id
            )
        except RateLimited:
            return False
        return True

    def step_back(self) -> None:
        """Give back what is held, as the call goes on to another model group; what deployments were asked stays."""
        self._admission.rates.settle(self._deployment_rates, tokens=0)
        self.cancel()

    async def count_again(self) -> None:
        """The call, which has stepped back, ends here after all: it was one request, if there is still room for it."""
        try:
            await self._take_callers_rates()
        except RateLimited:
            return  # Others have taken it: the window is full as it should be.

    async def _move_to(self, deployment: Deployment) -> None:
        """Hold what another deployment needs in place of what the one before needed, which was tried."""
        admission = self._admission
        rates = await admission.rates.admit_deployment(
            deployment, tokens_estimate=self._tokens_estimate, call_id=self._context.event_id
        )
        provider = deployment.target.provider
        if provider != self._deployment.target.provider:
            try:
                hold = await admission.hold_of_provider(provider, self._estimate, moment=self._context.started_at)
            except BaseException:
                admission.rates.cancel(rates)
                raise
            admission.budgets.cancel(self._provider_hold)
            self._provider_hold = hold
        admission.rates.settle(self._deployment_rates, tokens=0)
        self._deployment, self._deployment_rates = deployment, rates

    def settle(self, event: SpendEvent, seq: int | None) -> None:
        """The call is over and its event has a number; None when the event was lost."""
        budgets = self._admission.budgets
        budgets.settle(
            self._hold,
            scopes_of(event),
            model_group=event.model_group,
            started_at=event.started_at,
            seq=seq,
            cost_nano_usd=event.cost_nano_usd,
        )
        budgets.cancel(self._provider_hold)
        tokens = (event.usage.input_tokens or 0) + (event.usage.output_tokens or 0)
        self._admission.rates.settle(self._rates, tokens=tokens)
        self._admission.rates.settle(self._deployment_rates, tokens=tokens)
        if self.attempt is not None:
            self.attempt.over(
                tokens=tokens, output_tokens=event.usage.output_tokens or 0, broke_off=event.status == "failure"
            )
        self._admission.estimator.note(self._context.request, event)

    def end_without_event(self) -> None:
        """What was asked is done, and is no event by itself: its request counts, and nothing is held any more."""
        self._admission.budgets.cancel(self._hold)
        self._admission.budgets.cancel(self._provider_hold)
        self._admission.rates.settle(self._rates, tokens=0)
        self._admission.rates.settle(self._deployment_rates, tokens=0)

    def cancel(self) -> None:
        """The call was not dispatched, or not with this."""
        self._admission.budgets.cancel(self._hold)
        self._admission.budgets.cancel(self._provider_hold)
        self._admission.rates.cancel(self._rates)
        self._admission.rates.cancel(self._deployment_rates)

    def headers(self) -> Headers:
        """Tell the caller what is left of its rates, and what its key has spent, as far as this instance knows."""
        return [*self._admission.rates.headers(self._rates), *self._budget_headers()]

    def _budget_headers(self) -> Headers:
        for bound in self._bounds:
            scope = bound.account.window.scope
            if scope.type == "key" and not scope.model:
                correction = bound.budget.correction_of(bound.account.window)
                return [
                    (b"x-litellm-key-spend", _usd(bound.account.known_spend + correction)),
                    (b"x-litellm-key-max-budget", _usd(bound.limit + correction)),
                ]
        return []


class CallAdmission:
    """Admits calls. One per process."""

    def __init__(
        self,
        *,
        limits: CallLimits,
        rates: RateLimiter,
        budgets: Admission,
        estimator: CallEstimator,
        live: Callable[[], LiveSettings],
        has_provider_budgets: bool,
    ) -> None:
        self.rates = rates
        self.budgets = budgets
        self.estimator = estimator
        self._limits = limits
        self._live = live
        self.has_provider_budgets = has_provider_budgets

    async def admit(
        self,
        context: CallContext,
        attribution: Attribution,
        deployments: Sequence[Deployment],
        input_tokens: InputTokens,
    ) -> Admitted:
        """Return what the call holds. Raises RateLimited, BudgetExceeded, BudgetUnknown, and BadRequest for a price
        that is unknown where that is refused.
        """
        if self._live().denies_unknown_prices:
            deployments = priced(deployments)
            if not deployments:
                raise _unknown_price(context)
        scoped = await self._scoped(context.principal, attribution)
        tokens = self.estimator.tokens(context.request, deployments, input_tokens)
        admitted = Admitted(self, context, deployments, tokens_estimate=tokens)
        try:
            await admitted.take_rates(scoped)
            await admitted.take_budgets(
                scoped, lambda: self.estimator.estimate(context.request, deployments, input_tokens)
            )
        except BaseException:
            admitted.cancel()
            raise
        return admitted

    async def admit_replay(
        self, context: CallContext, attribution: Attribution, deployments: Sequence[Deployment]
    ) -> Admitted:
        """Admit a call whose answer is kept already: one request, no tokens, no budget. Raises RateLimited."""
        scoped = await self._scoped(context.principal, attribution)
        admitted = Admitted(self, context, deployments, tokens_estimate=0)
        await admitted.take_callers_rates(scoped)
        return admitted

    def observe(self, context: CallContext, deployment: Deployment) -> Admitted:
        """Return what a call holds that is sent by somebody else, whom nothing holds back: nothing."""
        return Admitted(self, context, (deployment,), tokens_estimate=0)

    async def admit_job(
        self, context: CallContext, attribution: Attribution, deployment: Deployment, estimate: Estimate | None
    ) -> Admitted:
        """Admit a batch of calls that an upstream works off later: one request, and room for all of its cost.

        Raises RateLimited, BudgetExceeded, BudgetUnknown, and BadRequest for a price that is unknown where that is
        refused. `estimate` is None where it is unknown.
        """
        if estimate is None and self._live().denies_unknown_prices:
            raise _unknown_price(context)
        scoped = await self._scoped(context.principal, attribution)
        admitted = Admitted(self, context, [deployment], tokens_estimate=0)
        try:
            await admitted.take_callers_rates(scoped)
            await admitted.take_budgets(scoped, lambda: estimate)
        except BaseException:
            admitted.cancel()
            raise
        return admitted

    async def hold_of_provider(self, provider: str, estimate: Estimate, *, moment: datetime) -> Hold:
        """Return a hold on a provider's budget. Raises BudgetExceeded, BudgetUnknown."""
        bounds = self.bounds_of_provider(provider, moment)
        if not bounds or not estimate.full_nano_usd:
            return NO_HOLD
        return await self.budgets.admit(bounds, estimate, caller=provider)

    def bounds_of_provider(self, provider: str, moment: datetime) -> Sequence[Bound]:
        """Return the budgets of a provider, () where none has one."""
        if not self.has_provider_budgets:
            return ()
        return self.budgets.bounds.of_budgets(self._limits.of_provider(provider), moment=moment)

    async def _scoped(self, principal: Principal, attribution: Attribution) -> Sequence[ScopedLimits]:
        known = self._limits.known(
            principal,
            user_id=attribution.user_id,
            end_user_id=attribution.end_user_id,
            tags=attribution.tags,
            session_id=attribution.session_id,
        )
        if known is not None:
            return known
        return await self._limits.find(
            principal,
            user_id=attribution.user_id,
            end_user_id=attribution.end_user_id,
            tags=attribution.tags,
            session_id=attribution.session_id,
        )


def _caller(context: CallContext) -> str:
    """What refusals call the key."""
    return context.principal.key_alias or context.principal.key_hash


def _unknown_price(context: CallContext) -> BadRequest:
    return BadRequest(
        f"The price of the model '{context.request.model[:256]}' is unknown, and calls without a price are refused "
        "here: an admin can give it one (input_cost_per_token, output_cost_per_token).",
        param="model",
    )


def _usd(nano_usd: int) -> bytes:
    return format_usd(nano_usd, decimals_min=1).replace("$", "").replace(",", "").encode()
