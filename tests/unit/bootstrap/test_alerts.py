"""Who is told of budgets follows from the settings; what is not in force is said."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from models_kit import settings_of
from tallystick.bootstrap.alerts import build_budget_alerts
from tallystick.providers.transport import Transport
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryControlStore, MemoryStore

HOOK = "https://hooks.example/secret-path"


def receivers_of(tmp_path, text, **environ):
    """Return the names of the receivers, and what was warned of."""
    settings = settings_of(tmp_path, f"general_settings: {{{text}}}", environ)
    clock = FakeClock()
    with capture_logs() as logs:
        alerts = build_budget_alerts(
            settings.alerts,
            store=MemoryBudgetStore(store=MemoryStore(), clock=clock),
            control=MemoryControlStore(clock=clock),
            transport=Transport(),
            clock=clock,
            metrics=Metrics(),
        )
    assert HOOK not in str(logs)
    return [each.name for each in alerts._receivers], [each["setting"] for each in logs]


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {"WEBHOOK_URL": HOOK}, []),
        ("alerting: [webhook]", {"WEBHOOK_URL": HOOK}, ["webhook"]),
        ("alerting: [webhook, slack]", {"WEBHOOK_URL": HOOK, "SLACK_WEBHOOK_URL": HOOK}, ["webhook", "slack"]),
        ("alerting: [slack]", {"ALERTING_WEBHOOK_URL": HOOK}, ["slack"]),
        (f"alerting: [slack], alert_to_webhook_url: {{budget_alerts: ['{HOOK}', '{HOOK}2']}}", {}, ["slack", "slack"]),
        (f"alerting: [slack], alert_to_webhook_url: {{budget_alerts: '{HOOK}'}}", {}, ["slack"]),
        ("alerting: [webhook], alert_types: [llm_too_slow]", {"WEBHOOK_URL": HOOK}, []),
        ("alerting: [webhook], alert_types: [budget_alerts]", {"WEBHOOK_URL": HOOK}, ["webhook"]),
    ],
)
def test_receivers(tmp_path, text, environ, expected):
    assert receivers_of(tmp_path, text, **environ) == (expected, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerting: [webhook]", "needs WEBHOOK_URL"),
        ("alerting: [slack]", "needs SLACK_WEBHOOK_URL"),
        ("alerting: [email]", "'email' is not supported"),
    ],
)
def test_what_is_not_in_force_is_said(tmp_path, text, said):
    receivers, (warning,) = receivers_of(tmp_path, text)
    assert receivers == []
    assert said in warning
