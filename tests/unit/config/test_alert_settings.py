"""Who is told of budgets, from the file and the environment."""

from __future__ import annotations

import pytest

from models_kit import settings_of
from tallystick.errors import ConfigError


def test_litellms_names(tmp_path):
    alerts = settings_of(
        tmp_path,
        "general_settings: {alerting: [webhook, slack], alert_types: [budget_alerts], "
        "alert_to_webhook_url: {budget_alerts: [https://a.example, https://b.example], llm_too_slow: https://c.example},"
        " budget_alert_levels: [75, 90]}",
    ).alerts
    assert alerts.alerting == ("webhook", "slack")
    assert alerts.levels == (75, 90)
    assert alerts.urls_by_type["budget_alerts"] == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "text",
    [
        "alert_webhook_url: ftp://a",
        "alert_webhook_url: no-url",
        "budget_alert_levels: [0]",
        "budget_alert_levels: [101]",
    ],
)
def test_wrong_values_name_the_setting_and_not_the_value(tmp_path, text):
    with pytest.raises(ConfigError, match=text.partition(":")[0]) as caught:
        settings_of(tmp_path, f"general_settings: {{{text}}}")
    assert "no-url" not in str(caught.value)


def test_urls_are_in_no_repr(tmp_path):
    settings = settings_of(tmp_path, "general_settings: {alert_webhook_url: https://hooks.example/secret-path}")
    assert "secret-path" not in repr(settings)
