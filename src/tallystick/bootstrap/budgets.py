"""Budgets, put together: the limits of calls, the leases of this instance, and the admission of calls by them."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.access.call_limits import CallLimits
from tallystick.access.leasing.account import Account
from tallystick.access.leasing.admission import Admission, AdmissionLimits
from tallystick.access.leasing.keeper import LeaseKeeper, LeaseLimits
from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.windows import WindowRule
from tallystick.bootstrap.stores import Store
from tallystick.calls.admission import CallAdmission
from tallystick.calls.estimate import CallEstimator
from tallystick.config.settings import BudgetSettings
from tallystick.control.deployment import Snapshot
from tallystick.ledger.service import LedgerService
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


def lease_keeper(
    settings: BudgetSettings,
    *,
    store: Store,
    ledger: LedgerService,
    on_state: Callable[[Account], None],
    clock: Clock,
    metrics: Metrics,
) -> LeaseKeeper:
    """Return what keeps the leases of this process."""
    return LeaseKeeper(
        store=store.budgets,
        numbers=lambda: ledger.journal,
        limits=LeaseLimits(
            lease_seconds=settings.lease_seconds,
            idle_seconds=settings.idle_seconds,
            share=settings.lease_share,
            keep_days=settings.windows_keep_days,
        ),
        on_state=on_state,
        clock=clock,
        metrics=metrics,
    )


def call_admission(
    settings: BudgetSettings,
    *,
    keeper: LeaseKeeper,
    limits: CallLimits,
    rates: RateLimiter,
    windows: WindowRule,
    snapshot: Callable[[], Snapshot],
    clock: Clock,
    metrics: Metrics,
) -> CallAdmission:
    """Return what admits calls."""
    budgets = Admission(
        keeper=keeper,
        windows=windows,
        limits=AdmissionLimits(
            exceeded_status=settings.exceeded_status_code,
            wait_seconds=settings.wait_seconds,
            waiting_max=settings.waiting_max,
            admits_unknown=settings.database_away == "allow",
        ),
        clock=clock,
        metrics=metrics,
    )
    return CallAdmission(
        limits=limits,
        rates=rates,
        budgets=budgets,
        estimator=CallEstimator(output_tokens_default=settings.output_tokens_default),
        live=lambda: snapshot().settings,
        has_provider_budgets=bool(settings.provider_budgets),
    )
