"""What an answer's headers tell of its way, by LiteLLM's names: deployment, tries, cost, and where the time went."""

from __future__ import annotations

from typing import Final

from tallystick.calls.admission import Headers
from tallystick.calls.caching.answer import CachedAnswer
from tallystick.calls.route import Route
from tallystick.control.deployment import Deployment
from tallystick.ledger.event import SpendEvent

_VALUE_CHARACTERS_MAX: Final = 256
_DEPLOYMENTS_MAX: Final = 4096
_NANO_USD_PER_USD: Final = 1_000_000_000


class AnswerHeaders:
    """Makes headers. One per process: what a deployment's calls have in common is made once."""

    def __init__(self) -> None:
        # By identity, with the deployment itself, so that it lives as long as its id is used here.
        self._made: dict[int, tuple[Deployment, Headers]] = {}

    def of_route(self, deployment: Deployment, route: Route) -> Headers:
        """Return which deployment answered or was tried last, and how many tries and model groups came before."""
        known = self._made.get(id(deployment))
        made = known[1] if known is not None else self._make(deployment)
        if not route.retries and not route.fallbacks:
            return made
        return [
            *made[:3],
            (b"x-litellm-attempted-retries", b"%d" % route.retries),
            (b"x-litellm-attempted-fallbacks", b"%d" % route.fallbacks),
        ]

    def _make(self, deployment: Deployment) -> Headers:
        if len(self._made) >= _DEPLOYMENTS_MAX:
            self._made.clear()  # Of old snapshots; those in use come back at their next call.
        made = deployment_headers(deployment)
        self._made[id(deployment)] = (deployment, made)
        return made


def replay_headers(answer: CachedAnswer, *, model_group: str) -> Headers:
    """Return which deployment made an answer that was kept; nothing is tried for it."""
    return [
        (b"x-litellm-model-id", _text(answer.deployment_id)),
        (b"x-litellm-model-group", _text(model_group)),
        (b"x-litellm-model-api-base", _text(answer.api_base)),
        (b"x-litellm-attempted-retries", b"0"),
        (b"x-litellm-attempted-fallbacks", b"0"),
    ]


def deployment_headers(deployment: Deployment) -> Headers:
    """Return which deployment answered a call that tried no other."""
    return [
        (b"x-litellm-model-id", _text(deployment.deployment_id)),
        (b"x-litellm-model-group", _text(deployment.model_group)),
        (b"x-litellm-model-api-base", _text(deployment.target.api_base)),
        (b"x-litellm-attempted-retries", b"0"),
        (b"x-litellm-attempted-fallbacks", b"0"),
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
    return [(b"x-litellm-response-cost", b"%d.%09d" % divmod(event.cost_nano_usd, _NANO_USD_PER_USD))]


def _text(text: str) -> bytes:
    """Return what a header can hold of a text."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text[:_VALUE_CHARACTERS_MAX].encode("latin-1", "replace")
