"""Settings of the checks that ask deployments whether they answer."""

from __future__ import annotations

from typing import Annotated

from tallystick.config.places import Given
from tallystick.config.record import Frozen, Seconds


class HealthSettings(Frozen):
    """Whether, how often and for how long deployments are asked."""

    background_checks: Annotated[
        bool,
        Given(
            name="background_health_checks",
            description="Whether each worker asks every deployment now and then, with a small call, whether it "
            "answers. Deployments that have answered a caller meanwhile are not asked. Such calls are billed like all "
            "others, and are in the ledger under the key `tallystick_health_check`.",
        ),
    ] = False
    interval_seconds: Annotated[
        Seconds, Given(name="health_check_interval", description="Seconds between two checks of a deployment.")
    ] = 300.0
    timeout_seconds: Annotated[
        Seconds,
        Given(
            name="health_check_timeout",
            description="Longest wait for the answer to a check; a deployment's own `timeout` goes before it where it "
            "is shorter.",
        ),
    ] = 60.0
