"""Where alerts go: the webhook of one's own, in LiteLLM's shape, and Slack's."""

from __future__ import annotations

from typing import Final, Protocol

from tallystick.access.budget_alert import BudgetAlert
from tallystick.errors import UpstreamRefused
from tallystick.providers.destination import Destination
from tallystick.providers.transport import Transport

_TIMEOUT_SECONDS: Final = 10.0


class AlertReceiver(Protocol):
    """One place to which alerts are sent."""

    @property
    def name(self) -> str:
        """As the logs call it: no address, which may hold a secret."""

    def body_of(self, alert: BudgetAlert) -> bytes:
        """Return the alert in the receiver's format."""

    async def send(self, body: bytes) -> None:
        """Deliver it once. Raises UpstreamError when it was not taken, or nobody knows whether it was."""


class Webhook:
    """A URL that takes JSON by POST. Anything but 2xx means that it was not taken; redirects are not followed."""

    name = "webhook"

    def __init__(self, url: str, transport: Transport) -> None:
        """Raises UpstreamUnreachable for a URL that is none."""
        self._destination = Destination(url, {})
        self._transport = transport

    def body_of(self, alert: BudgetAlert) -> bytes:
        return alert.webhook_body()

    async def send(self, body: bytes) -> None:
        answer = await self._transport.send("POST", self._destination, body, timeout_seconds=_TIMEOUT_SECONDS)
        if not 200 <= answer.status < 300:
            raise UpstreamRefused(status=answer.status, body=b"", content_type="")


class SlackWebhook:
    """The same with a message for people."""

    name = "slack"

    def __init__(self, url: str, transport: Transport) -> None:
        """Raises UpstreamUnreachable for a URL that is none."""
        self._webhook = Webhook(url, transport)

    def body_of(self, alert: BudgetAlert) -> bytes:
        return alert.slack_body()

    async def send(self, body: bytes) -> None:
        await self._webhook.send(body)
