"""Settings of batches that upstreams work off."""

from __future__ import annotations

from typing import Annotated

from tallystick.config.places import Given
from tallystick.config.record import Frozen, Seconds


class BatchSettings(Frozen):
    """How often upstreams are asked about them."""

    poll_seconds_max: Annotated[
        Seconds,
        Given(
            name="batch_polling_interval",
            description="Most seconds between two looks at a batch (`/v1/batches`) that an upstream works off, to "
            "charge it when it has ended. New ones are looked at sooner: after 15 seconds, then after a tenth of their "
            "age.",
            environment=("PROXY_BATCH_POLLING_INTERVAL",),
        ),
    ] = 300.0
