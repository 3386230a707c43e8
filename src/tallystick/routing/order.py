"""The order in which a call tries the deployments of its model group: a weighted shuffle. Pure but for `draw`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick.control.deployment import Deployment


def order_deployments(
    deployments: Sequence[Deployment], *, attempts_max: int, draw: Callable[[], float]
) -> Sequence[Deployment]:
    """Return up to `attempts_max` different deployments; heavier ones tend to come first.

    `draw` returns random numbers in [0, 1). Each deployment gets the key u^(1/weight) and the largest come first
    (Efraimidis and Spirakis' weighted sampling without replacement); a weight of 0 comes last.
    """
    if len(deployments) == 1:
        return deployments
    keyed = [(draw() ** (1 / d.weight) if d.weight > 0 else draw() - 1, d) for d in deployments]
    keyed.sort(key=lambda pair: pair[0], reverse=True)
    return [deployment for _, deployment in keyed[:attempts_max]]
