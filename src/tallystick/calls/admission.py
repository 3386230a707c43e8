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
from tallystick.access.leasing.keeper import NO_LIMIT, Bound
from tallystick.access.principal import Principal
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.calls.attribution import Attribution
from tallystick.calls.call import CallContext
from tallystick.calls.estimate import CallEstimator
from tallystick.control.deployment import Deployment
from tallystick.control.live_settings import LiveSettings
from tallystick.errors import BadRequest, BudgetExceeded
from tallystick.ledger.budget_scopes import scopes_of
from tallystick.ledger.event import SpendEvent
from tallystick.pricing.money import format_usd
from tallystick.wire.openai_request import OpenAIRequest
from tallystick.wire.token_estimate import InputTokens

Headers = list[tuple[bytes, bytes]]

_PROVIDER: Final = "provider"


class Admitted:
    """What one running call holds. Ended once, by `settle` or by `cancel`; ending it again does nothing."""

    __slots__ = ("_admission", "_bounds", "_hold", "_provider", "_provider_hold", "deployments", "request")

    def __init__(
        self,
        admission: CallAdmission,
        *,
        request: OpenAIRequest,
        deployments: Sequence[Deployment],
        bounds: Sequence[Bound] = (),
        hold: Hold = NO_HOLD,
        provider_hold: Hold = NO_HOLD,
    ) -> None:
        self.request = request
        self.deployments = deployments
        """Those that may be tried, in their order; the hold is for the first one's provider."""
        self._admission = admission
        self._bounds = bounds
        self._hold = hold
        self._provider = deployments[0].target.provider
        self._provider_hold = provider_hold

    async def may_try(self, deployment: Deployment, moment: datetime) -> bool:
        """Whether a deployment may be tried: another provider needs a hold on its own budget."""
        provider = deployment.target.provider
        if provider == self._provider:
            return True
        hold = await self._admission.hold_of_provider(provider, nano_usd=self._hold.nano_usd, moment=moment)
        if hold is None:
            return False
        self._admission.budgets.cancel(self._provider_hold)
        self._provider, self._provider_hold = provider, hold
        return True

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
        self._admission.estimator.note(self.request, event)

    def cancel(self) -> None:
        """The call was not dispatched."""
        self._admission.budgets.cancel(self._hold)
        self._admission.budgets.cancel(self._provider_hold)

    def headers(self) -> Headers:
        """Tell the caller what its key has spent, as far as this instance knows, and of what."""
        for bound in self._bounds:
            scope = bound.account.window.scope
            if scope.type == "key" and not scope.model and bound.limit != NO_LIMIT:
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
        budgets: Admission,
        estimator: CallEstimator,
        live: Callable[[], LiveSettings],
        has_provider_budgets: bool,
    ) -> None:
        self.budgets = budgets
        self.estimator = estimator
        self._limits = limits
        self._live = live
        self._has_provider_budgets = has_provider_budgets

    async def admit(
        self,
        context: CallContext,
        attribution: Attribution,
        deployments: Sequence[Deployment],
        input_tokens: InputTokens,
    ) -> Admitted:
        """Return what the call holds. Raises BudgetExceeded, BudgetUnknown, RateLimited, and BadRequest for a price
        that is unknown where that is refused.
        """
        scoped = await self._scoped(context.principal, attribution)
        estimate = self.estimator.estimate(context.request, deployments, input_tokens)
        bounds = self.budgets.bounds_of(scoped, model_group=deployments[0].model_group, moment=context.started_at)
        if estimate is None:
            self._check_unknown_price(context)
        if estimate is None or not estimate.full_nano_usd:
            return Admitted(self, request=context.request, deployments=deployments, bounds=bounds)
        caller = context.principal.key_alias or context.principal.key_hash
        if self._has_provider_budgets:
            return await self._admit_by_provider(context, deployments, bounds, estimate, caller=caller)
        hold = NO_HOLD
        if bounds:
            hold = self.budgets.try_admit(bounds, estimate) or await self.budgets.admit(bounds, estimate, caller=caller)
        return Admitted(self, request=context.request, deployments=deployments, bounds=bounds, hold=hold)

    async def hold_of_provider(self, provider: str, *, nano_usd: int, moment: datetime) -> Hold | None:
        """Return a hold on a provider's budget; None when it has no room."""
        bounds = self.budgets.bounds_of_budgets(self._limits.of_provider(provider), moment=moment)
        if not bounds or not nano_usd:
            return NO_HOLD
        estimate = Estimate(need_nano_usd=nano_usd, full_nano_usd=nano_usd)
        try:
            return await self.budgets.admit(bounds, estimate, caller=provider)
        except BudgetExceeded:
            return None

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

    async def _admit_by_provider(
        self,
        context: CallContext,
        deployments: Sequence[Deployment],
        bounds: Sequence[Bound],
        estimate: Estimate,
        *,
        caller: str,
    ) -> Admitted:
        """Hold the call's own budgets and that of the first provider which has room. Raises BudgetExceeded."""
        denial: BudgetExceeded | None = None
        full: set[str] = set()
        for deployment in deployments:
            provider = deployment.target.provider
            if provider in full:
                continue
            of_provider = self.budgets.bounds_of_budgets(self._limits.of_provider(provider), moment=context.started_at)
            both = [*bounds, *of_provider]
            try:
                hold = await self.budgets.admit(both, estimate, caller=caller) if both else NO_HOLD
            except BudgetExceeded as error:
                if error.scope_type != _PROVIDER:
                    raise
                denial = denial or error
                full.add(provider)
                continue
            first, rest = hold.split(len(bounds))
            return Admitted(
                self,
                request=context.request,
                deployments=[each for each in deployments if each.target.provider not in full],
                bounds=bounds,
                hold=first,
                provider_hold=rest,
            )
        assert denial is not None
        raise denial

    def _check_unknown_price(self, context: CallContext) -> None:
        if self._live().denies_unknown_prices:
            raise BadRequest(
                f"The price of the model '{context.request.model[:256]}' is unknown, and calls without a price are "
                "refused here: an admin can give it one (input_cost_per_token, output_cost_per_token).",
                param="model",
            )


def _usd(nano_usd: int) -> bytes:
    return format_usd(nano_usd, decimals_min=1).replace("$", "").replace(",", "").encode()
