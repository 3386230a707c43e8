"""Instances in memory."""

from __future__ import annotations

from datetime import datetime

from tallystick.runtime.clock import Clock
from tallystick.runtime.instances import FORGOTTEN_SECONDS, Instance, SeenInstance


class MemoryInstances:
    """`InstanceStore`, forgotten at the end."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[datetime, Instance]] = {}

    async def beat(self, instance: Instance) -> None:
        """Note what an instance says now, and forget those not heard of for a day."""
        now = self._clock.now()
        self._heard[instance.instance_id] = (now, instance)
        self._heard = {
            instance_id: (seen_at, each)
            for instance_id, (seen_at, each) in self._heard.items()
            if (now - seen_at).total_seconds() <= FORGOTTEN_SECONDS
        }

    async def leave(self, instance_id: str) -> None:
        """Forget an instance."""
        self._heard.pop(instance_id, None)

    async def seen(self, *, limit: int) -> tuple[SeenInstance, ...]:
        """Return instances, those heard of last first."""
        now = self._clock.now()
        found = [
            SeenInstance(instance=each, silent_seconds=(now - seen_at).total_seconds())
            for seen_at, each in self._heard.values()
        ]
        return tuple(sorted(found, key=lambda seen: (seen.silent_seconds, seen.instance.instance_id))[:limit])
