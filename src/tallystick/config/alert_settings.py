"""Settings of who is told when a budget fills up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tallystick.config.places import Given
from tallystick.config.record import Frozen


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL such as https://hooks.example.org/budgets")
    return text


URL = Annotated[str, AfterValidator(_url)]


class AlertSettings(Frozen):
    """Alerts."""

    alerting: Annotated[
        tuple[str, ...],
        Given(
            name="alerting",
            description="Who is told when a budget passes one of `budget_alert_levels` or its soft limit: `webhook` "
            "and `slack`. Others of LiteLLM's (`email`) are named in a warning.",
            in_environment=False,
        ),
    ] = ()
    webhook_url: Annotated[
        URL | None,
        Field(repr=False),
        Given(
            name="alert_webhook_url",
            description="For `webhook`: the URL to which alerts are sent as JSON.",
            environment=("WEBHOOK_URL",),
            refers=True,
        ),
    ] = None
    slack_webhook_url: Annotated[
        URL | None,
        Field(repr=False),
        Given(
            name="slack_webhook_url",
            description="For `slack`: the URL of a Slack webhook, or of one that takes the same messages.",
            environment=("SLACK_WEBHOOK_URL", "ALERTING_WEBHOOK_URL"),
            refers=True,
        ),
    ] = None
    urls_by_type: Annotated[
        Mapping[str, URL | tuple[URL, ...]],
        Field(repr=False),
        Given(
            name="alert_to_webhook_url",
            description="For `slack`: other URLs by type of alert. `budget_alerts` is the type that there is.",
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    types: Annotated[
        tuple[str, ...] | None,
        Given(
            name="alert_types",
            description="Types of alerts that are sent. Without `budget_alerts` in it, none is. None: all.",
            in_environment=False,
        ),
    ] = None
    levels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100)], ...],
        Field(max_length=20),
        Given(
            name="budget_alert_levels",
            description="Per cent of a budget at which an alert is sent, each once in a window.",
            in_environment=False,
        ),
    ] = (50, 80, 95, 100)
