"""What an answer's headers tell of its way, by LiteLLM's names: deployment, tries, cost, and where the time went."""

from __future__ import annotations

from typing import Final

from tallystick.calls.admission import Headers
from tallystick.calls.route import Route
from tallystick.control.deployment import Deployment
from tallystick.ledger.event import SpendEvent
from tallystick.pricing.money import format_usd

_VALUE_CHARACTERS_MAX: Final = 256


def route_headers(deployment: Deployment, route: Route) -> Headers:
    """Return which deployment answered or was tried last, and how many tries and model groups came before."""
    return [
        (b"x-litellm-model-id", _text(deployment.deployment_id)),
        (b"x-litellm-model-group", _text(deployment.model_group)),
        (b"x-litellm-model-api-base", _text(deployment.target.api_base)),
        (b"x-litellm-attempted-retries", b"%d" % route.retries),
        (b"x-litellm-attempted-fallbacks", b"%d" % route.fallbacks),
    ]


def time_headers(*, whole_seconds: float, upstream_seconds: float) -> Headers:
    """Return how long the call took, and how much of that was not the upstream's."""
    overhead = max(0.0, whole_seconds - upstream_seconds)
    return [
        (b"x-litellm-response-duration-ms", b"%.3f" % (whole_seconds * 1000)),
        (b"x-litellm-overhead-duration-ms", b"%.3f" % (overhead * 1000)),
    ]


def cost_header(event: SpendEvent) -> Headers:
    """Return what a whole answer cost. The cost of a stream is not known when its headers leave."""
    if event.cost_status == "unpriced":
        return []
    return [(b"x-litellm-response-cost", format_usd(event.cost_nano_usd).replace("$", "").replace(",", "").encode())]


def _text(text: str) -> bytes:
    """Return what a header can hold of a text."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text[:_VALUE_CHARACTERS_MAX].encode("latin-1", "replace")
