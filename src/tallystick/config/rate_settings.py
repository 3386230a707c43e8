"""Settings of rate limits that are no object's own."""

from __future__ import annotations

from typing import Annotated

from tallystick.config.places import Given
from tallystick.config.record import Count, Frozen, PositiveCount


class RateSettings(Frozen):
    """Limits of the whole gateway and of deployments, and how much is counted."""

    parallel_requests: Annotated[
        Count | None,
        Given(
            name="global_max_parallel_requests",
            description="Calls that may run at the same time, all callers together.",
        ),
    ] = None
    deployment_parallel_requests: Annotated[
        Count | None,
        Given(
            name="max_parallel_requests",
            description="Calls that may run at the same time on one deployment; a deployment's own "
            "`max_parallel_requests` goes before it.",
            file=("router_settings.default_max_parallel_requests",),
        ),
    ] = None
    counters_max: Annotated[
        PositiveCount,
        Given(
            name="rate_counters_max",
            description="Counters of one worker for minutes, and as many for days. Beyond, those used longest ago are "
            "forgotten: their limits begin anew.",
        ),
    ] = 200_000
