"""Admission of a call by its budgets: a hold on every one of them at once, or none.

try_admit   from what is leased: no wait, no database. The usual way.
admit       leases what lacks; waits a moment for what others hold; says why not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from tallystick.access.leasing.account import Account
from tallystick.access.leasing.accounts import ScopeKey
from tallystick.access.leasing.denials import denial_of
from tallystick.access.leasing.keeper import NO_LIMIT, Bound, LeaseKeeper
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.access.scopes import LIFETIME_END, Budget, Window
from tallystick.access.windows import WindowRule
from tallystick.errors import BudgetExceeded, BudgetUnknown, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

_RESOLVED_MAX: Final = 200_000
_DENIED_SECONDS: Final = 1.0
_ASK_PAUSE_MIN_SECONDS: Final = 0.02
_ASK_PAUSE_MAX_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 1.0
_MOMENT: Final = timedelta(microseconds=1)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may cost: `full` where there is plenty, `need` at least where there is not.

    They differ for a call that sets no limit on its output: `full` is the model's limit then, and `need` what such
    calls have used of late.
    """

    need_nano_usd: int
    full_nano_usd: int
    takes_the_rest: bool = False
    """Nothing is known of such calls yet: with less left than `need`, the call may have all of it, and alone."""


class Hold:
    """What one running call has taken of each of its budgets. Ended once, by `settle` or `cancel`."""

    __slots__ = ("accounts", "nano_usd")

    def __init__(self, accounts: tuple[Account, ...], nano_usd: int) -> None:
        self.accounts = accounts
        self.nano_usd = nano_usd

    def split(self, position: int) -> tuple[Hold, Hold]:
        """Return two holds that together are this one, which is given up for them."""
        return Hold(self.accounts[:position], self.nano_usd), Hold(self.accounts[position:], self.nano_usd)


