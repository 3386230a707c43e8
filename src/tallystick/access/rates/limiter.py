"""The rate limiter: admits calls by their quotas, all or nothing, and counts afterwards what they really used.

try_admit   at once: nothing limits the call, or this instance counts for itself.
admit       asks the store that instances share, and counts here while that is away.
settle      the call is over; `cancel` when it was not made after all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallystick.access.rates.answers import rate_headers, rate_limited
from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.quota import Quota, amounts_of, quotas_of, quotas_of_rates
from tallystick.access.rates.shared import RateStatus, SharedRates
from tallystick.access.rates.store import TakeReply
from tallystick.access.scoped_limits import RateLimits, ScopedLimits
from tallystick.access.scopes import Scope
from tallystick.control.deployment import Deployment
from tallystick.runtime.telemetry import Metrics

Headers = list[tuple[bytes, bytes]]

_PLANS_MAX: Final = 20_000
_NO_REPLY: Final = TakeReply(True, 0, (), ())


class RateHold:
    """What one running call has taken. Ended once, by `settle` or `cancel`; ending it again does nothing."""

    __slots__ = ("amounts", "call_id", "counted_by", "quotas", "reply")

    def __init__(
        self,
        quotas: tuple[Quota, ...],
        amounts: tuple[int, ...],
        call_id: str,
        reply: TakeReply,
        counted_by: MemoryRates | SharedRates | None,
    ) -> None:
        self.quotas = quotas
        self.amounts = amounts
        self.call_id = call_id
        self.reply = reply
        self.counted_by = counted_by
        """None when it is ended."""


NO_RATES: Final = RateHold((), (), "", _NO_REPLY, None)
"""Of a call that nothing limits."""


class RateLimiter:
    """Admits calls by their rates. One per process; for one event loop."""

    def __init__(
        self,
        *,
        memory: MemoryRates,
        shared: SharedRates | None,
        global_rates: RateLimits | None = None,
        metrics: Metrics,
    ) -> None:
        """`global_rates` bound all calls together; without `shared`, this process counts for itself."""
        self._memory = memory
        self._shared = shared
        self._always = () if global_rates is None else (ScopedLimits(scope=Scope("global"), rates=global_rates),)
        self._limited = metrics.rate_limited
        self._plans: OrderedDict[tuple[str | int, ...], tuple[object, tuple[Quota, ...]]] = OrderedDict()

    def try_admit(
        self,
        scoped: Sequence[ScopedLimits],
        *,
        model_group: str,
        tokens_estimate: int,
        call_id: str,
        caller: str = "",
    ) -> RateHold | None:
        """Admit a call when that needs no wait. None: `admit` it. Raises RateLimited.

        `caller` is what a refusal calls the key.
        """
        for each in scoped:
            if each.rates is not None or each.model_rates:
                break
        else:
            if not self._always:
                return NO_RATES
        quotas = self._quotas(scoped, model_group)
        if not quotas:
            return NO_RATES
        if self._shared is not None and self._shared.is_shared:
            return None
        return self._take_here(quotas, amounts_of(quotas, tokens_estimate), call_id, caller)

    async def admit(
        self,
        scoped: Sequence[ScopedLimits],
        *,
        model_group: str,
        tokens_estimate: int,
        call_id: str,
        caller: str = "",
    ) -> RateHold:
        """Admit a call. Raises RateLimited, which names the quota that has no room for longest."""
        hold = self.try_admit(
            scoped, model_group=model_group, tokens_estimate=tokens_estimate, call_id=call_id, caller=caller
        )
        if hold is not None:
            return hold
        quotas = self._quotas(scoped, model_group)
        return await self._take(quotas, amounts_of(quotas, tokens_estimate), call_id, caller)

    async def admit_deployment(self, deployment: Deployment, *, tokens_estimate: int, call_id: str) -> RateHold:
        """Let a call try a deployment. Raises RateLimited when the deployment is full; another one may not be."""
        if deployment.rates is None:
            return NO_RATES
        quotas = self._quotas_of_deployment(deployment)
        return await self._take(quotas, amounts_of(quotas, tokens_estimate), call_id, "")

    def settle(self, hold: RateHold, *, tokens: int) -> None:
        """End a hold with what the call used. Its requests stay counted, whether it succeeded or not."""
        self._end(hold, tokens=tokens, requests_stay=True)

    def cancel(self, hold: RateHold) -> None:
        """End a hold of a call that was not made: all of it goes back."""
        self._end(hold, tokens=0, requests_stay=False)

    def headers(self, hold: RateHold) -> Headers:
        """Return `x-ratelimit-…` of the quota with the least left: one of requests, one of tokens."""
        return rate_headers(hold.quotas, hold.reply) if hold.quotas else []

    def status(self) -> RateStatus:
        """Tell how limits are counted, for health pages."""
        if self._shared is None:
            return RateStatus(counted="per_instance", reason="no Redis is given")
        return self._shared.status()

    async def _take(self, quotas: tuple[Quota, ...], amounts: tuple[int, ...], call_id: str, caller: str) -> RateHold:
        if self._shared is not None:
            reply = await self._shared.take(quotas, amounts, call_id)
            if reply is not None:
                return self._held(quotas, amounts, call_id, caller, reply, self._shared)
        return self._take_here(quotas, amounts, call_id, caller)

    def _take_here(self, quotas: tuple[Quota, ...], amounts: tuple[int, ...], call_id: str, caller: str) -> RateHold:
        reply = self._memory.take(quotas, amounts)
        return self._held(quotas, amounts, call_id, caller, reply, self._memory)

    def _held(
        self,
        quotas: tuple[Quota, ...],
        amounts: tuple[int, ...],
        call_id: str,
        caller: str,
        reply: TakeReply,
        counted_by: MemoryRates | SharedRates,
    ) -> RateHold:
        if reply.granted:
            return RateHold(quotas, amounts, call_id, reply, counted_by)
        quota, error = rate_limited(quotas, amounts, reply, caller=caller)
        error.scope_type = quota.scope.type
        self._limited.labels(quota.scope.type, quota.kind).inc()
        raise error

    def _end(self, hold: RateHold, *, tokens: int, requests_stay: bool) -> None:
        counted_by, hold.counted_by = hold.counted_by, None
        if counted_by is None:
            return
        for quota, amount in zip(hold.quotas, hold.amounts, strict=True):
            if quota.kind == "parallel":
                counted_by.release(quota, hold.call_id)
            elif quota.kind == "tokens":
                if tokens != amount:
                    counted_by.correct(quota, tokens - amount, hold.reply.at_ms)
            elif not requests_stay:
                counted_by.correct(quota, -amount, hold.reply.at_ms)

    def _quotas(self, scoped: Sequence[ScopedLimits], model_group: str) -> tuple[Quota, ...]:
        """Return the quotas of a call; limits are the same objects for call after call."""
        bounding = [
            each for each in scoped if each.rates is not None or (each.model_rates and model_group in each.model_rates)
        ]
        key: tuple[str | int, ...] = (model_group, *map(id, bounding))
        known = self._plans.get(key)
        if known is not None:
            return known[1]
        return self._plan(key, bounding, quotas_of((*bounding, *self._always), model_group))

    def _quotas_of_deployment(self, deployment: Deployment) -> tuple[Quota, ...]:
        rates = deployment.rates
        assert rates is not None
        key: tuple[str | int, ...] = (deployment.deployment_id, id(rates))
        known = self._plans.get(key)
        if known is not None:
            return known[1]
        limits = RateLimits(
            requests_per_minute=rates.requests_per_minute,
            tokens_per_minute=rates.tokens_per_minute,
            parallel_requests=rates.parallel_requests,
        )
        quotas = tuple(quotas_of_rates(Scope("deployment", deployment.deployment_id), limits))
        return self._plan(key, rates, quotas)

    def _plan(self, key: tuple[str | int, ...], source: object, quotas: tuple[Quota, ...]) -> tuple[Quota, ...]:
        """Keep quotas for the next call. The source is kept too, so that no other object gets its id."""
        if len(self._plans) >= _PLANS_MAX:
            self._plans.popitem(last=False)
        self._plans[key] = (source, quotas)
        return quotas
