"""Tells when a budget fills up: once for each window and level, over all instances and restarts.

The instance that claims a level in the store (`claim_alert`) sends the alert. Which levels a window has passed is told
by their ranks, in which the soft limit stands between the levels in per cent: who claims a rank claims all below it, so
a budget that jumps from 40 to 97 % is told of once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from tallystick.access.alert_receivers import AlertReceiver
from tallystick.access.budget_alert import AlertEvent, BudgetAlert, ScopeNames
from tallystick.access.budget_store import BudgetStore
from tallystick.access.scope_names import ScopeDirectory
from tallystick.access.scopes import Budget, Window
from tallystick.errors import StoreError, UpstreamError
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

LEVELS: Final = (50, 80, 95, 100)
_TICK_SECONDS: Final = 0.5
_NOTED_MAX: Final = 10_000
_TOLD_MAX: Final = 50_000
_DELIVERIES_MAX: Final = 10_000
_AT_ONCE: Final = 8
_TRIES_MAX: Final = 10
"""With the waits between them, an alert is tried for eight and a half minutes."""
_BACKOFF_MIN_SECONDS: Final = 1.0
_LAST_TRY_SECONDS: Final = 3.0
_WHOLE: Final = 10_000
"""A whole limit, in the units in which shares are compared."""
_USED_UP_PERCENT: Final = 90
"""A budget that refuses calls is used up from here on; below, it may be the call that is too large."""
_SOFT_SHARE_MAX: Final = 3 * _WHOLE // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A level that was passed. Levels in per cent have even ranks, soft limits odd ones."""

    rank: int
    event: AlertEvent
    percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noted:
    """A window that passed a level which this instance has not told yet."""

    budget: Budget
    marks: tuple[_Mark, ...]
    spent_nano_usd: int
    limit_nano_usd: int | None

    @property
    def rank(self) -> int:
        return self.marks[-1].rank


@dataclass(slots=True, kw_only=True)
class _Delivery:
    """An alert on its way to one receiver."""

    receiver: AlertReceiver
    body: bytes
    alert: BudgetAlert
    due: float
    tries: int = 0


