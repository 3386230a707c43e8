"""What a Redis says of itself, for `tallystick doctor`."""

from __future__ import annotations

import msgspec


class RedisFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The server that holds our keys. What it does not say is None: a user may not be allowed to ask."""

    where: str
    version: str | None = None
    is_replica: bool = False
    memory_bytes_max: int | None = None
    """0: as much as the machine has."""
    memory_policy: str | None = None
    """What happens at that limit, as in `allkeys-lru`."""