NO_HOLD: Final = Hold((), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """The settings of admission."""

    exceeded_status: int = 422
    wait_seconds: float = 2.0
    waiting_max: int = 1_000
    admits_unknown: bool = False
    """Whether calls are admitted without a hold when the database can't say what is left."""


class _Resolved(NamedTuple):
    """The accounts of some budgets for as long as their windows last."""

    source: object
    starts_at: datetime
    until: datetime
    bounds: tuple[Bound, ...]


class Admission:
    """Admits calls. For one event loop."""

    def __init__(
        self,
        *,
        keeper: LeaseKeeper,
        windows: WindowRule,
        limits: AdmissionLimits,
        on_denied: Callable[[Account], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._on_denied = on_denied
        self._keeper = keeper
        self._windows = windows
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._resolved: OrderedDict[tuple[int, str], _Resolved] = OrderedDict()
        self._waiting = 0

    def bounds_of(self, scoped: Sequence[ScopedLimits], *, model_group: str, moment: datetime) -> list[Bound]:
        """Return the budgets that bound a call of this model at this moment, with their accounts."""
        bounds: list[Bound] = []
        for each in scoped:
            if each.budgets:
                bounds += self._resolve(each, each.budgets, "", moment)
            if each.model_budgets and model_group in each.model_budgets:
                bounds += self._resolve(each, each.model_budgets[model_group], model_group, moment)
        return bounds

    def bounds_of_budgets(self, budgets: tuple[Budget, ...], *, moment: datetime) -> tuple[Bound, ...]:
        """Return budgets that stand for themselves, such as a provider's, with their accounts."""
        return self._resolve(budgets, budgets, "", moment) if budgets else ()

    def try_admit(self, bounds: Sequence[Bound], estimate: Estimate) -> Hold | None:
        """Take a hold from what is leased; None when that does not suffice."""
        now = self._clock.monotonic()
        full = estimate.full_nano_usd
        least = min(bound.account.free_at(now) for bound in bounds)
        if least < full:
            if least < estimate.need_nano_usd or least <= 0:
                return None
            full = least
        for bound in bounds:
            account = bound.account
            account.hold(full, now)
            if account.is_low(now):
                self._keeper.refill(bound)
        return Hold(tuple(bound.account for bound in bounds), full)

    async def admit(self, bounds: Sequence[Bound], estimate: Estimate, *, caller: str) -> Hold:
        """Take a hold. Raises BudgetExceeded, which names the first budget without room, and BudgetUnknown.

        Where the room is only leased by other instances or held by running calls, the call waits for it for some time.
        """
        hold = self.try_admit(bounds, estimate)
        if hold is not None:
            return hold
        begun = self._clock.monotonic()
        self._waiting += 1
        try:
            return await self._wait_for_room(bounds, estimate, caller=caller, deadline=begun + self._wait_seconds())
        finally:
            self._waiting -= 1
            self._metrics.budget_lease_wait_seconds.observe(self._clock.monotonic() - begun)

    def settle(
        self,
        hold: Hold,
        scopes: Iterable[ScopeKey],
        *,
        model_group: str,
        started_at: datetime,
        seq: int | None,
        cost_nano_usd: int,
    ) -> None:
        """End a hold with the event of its call. `seq` is None for an event that was lost."""
        if seq is not None and cost_nano_usd and len(self._keeper.accounts):
            self._keeper.accounts.settle(
                scopes,
                model_group=model_group,
                started_at=started_at,
                seq=seq,
                cost_nano_usd=cost_nano_usd,
                now=self._clock.monotonic(),
            )
        self.cancel(hold)

    def cancel(self, hold: Hold) -> None:
        """End a hold of a call that was not dispatched, or whose cost is counted."""
        for account in hold.accounts:
            account.release(hold.nano_usd)
        hold.accounts = ()

    # Inside

    async def _wait_for_room(
        self, bounds: Sequence[Bound], estimate: Estimate, *, caller: str, deadline: float
    ) -> Hold:
        pause = _ASK_PAUSE_MIN_SECONDS
        # Whoever may not wait for room still waits for the store to say whether there is any.
        answer_deadline = max(deadline, self._clock.monotonic() + _ANSWER_SECONDS)
        while True:
            estimate = self._shrunk(bounds, estimate)
            hold = self.try_admit(bounds, estimate)
            if hold is not None:
                return hold
            now = self._clock.monotonic()
            lacking = [bound for bound in bounds if bound.account.free_at(now) < max(estimate.need_nano_usd, 1)]
            self._deny_what_stays(lacking, estimate, caller=caller)
            if now < answer_deadline and self._keeper.can_ask(lacking, now):
                pause = await self._ask(lacking, estimate, pause=pause, deadline=answer_deadline)
            elif now < deadline or (now < answer_deadline and any(each.account.statements for each in lacking)):
                await self._next_change(lacking, _ASK_PAUSE_MAX_SECONDS)
            else:
                return self._give_up(lacking, caller=caller)

    async def _ask(self, lacking: Sequence[Bound], estimate: Estimate, *, pause: float, deadline: float) -> float:
        """Lease what lacks; return for how long nobody asks again when there was no room."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                granted = await self._keeper.ask(lacking, need=estimate.need_nano_usd, full=estimate.full_nano_usd)
        except (StoreUnavailable, TimeoutError):
            return pause
        if granted:
            return _ASK_PAUSE_MIN_SECONDS
        now = self._clock.monotonic()
        for bound in lacking:
            if self._room_of(bound) < estimate.need_nano_usd:
                bound.account.ask_after = now + pause
        return min(2 * pause, _ASK_PAUSE_MAX_SECONDS)

    def _shrunk(self, bounds: Sequence[Bound], estimate: Estimate) -> Estimate:
        """Let a call of which nothing is known take all that is left, where that is less than it might need."""
        if not estimate.takes_the_rest:
            return estimate
        rest = min(bound.limit - bound.account.known_spend for bound in bounds)
        if not 0 < rest < estimate.need_nano_usd:
            return estimate
        return Estimate(need_nano_usd=rest, full_nano_usd=rest, takes_the_rest=True)

    def _deny_what_stays(self, lacking: Sequence[Bound], estimate: Estimate, *, caller: str) -> None:
        """Raise BudgetExceeded when a budget has no room even if all that is leased and held came back."""
        for bound in lacking:
            account = bound.account
            if not account.is_known:
                continue
            if bound.limit - account.known_spend < max(estimate.need_nano_usd, 1):
                raise self._exceeded(bound, caller=caller)

    def _give_up(self, lacking: Sequence[Bound], *, caller: str) -> Hold:
        """End the wait: say what has no room, or that it can't be told."""
        for bound in lacking:
            if bound.account.is_known and not self._keeper.is_store_away:
                raise self._exceeded(bound, caller=caller)
        if self._limits.admits_unknown:
            self._metrics.budget_unchecked_calls.inc()
            return NO_HOLD
        raise BudgetUnknown(
            "The database is away, and what this instance had leased of a budget is used up. Try again."
        )

    def _exceeded(self, bound: Bound, *, caller: str) -> BudgetExceeded:
        scope_type = bound.account.window.scope.type
        self._metrics.budget_denials.labels(scope_type).inc()
        self._on_denied(bound.account)
        return BudgetExceeded(
            denial_of(bound, caller=caller), scope_type=scope_type, status=self._limits.exceeded_status
        )

    def _wait_seconds(self) -> float:
        return self._limits.wait_seconds if self._waiting <= self._limits.waiting_max else 0.0

    def _room_of(self, bound: Bound) -> int:
        account = bound.account
        return bound.limit - account.spent - account.carried - account.leased

    async def _next_change(self, bounds: Sequence[Bound], seconds: float) -> None:
        """Wait until one of the accounts has changed, at most so long."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for bound in bounds:
            bound.account.waiters.add(woken)
        try:
            async with asyncio.timeout(seconds):
                await woken
        except TimeoutError:
            return
        finally:
            for bound in bounds:
                bound.account.waiters.discard(woken)

    def _resolve(self, source: object, budgets: Sequence[Budget], model: str, moment: datetime) -> tuple[Bound, ...]:
        key = (id(source), model)
        found = self._resolved.get(key)
        if (
            found is not None
            and found.source is source
            and found.starts_at <= moment < found.until
            and not any(bound.account.is_closed for bound in found.bounds)
        ):
            return found.bounds
        resolved = self._resolve_anew(source, budgets, moment)
        self._resolved.pop(key, None)
        self._resolved[key] = resolved
        if len(self._resolved) > _RESOLVED_MAX:
            self._resolved.popitem(last=False)
        return resolved.bounds

    def _resolve_anew(self, source: object, budgets: Sequence[Budget], moment: datetime) -> _Resolved:
        by_window: dict[Window, Bound] = {}
        starts_at, until = datetime.min.replace(tzinfo=moment.tzinfo), LIFETIME_END
        for budget in budgets:
            window = self._windows.window_of(budget.scope, budget.duration, moment)
            starts_at, until = max(starts_at, window.starts_at), min(until, window.ends_at)
            if budget.increase_until is not None and budget.increase_until > moment:
                until = min(until, budget.increase_until)
            bound = self._bound_of(budget, window, moment)
            least = by_window.get(window)
            if least is None or bound.limit < least.limit:
                by_window[window] = bound
                bound.account.budget = budget
        return _Resolved(source, starts_at, until, tuple(by_window[window] for window in sorted(by_window)))

    def _bound_of(self, budget: Budget, window: Window, moment: datetime) -> Bound:
        previous = self._windows.previous(window, budget.duration) if budget.rolls_over else None
        return Bound(
            account=self._keeper.open(window, budget.entity_ids),
            limit=_limit_in(budget, window, moment),
            budget=budget,
            previous=previous,
            previous_limit=None if previous is None else _limit_in(budget, previous, previous.ends_at - _MOMENT),
        )


def _limit_in(budget: Budget, window: Window, moment: datetime) -> int:
    """Return the limit in force at a moment of a window, what was corrected in it taken off."""
    limit = budget.limit_at(moment)
    return NO_LIMIT if limit is None else limit - budget.correction_of(window)