class BudgetAlerts:
    """A service. `note` is for whoever learns what stands in a window; it never waits. Without receivers it is idle."""

    name = "budget_alerts"

    def __init__(
        self,
        *,
        store: BudgetStore,
        directory: ScopeDirectory,
        receivers: Sequence[AlertReceiver],
        levels: Sequence[int] = LEVELS,
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._store = store
        self._directory = directory
        self._receivers = tuple(receivers)
        self._levels = tuple(sorted(levels))
        self._clock = clock
        self._outcomes = metrics.budget_alerts
        self._jitter = jitter
        self._noted: dict[Window, _Noted] = {}
        self._told: dict[Window, int] = {}
        self._deliveries: list[_Delivery] = []
        self._loop = SupervisedLoop(self.name, self._run, clock=clock, metrics=metrics)

    def note(self, window: Window, budget: Budget, spent_nano_usd: int, *, refused: bool = False) -> None:
        """Take note of what is spent in a budget's window: events and what was carried, without corrections.

        `refused` says that a call found no room: what is left then is too little for a call, and is as good as spent.
        """
        if not self._receivers or not budget.alerts:
            return
        noted = self._noted_of(window, budget, spent_nano_usd, refused=refused)
        if noted is None or noted.rank <= self._told.get(window, 0):
            return
        held = self._noted.get(window)
        if held is None and len(self._noted) >= _NOTED_MAX:
            self._outcomes.labels("dropped").inc()  # What is learned of the window next notes it again.
        elif held is None or noted.rank >= held.rank:
            self._noted[window] = noted

    async def start(self) -> None:
        if self._receivers:
            await self._loop.start()

    async def stop(self) -> None:
        """End, with a last try of what is on its way: its levels are claimed, so nobody else will tell."""
        await self._loop.stop()
        try:
            async with asyncio.timeout(_LAST_TRY_SECONDS):
                left = tuple(self._deliveries)
                for start in range(0, len(left), _AT_ONCE):
                    await self._try_all(left[start : start + _AT_ONCE])
        except TimeoutError:
            log.warning("budget_alerts_unsent", count=len(self._deliveries))
        for lost in self._deliveries:
            self._give_up(lost, "the process ends")
        self._deliveries.clear()

    def health(self) -> ServiceHealth:
        """`Reporting`."""
        if not self._receivers:
            return ServiceHealth(name=self.name, state="finished")
        return self._loop.health()

    def _noted_of(self, window: Window, budget: Budget, spent_nano_usd: int, *, refused: bool) -> _Noted | None:
        spent = spent_nano_usd + budget.correction_of(window)
        limit = budget.limit_at(self._clock.now())
        marks = []
        reached = spent * 100 // limit if limit else 0
        if refused and reached >= _USED_UP_PERCENT:
            reached = max(reached, 100)
        percent = next((each for each in reversed(self._levels) if reached >= each), 0)
        if percent:
            event: AlertEvent = "budget_crossed" if percent >= 100 else "threshold_crossed"
            marks.append(_Mark(rank=percent * 2 * _WHOLE // 100, event=event, percent=percent))
        soft = budget.soft_limit_nano_usd
        if soft is not None and spent > 0 and spent >= soft:
            share = min(soft * _WHOLE // limit, _SOFT_SHARE_MAX) if limit else 0
            marks.append(_Mark(rank=2 * share + 1, event="soft_budget_crossed"))
        if not marks:
            return None
        return _Noted(
            budget=budget,
            marks=tuple(sorted(marks, key=lambda mark: mark.rank)),
            spent_nano_usd=spent,
            limit_nano_usd=limit,
        )

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            await self._claim_noted()
            await self._deliver_due()

    async def _claim_noted(self) -> None:
        """Claim what was noted. What can't be claimed now, because the store is away, stays noted."""
        for window, noted in tuple(self._noted.items()):
            try:
                for mark in noted.marks:
                    if mark.rank > self._told.get(window, 0):
                        is_ours = await self._store.claim_alert(window, level=mark.rank)
                        self._told[window] = mark.rank
                        if is_ours:
                            await self._enqueue(window, noted, mark)
            except StoreError as error:
                log.warning("budget_alerts_wait", reason=str(error))
                return
            if self._noted.get(window) is noted:
                del self._noted[window]
        self._forget_told()

    async def _enqueue(self, window: Window, noted: _Noted, mark: _Mark) -> None:
        alert = BudgetAlert(
            window=window,
            rank=mark.rank,
            event=mark.event,
            percent=mark.percent,
            spent_nano_usd=noted.spent_nano_usd,
            limit_nano_usd=noted.limit_nano_usd,
            soft_limit_nano_usd=noted.budget.soft_limit_nano_usd,
            names=await self._names(window, noted.budget),
        )
        log.info("budget_alert", alert_event=alert.event, percent=alert.percent, scope=window.scope.type)
        for receiver in self._receivers:
            delivery = _Delivery(
                receiver=receiver, body=receiver.body_of(alert), alert=alert, due=self._clock.monotonic()
            )
            if len(self._deliveries) < _DELIVERIES_MAX:
                self._deliveries.append(delivery)
            else:
                self._give_up(delivery, "too many are on their way")

    async def _names(self, window: Window, budget: Budget) -> ScopeNames:
        try:
            return await self._directory.names_of(window.scope, budget.entity_ids)
        except StoreError:
            return ScopeNames()

    async def _deliver_due(self) -> None:
        now = self._clock.monotonic()
        await self._try_all([each for each in self._deliveries if each.due <= now][:_AT_ONCE])

    async def _try_all(self, deliveries: Sequence[_Delivery]) -> None:
        async with asyncio.TaskGroup() as tries:
            for each in deliveries:
                tries.create_task(self._try(each))

    async def _try(self, delivery: _Delivery) -> None:
        try:
            await delivery.receiver.send(delivery.body)
        except UpstreamError as error:
            delivery.tries += 1
            if delivery.tries >= _TRIES_MAX:
                self._deliveries.remove(delivery)
                self._give_up(delivery, str(error))
                return
            wait = _BACKOFF_MIN_SECONDS * 2 ** (delivery.tries - 1)
            delivery.due = self._clock.monotonic() + self._jitter(wait / 2, wait)
            self._outcomes.labels("retried").inc()
        else:
            self._deliveries.remove(delivery)
            self._outcomes.labels("sent").inc()

    def _give_up(self, delivery: _Delivery, reason: str) -> None:
        self._outcomes.labels("failed").inc()
        log.error(
            "budget_alert_failed",
            receiver=delivery.receiver.name,
            alert_event=delivery.alert.event,
            scope=delivery.alert.window.scope.type,
            tries=delivery.tries,
            reason=reason,
        )

    def _forget_told(self) -> None:
        """Forget windows that ended; beyond the limit the oldest too: the store knows what was told."""
        if len(self._told) <= _TOLD_MAX:
            return
        now = self._clock.now()
        self._told = {window: rank for window, rank in self._told.items() if window.ends_at > now}
        while len(self._told) > _TOLD_MAX // 2:
            del self._told[next(iter(self._told))]
