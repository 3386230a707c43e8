"""The deployments of a model group that a call may try, in order: tags, context window, cooldowns, strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tallystick.config.routing_settings import RoutingSettings
from tallystick.control.deployment import Deployment
from tallystick.routing.failure import FailureKind
from tallystick.routing.strategies import Asked, Standing, order_deployments
from tallystick.routing.tracker import Tracker

_DEFAULT_TAG: Final = "default"


class Wanted(NamedTuple):
    """What the choice may know of a call."""

    tags: Sequence[str] = ()
    input_tokens: int = 0
    stream: bool = False
    deployment_id: str = ""
    """The only one that can serve it: it has the response that the call goes on from."""


class Choice(NamedTuple):
    """What a group offers to a call. Where it offers nothing, `kind` is what to fall back by."""

    deployments: Sequence[Deployment]
    kind: FailureKind | None = None
    reason: str = ""
    is_cooling: bool = False
    """All of them are cooling down: another group does better, if there is one."""


def choose(
    group: str,
    deployments: Sequence[Deployment],
    wanted: Wanted,
    settings: RoutingSettings,
    *,
    tracker: Tracker,
    draw: Callable[[], float],
) -> Choice:
    """Return what a call may try of a group's deployments, which are at least one."""
    if wanted.deployment_id:
        deployments = [each for each in deployments if each.deployment_id == wanted.deployment_id]
        if not deployments:
            reason = f"'previous_response_id': the response was not made by '{group}': ask the model that made it."
            return Choice((), FailureKind.BAD_REQUEST, reason)
    if settings.enable_tag_filtering:
        deployments = tagged(deployments, wanted.tags, match_any=settings.tag_filtering_match_any)
        if not deployments:
            tags = ", ".join(wanted.tags) or "none"
            reason = f"No deployment of '{group}' has the tags of this call ({tags}), and none is tagged 'default'."
            return Choice((), FailureKind.BAD_REQUEST, reason)
    if settings.enable_pre_call_checks:
        fitting = [each for each in deployments if _fits(each, wanted.input_tokens)]
        if not fitting:
            largest = max(each.input_tokens_max or 0 for each in deployments)
            reason = (
                f"The input has about {wanted.input_tokens} tokens; the context window of '{group}' has {largest} "
                "(context_length_exceeded)."
            )
            return Choice((), FailureKind.CONTEXT_WINDOW, reason)
        deployments = fitting if len(fitting) < len(deployments) else deployments
    if len(deployments) == 1:
        return Choice(deployments, is_cooling=not tracker.available(deployments))
    available = tracker.available(deployments)
    if not available:
        # Better one that may fail again than none.
        return Choice(tracker.soonest_back(deployments), is_cooling=True)
    if len(available) == 1:
        return Choice(available)
    return Choice(_ordered(available, wanted, settings, tracker=tracker, draw=draw))


def tagged(deployments: Sequence[Deployment], tags: Sequence[str], *, match_any: bool) -> Sequence[Deployment]:
    """Return the deployments for calls with these tags: those that match, else those tagged `default`.

    A call without tags goes to those tagged `default`, or to all where none is.
    """
    asked = set(tags)
    if asked:
        matching = [
            each for each in deployments if (asked & set(each.tags) if match_any else asked.issubset(each.tags))
        ]
        if matching:
            return matching
    defaults = [each for each in deployments if _DEFAULT_TAG in each.tags]
    return defaults or (() if asked else deployments)


def _fits(deployment: Deployment, input_tokens: int) -> bool:
    return deployment.input_tokens_max is None or input_tokens <= deployment.input_tokens_max


def _ordered(
    deployments: Sequence[Deployment],
    wanted: Wanted,
    settings: RoutingSettings,
    *,
    tracker: Tracker,
    draw: Callable[[], float],
) -> Sequence[Deployment]:
    strategy, arguments = settings.strategy, settings.strategy_arguments
    if strategy == "simple-shuffle":  # Which needs nothing that is counted.
        standings: Sequence[Standing] = [Standing(each) for each in deployments]
    else:
        tracker.arguments = arguments
        standings = tracker.standings(deployments, stream=wanted.stream)
    asked = Asked(draw, wanted.input_tokens, arguments.lowest_latency_buffer)
    return order_deployments(strategy, standings, asked)
