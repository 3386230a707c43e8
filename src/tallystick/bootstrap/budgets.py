"""Budgets, put together: the limits of calls, the leases of this process, its alerts, and the admission of calls."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.access.call_limits import CallLimits
from tallystick.access.leasing.account import Account
from tallystick.access.leasing.admission import Admission, AdmissionLimits
from tallystick.access.leasing.keeper import LeaseKeeper, LeaseLimits
from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.windows import WindowRule
from tallystick.bootstrap.alerts import build_budget_alerts
from tallystick.bootstrap.stores import Store
from tallystick.calls.admission import CallAdmission
from tallystick.calls.estimate import CallEstimator
from tallystick.config.settings import BudgetSettings, Settings
from tallystick.control.live_settings import LiveSettings
from tallystick.ledger.journal import Journal
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


class Budgets:
    """What one worker needs to hold its calls to their budgets."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        journal: Callable[[], Journal],
        live: Callable[[], LiveSettings],
        transport: Transport,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._settings = settings.budgets
        self._live = live
        self._clock = clock
        self._metrics = metrics
        self.windows = WindowRule(zone=settings.budgets.zone, day_starts=settings.budgets.reset_time)
        self.limits = CallLimits(
            store.control,
            settings=settings.budgets,
            live=live,
            clock=clock,
            metrics=metrics,
            cache_max=settings.server.key_cache_max,
        )
        self.leases = LeaseKeeper(
            store=store.budgets,
            numbers=journal,
            limits=_lease_limits(settings.budgets),
            on_state=self._note_state,
            clock=clock,
            metrics=metrics,
        )
        self.alerts = build_budget_alerts(
            settings.alerts,
            store=store.budgets,
            control=store.control,
            transport=transport,
            clock=clock,
            metrics=metrics,
        )

    def admission(self, *, rates: RateLimiter) -> CallAdmission:
        """Return what admits calls."""
        settings = self._settings
        return CallAdmission(
            limits=self.limits,
            rates=rates,
            budgets=Admission(
                keeper=self.leases,
                windows=self.windows,
                limits=_admission_limits(settings),
                on_denied=self._note_denial,
                clock=self._clock,
                metrics=self._metrics,
            ),
            estimator=CallEstimator(output_tokens_default=settings.output_tokens_default),
            live=self._live,
            has_provider_budgets=bool(settings.provider_budgets),
        )

    def _note_state(self, account: Account) -> None:
        if account.budget is not None:
            self.alerts.note(account.window, account.budget, account.known_spend)

    def _note_denial(self, account: Account) -> None:
        if account.budget is not None:
            self.alerts.note(account.window, account.budget, account.known_spend, refused=True)


def _lease_limits(settings: BudgetSettings) -> LeaseLimits:
    return LeaseLimits(
        lease_seconds=settings.lease_seconds,
        idle_seconds=settings.idle_seconds,
        share=settings.lease_share,
        keep_days=settings.windows_keep_days,
    )


def _admission_limits(settings: BudgetSettings) -> AdmissionLimits:
    return AdmissionLimits(
        exceeded_status=settings.exceeded_status_code,
        wait_seconds=settings.wait_seconds,
        waiting_max=settings.waiting_max,
        admits_unknown=settings.database_away == "allow",
    )
