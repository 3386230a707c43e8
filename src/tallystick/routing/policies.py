"""What the settings say of a failure: how often to try again, after which pause, and whether to leave the deployment
alone for a time. Pure arithmetic.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tallystick.config.routing_settings import RoutingSettings
from tallystick.control.deployment import Deployment
from tallystick.routing.failure import FailureKind

RETRY_AFTER_SECONDS_MAX: Final = 60.0
"""An upstream that asks to wait longer is not tried again by the same call."""
COOLDOWN_SECONDS_MAX: Final = 3600.0
"""However long an upstream asks to be left alone."""
_PAUSE_SECONDS_MIN: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 8.0
_JITTER: Final = 0.25
_FAILED_SHARE: Final = 0.5
_REQUESTS_MIN: Final = 5

_ANYWHERE: Final = frozenset(
    (
        FailureKind.TIMEOUT,
        FailureKind.RATE_LIMIT,
        FailureKind.INTERNAL,
        FailureKind.BAD_GATEWAY,
        FailureKind.UNAVAILABLE,
        FailureKind.CONNECTION,
    )
)
"""May pass: worth another try on the same deployment, too."""
_ELSEWHERE: Final = frozenset((FailureKind.AUTHENTICATION, FailureKind.PERMISSION, FailureKind.NOT_FOUND))
"""Wrong with the deployment: worth a try on another."""
_COOLED_AT_ONCE: Final = frozenset((FailureKind.RATE_LIMIT, FailureKind.AUTHENTICATION, FailureKind.NOT_FOUND))
_OF_THE_REQUEST: Final = frozenset(
    (FailureKind.BAD_REQUEST, FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY, FailureKind.PERMISSION)
)
"""Says nothing against the deployment, unless a policy speaks of it."""


class Minute(NamedTuple):
    """How the attempts on a deployment ended in the current minute, the last one included."""

    successes: int
    failures: int


def may_retry_here(kind: FailureKind, policy_retries: int | None) -> bool:
    """Whether the same deployment may be tried again."""
    return kind in _ANYWHERE or bool(policy_retries)


def may_retry_elsewhere(kind: FailureKind, policy_retries: int | None) -> bool:
    """Whether another deployment of the group may do better."""
    return kind in _ELSEWHERE or may_retry_here(kind, policy_retries)


def policy_retries(kind: FailureKind, settings: RoutingSettings, group: str) -> int | None:
    """Return how many retries the policy of the group, else the one of all groups, has for a kind of failure."""
    policy = settings.model_group_retry_policy.get(group, settings.retry_policy)
    if not policy:
        return None
    values = {str(name): retries for name, retries in policy.items()}
    found = values.get(f"{kind.policy_name}Retries")
    if found is None and kind is FailureKind.CONTEXT_WINDOW:  # One of bad requests, as in LiteLLM.
        found = values.get("BadRequestErrorRetries")
    return found


def pause_seconds(*, rounds: int, retry_after: float | None, least_seconds: float, draw: float) -> float | None:
    """Return how long to wait before the same deployment is tried again; None when that is too long.

    What the upstream asks for holds. Else the pause doubles, with jitter, from half a second to eight seconds.
    """
    if retry_after is not None:
        if retry_after > RETRY_AFTER_SECONDS_MAX:
            return None
        return max(retry_after, least_seconds)
    doubled = min(_PAUSE_SECONDS_MIN * 2.0**rounds, _PAUSE_SECONDS_MAX)
    return max(doubled * (1 - _JITTER * draw), least_seconds)


def allowed_fails(kind: FailureKind, settings: RoutingSettings) -> int | None:
    """Return how many failures of a kind are borne; None when no policy says it and LiteLLM's rules decide."""
    wanted = f"{kind.policy_name}AllowedFails"
    own = next((fails for name, fails in settings.allowed_fails_policy.items() if name == wanted), None)
    if own is not None or kind in _OF_THE_REQUEST:
        return own
    return settings.allowed_fails


def should_cool_down(
    kind: FailureKind, settings: RoutingSettings, *, minute: Minute, fails: int, has_others: bool, is_of_wildcard: bool
) -> bool:
    """Whether a deployment that has just failed is to be left alone.

    `fails` are its failures within the last cooldown time, this one included. The only deployment of a group never is:
    there would be nothing left.
    """
    if settings.disable_cooldowns or not has_others:
        return False
    allowed = allowed_fails(kind, settings)
    if allowed is not None:
        return fails > allowed
    if kind in _OF_THE_REQUEST:
        return False
    if kind in _COOLED_AT_ONCE:
        # A caller who asks a wildcard group for a model that does not exist must not take it from all others.
        return not (is_of_wildcard and kind is FailureKind.NOT_FOUND)
    requests = minute.successes + minute.failures
    return requests >= _REQUESTS_MIN and minute.failures > _FAILED_SHARE * requests


def cooldown_seconds(deployment: Deployment, settings: RoutingSettings, *, retry_after: float | None) -> float:
    """Return for how long: as the deployment says, else the upstream, else the settings."""
    if deployment.cooldown_seconds is not None:
        return deployment.cooldown_seconds
    if retry_after:
        return min(retry_after, COOLDOWN_SECONDS_MAX)
    return settings.cooldown_seconds
