"""What instances share of their deployments: told and read in the background, so that no call waits for it."""

from __future__ import annotations

from typing import Final

import structlog

from tallystick.errors import RowRefused, StoreUnavailable
from tallystick.routing.store import RoutingStore
from tallystick.routing.tracker import Tracker
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

EXCHANGE_SECONDS: Final = 1.0


class SharedRouting:
    """A `Service`. While the store is away the tracker goes by what this instance sees."""

    name = "shared_routing"

    def __init__(self, store: RoutingStore, tracker: Tracker, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._tracker = tracker
        self._clock = clock
        self._metrics = metrics
        self._loop = SupervisedLoop("routing_exchange", self._run, clock=clock, metrics=metrics)
        self._is_away = False

    async def start(self) -> None:
        """Know what others have told, and go on exchanging."""
        self._tracker.is_shared = True
        await self.exchange()
        await self._loop.start()

    async def stop(self) -> None:
        """Stop, and close the store."""
        await self._loop.stop()
        await self._store.close()

    async def exchange(self) -> None:
        """Tell and read once."""
        changes = self._tracker.take_changes()
        try:
            seen = await self._store.exchange(changes)
        except (StoreUnavailable, RowRefused) as error:
            self._tracker.tell_again(changes.cooldowns)
            if not self._is_away:
                log.warning("routing_per_instance", reason=mask_text(error.message))
            self._is_away = True
            self._metrics.routing_shared.set(0)
            self._metrics.redis_errors.labels("unavailable").inc()
            self._tracker.forget_shared()
            return
        self._is_away = False
        self._metrics.routing_shared.set(1)
        self._tracker.take_in(seen.uses, seen.cooldowns)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EXCHANGE_SECONDS)
            await self.exchange()
