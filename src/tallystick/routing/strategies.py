"""The strategies: pure functions from what is known of some deployments to the order in which a call tries them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from tallystick.config.routing_settings import Strategy
from tallystick.control.deployment import Deployment


class Standing(NamedTuple):
    """What is known of one deployment when a call is routed."""

    deployment: Deployment
    running: int = 0
    """Calls that run on it now, of this instance."""
    requests: int = 0
    """Of this minute, of all instances."""
    tokens: int = 0
    """Of this minute, of all instances."""
    latency_seconds: float = 0.0
    """On the average of late: of a token, or until the first byte of a stream. 0 when nothing is known."""


class Asked(NamedTuple):
    """What a strategy may know of the call."""

    draw: Callable[[], float]
    """Returns random numbers in [0, 1)."""
    input_tokens: int = 0
    latency_buffer: float = 0.0


def order_deployments(strategy: Strategy, standings: Sequence[Standing], asked: Asked) -> list[Deployment]:
    """Return all deployments in the order in which they are to be tried.

    Those with a lower `order` come first, whatever the strategy says; those that are full this minute come last.
    """
    ordered = [standing.deployment for standing in _STRATEGIES[strategy](standings, asked)]
    if any(deployment.order is not None for deployment in ordered):
        ordered.sort(key=_order)
    return ordered


def _order(deployment: Deployment) -> float:
    return math.inf if deployment.order is None else deployment.order


def _simple_shuffle(standings: Sequence[Standing], asked: Asked) -> list[Standing]:
    """Heavier ones tend to come first: weighted sampling without replacement, by exponential keys."""
    weights = _weights([standing.deployment for standing in standings])
    keyed = [
        (-math.log(1 - asked.draw()) / weight if weight > 0 else math.inf, place)
        for place, weight in enumerate(weights)
    ]
    return [standings[place] for _, place in sorted(keyed)]


def _weights(deployments: Sequence[Deployment]) -> Sequence[float]:
    """Return the weights, where any is given; else the rates, where all have one; else all alike."""
    if any(each.weight is not None for each in deployments):
        return [1 if each.weight is None else each.weight for each in deployments]
    rates = [each.rates for each in deployments]
    requests = [None if each is None else each.requests_per_minute for each in rates]
    tokens = [None if each is None else each.tokens_per_minute for each in rates]
    for given in (requests, tokens):
        known = [each for each in given if each is not None]
        if len(known) == len(deployments) and any(known):
            return known
    return [1] * len(deployments)


def _least_busy(standings: Sequence[Standing], asked: Asked) -> list[Standing]:
    return sorted(standings, key=lambda each: (each.running, asked.draw()))


def _lowest_usage(standings: Sequence[Standing], asked: Asked) -> list[Standing]:
    return sorted(standings, key=lambda each: (_is_full(each, asked), each.tokens, each.requests, asked.draw()))


def _lowest_latency(standings: Sequence[Standing], asked: Asked) -> list[Standing]:
    """Those within the buffer of the fastest are as good as it. One of which nothing is known is tried first."""
    free = [each.latency_seconds for each in standings if not _is_full(each, asked)]
    good_enough = min(free, default=0.0) * (1 + asked.latency_buffer)
    return sorted(
        standings, key=lambda each: (_is_full(each, asked), max(each.latency_seconds, good_enough), asked.draw())
    )


def _lowest_cost(standings: Sequence[Standing], asked: Asked) -> list[Standing]:
    return sorted(standings, key=lambda each: (_is_full(each, asked), _price(each.deployment), asked.draw()))


def _is_full(standing: Standing, asked: Asked) -> bool:
    """Whether one more call would pass a limit of the deployment's own."""
    rates = standing.deployment.rates
    if rates is None:
        return False
    requests, tokens = rates.requests_per_minute, rates.tokens_per_minute
    return (requests is not None and standing.requests >= requests) or (
        tokens is not None and standing.tokens + asked.input_tokens > tokens
    )


def _price(deployment: Deployment) -> float:
    """Return the price of a token in and a token out; one that is unknown is the dearest."""
    sheet = deployment.price
    if sheet is None or not sheet.rates:
        return math.inf
    return sum(sheet.rates[unit].nano_usd_per_million for unit in ("input", "output") if unit in sheet.rates)


_STRATEGIES: Final[Mapping[Strategy, Callable[[Sequence[Standing], Asked], list[Standing]]]] = {
    "simple-shuffle": _simple_shuffle,
    "least-busy": _least_busy,
    "usage-based-routing": _lowest_usage,
    "usage-based-routing-v2": _lowest_usage,
    "latency-based-routing": _lowest_latency,
    "cost-based-routing": _lowest_cost,
}
