"""Settings of what many instances do together: who leads, and the buffer in Redis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tallystick.config.places import Given
from tallystick.config.record import MIB, Frozen, Seconds


class InstanceSettings(Frozen):
    """How instances of one installation share work."""

    leader_lease_seconds: Annotated[
        float,
        Field(ge=1, allow_inf_nan=False),
        Given(
            name="leader_lease_seconds",
            description="For how long the leading instance is sure to lead without renewing it. After its death "
            "another one leads that much later; after its stop, at once.",
        ),
    ] = 15.0
    uses_redis_buffer: Annotated[
        bool,
        Given(
            name="use_redis_transaction_buffer",
            description="Whether events reach the database through Redis, where the leading instance commits them for "
            "all. It needs Redis and PostgreSQL.",
        ),
    ] = False
    redis_buffer_bytes_max: Annotated[
        int,
        Field(ge=MIB),
        Given(
            name="redis_buffer_bytes_max",
            description="Most bytes of events that wait in Redis. Beyond, they wait in the journals.",
        ),
    ] = 256 * MIB
    redis_buffer_wait_seconds: Annotated[
        Seconds,
        Given(
            name="redis_buffer_wait_seconds",
            description="Longest time that a batch may wait in Redis; then its instance commits it directly. It does "
            "so at once when Redis is away, and within 5 s when nobody leads.",
        ),
    ] = 30.0
