"""Who serves on one database: each worker says every few seconds that it is there, and what it has got to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import msgspec
import structlog

from tallystick.errors import StoreError
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

BEAT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 3 * BEAT_SECONDS
"""Of whom nothing was heard for longer is away: dead, paused, or cut off from the database."""
FORGOTTEN_SECONDS: Final = 86_400.0
SHOWN_MAX: Final = 1_000
_STORE_SECONDS_MAX: Final = 3.0
_log = structlog.get_logger(__name__)


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process says of itself."""

    instance_id: str
    host: str
    pid: int
    version: str
    started_at: datetime
    revision: int | None
    """The newest change of the control plane that is in force in it; None before the first."""
    producer_id: str
    events_pending: int
    """Events in its journal that are not committed."""
    journal_bytes: int
    is_leader: bool = False


class SeenInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, and how long ago it was heard of by the store's clock."""

    instance: Instance
    silent_seconds: float

    @property
    def is_away(self) -> bool:
        return self.silent_seconds > SILENT_SECONDS


class InstanceStore(Protocol):
    """Where instances say that they are there. All methods raise StoreUnavailable."""

    async def beat(self, instance: Instance) -> None:
        """Note what an instance says now, and forget those not heard of for a day. Time is the store's."""

    async def leave(self, instance_id: str) -> None:
        """Forget an instance that ends as it should. Harmless when it is not known."""

    async def seen(self, *, limit: int) -> tuple[SeenInstance, ...]:
        """Return up to `limit` instances, those heard of last first."""


class Heartbeat:
    """A service: says every five seconds that this instance is there. While the store is away it only tries again."""

    name = "heartbeat"

    def __init__(
        self,
        store: InstanceStore,
        *,
        instance_id: str,
        describe: Callable[[], Instance],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._instance_id = instance_id
        self._describe = describe
        self._clock = clock
        self._loop = SupervisedLoop(self.name, self._run, clock=clock, metrics=metrics)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        """End, and let the others know."""
        await self._loop.stop()
        try:
            async with asyncio.timeout(_STORE_SECONDS_MAX):
                await self._store.leave(self._instance_id)
        except (StoreError, TimeoutError) as error:
            _log.debug("instance_not_left", reason=str(error))

    def health(self) -> ServiceHealth:
        """`Reporting`."""
        return self._loop.health()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_STORE_SECONDS_MAX):
                    await self._store.beat(self._describe())
            except (StoreError, TimeoutError) as error:
                _log.debug("heartbeat_missed", reason=str(error))
            await self._clock.sleep(BEAT_SECONDS)
