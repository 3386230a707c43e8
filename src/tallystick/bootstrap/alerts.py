"""Alerts of budgets, as the settings want them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog

from tallystick.access.alert_receivers import AlertReceiver, SlackWebhook, Webhook
from tallystick.access.budget_alerts import BudgetAlerts
from tallystick.access.budget_store import BudgetStore
from tallystick.access.scope_names import ScopeDirectory
from tallystick.config.alert_settings import AlertSettings
from tallystick.control.store import ControlStore
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

_TYPE: Final = "budget_alerts"


def build_budget_alerts(
    settings: AlertSettings,
    *,
    store: BudgetStore,
    control: ControlStore,
    transport: Transport,
    clock: Clock,
    metrics: Metrics,
) -> BudgetAlerts:
    """Return the service. It has no receivers, and does nothing, where the settings name none."""
    return BudgetAlerts(
        store=store,
        directory=ScopeDirectory(control),
        receivers=tuple(_receivers(settings, transport)),
        levels=settings.levels,
        clock=clock,
        metrics=metrics,
    )


def _receivers(settings: AlertSettings, transport: Transport) -> Iterator[AlertReceiver]:
    if settings.types is not None and _TYPE not in settings.types:
        return
    for name in dict.fromkeys(settings.alerting):
        match name:
            case "webhook" if settings.webhook_url:
                yield Webhook(settings.webhook_url, transport)
            case "slack" if urls := _slack_urls(settings):
                for url in urls:
                    yield SlackWebhook(url, transport)
            case "webhook" | "slack":
                variable = "WEBHOOK_URL" if name == "webhook" else "SLACK_WEBHOOK_URL"
                _warn(f"general_settings.alerting: {name!r} needs {variable}; nothing is sent there")
            case _:
                _warn(f"general_settings.alerting: {name[:40]!r} is not supported; webhook and slack are")


def _slack_urls(settings: AlertSettings) -> tuple[str, ...]:
    named = settings.urls_by_type.get(_TYPE)
    if named is None:
        return (settings.slack_webhook_url,) if settings.slack_webhook_url else ()
    return (named,) if isinstance(named, str) else named


def _warn(text: str) -> None:
    log.warning("setting_not_in_force", setting=text)
