"""Admission of a call by its budgets: a hold on every one of them at once, or none.

try_admit   from what is leased: no wait, no database. The usual way.
admit       leases what lacks; waits a moment for what others hold; says why not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from tallystick.access.leasing.account import Account
from tallystick.access.leasing.accounts import ScopeKey
from tallystick.access.leasing.bounds import Bound, Bounds
from tallystick.access.leasing.denials import denial_of
from tallystick.access.leasing.keeper import LeaseKeeper
from tallystick.access.windows import WindowRule
from tallystick.errors import BudgetExceeded, BudgetUnknown, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

_ASK_PAUSE_MIN_SECONDS: Final = 0.02
_ASK_PAUSE_MAX_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 1.0
_LOOK_SECONDS_MIN: Final = 0.25
_LOOK_SECONDS_MAX: Final = 2.0
_LOOKING_AT_ONCE: Final = 64
_BUDGET_SHARE: Final = 4
"""A fourth of the calls that may wait may do so for one budget."""


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
        self.bounds = Bounds(keeper, windows)
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._waiting = 0

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
        wait_seconds = self._wait_seconds(bounds)
        self._waiting += 1
        try:
            return await self._wait_for_room(bounds, estimate, caller=caller, begun=begun, wait_seconds=wait_seconds)
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
        now = self._clock.monotonic() if hold.accounts else 0.0
        for account in hold.accounts:
            account.release(hold.nano_usd, now)
        hold.accounts = ()

    # Inside

    async def _wait_for_room(
        self, bounds: Sequence[Bound], estimate: Estimate, *, caller: str, begun: float, wait_seconds: float
    ) -> Hold:
        pause = _ASK_PAUSE_MIN_SECONDS
        # Whoever may not wait for room still waits for the store to say whether there is any.
        deadline, answer_deadline = begun + wait_seconds, begun + max(wait_seconds, _ANSWER_SECONDS)
        while True:
            bounds = self.bounds.reopened(bounds)
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
                await self._next_change(lacking, estimate)
            else:
                return self._give_up(lacking, caller=caller, since=begun - _ANSWER_SECONDS)

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
        # What calls cost beyond their holds is lacking on top of the need. Somebody always pauses: no call may ask on
        # and on.
        short = [bound for bound in lacking if _room_of(bound) < estimate.need_nano_usd - bound.account.free_at(now)]
        for bound in short or lacking:
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

    def _give_up(self, lacking: Sequence[Bound], *, caller: str, since: float) -> Hold:
        """End the wait: say what has no room, or that it can't be told because the store has not answered since."""
        for bound in lacking:
            if bound.account.answered_at >= since and not self._keeper.is_store_away:
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

    def _wait_seconds(self, bounds: Sequence[Bound]) -> float:
        """Return how long a call may wait. Those of one budget may be a part of all that wait, so that others can."""
        waiting_max = self._limits.waiting_max
        most = max((len(bound.account.waiters) for bound in bounds), default=0)
        if self._waiting >= waiting_max or most >= max(1, waiting_max // _BUDGET_SHARE):
            return 0.0
        return self._limits.wait_seconds

    async def _next_change(self, bounds: Sequence[Bound], estimate: Estimate) -> None:
        """Wait for a turn at one of the accounts. Also look again by oneself now and then, the rarer the more do so."""
        seconds = min(_LOOK_SECONDS_MAX, _LOOK_SECONDS_MIN * max(1.0, self._waiting / _LOOKING_AT_ONCE))
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for bound in bounds:
            bound.account.waiters[woken] = estimate.need_nano_usd
        try:
            async with asyncio.timeout(seconds):
                await woken
        except TimeoutError:
            return
        finally:
            for bound in bounds:
                bound.account.waiters.pop(woken, None)


def _room_of(bound: Bound) -> int:
    """Return what may be leased, by what the store has said."""
    account = bound.account
    return bound.limit - account.spent - account.carried - account.leased
