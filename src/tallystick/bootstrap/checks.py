"""Health checks, put together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from tallystick.calls.admission import CallAdmission
from tallystick.calls.health.check import Checker
from tallystick.calls.health.checks import HealthChecks
from tallystick.calls.settle import Settler
from tallystick.config.settings import HealthSettings
from tallystick.control.snapshot import Snapshot
from tallystick.providers.base import Provider
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


def build_health_checks(
    settings: HealthSettings,
    *,
    providers: Mapping[str, Provider],
    settler: Settler,
    admission: CallAdmission,
    snapshot: Callable[[], Snapshot],
    clock: Clock,
    metrics: Metrics,
) -> HealthChecks:
    """Return what checks deployments; nothing is checked before somebody asks or the loop is started."""
    checker = Checker(
        providers=providers,
        settler=settler,
        admission=admission,
        timeout_seconds=settings.timeout_seconds,
        clock=clock,
        metrics=metrics,
    )
    return HealthChecks(
        checker,
        snapshot=snapshot,
        settler=settler,
        interval_seconds=settings.interval_seconds,
        clock=clock,
        metrics=metrics,
        draw=random.random,
    )
