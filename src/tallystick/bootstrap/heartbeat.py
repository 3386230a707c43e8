"""One worker among the others: what it says of itself, and what it shows of all."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from tallystick import __version__
from tallystick.control.feed import ChangeFeed
from tallystick.errors import StoreError
from tallystick.ledger.service import LedgerService
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.instances import SHOWN_MAX, Heartbeat, Instance, InstanceStore, SeenInstance
from tallystick.runtime.telemetry import Metrics

_LOOK_SECONDS: Final = 2.0


class Instances:
    """`heartbeat` is the service; it starts after the ledger, whose journal it tells of."""

    def __init__(
        self,
        store: InstanceStore,
        *,
        ledger: LedgerService,
        feed: ChangeFeed,
        is_leader: Callable[[], bool],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._feed = feed
        self._is_leader = is_leader
        self._started_at = clock.now()
        self.instance_id = new_event_id(self._started_at)
        self.heartbeat = Heartbeat(
            store, instance_id=self.instance_id, describe=self._describe, clock=clock, metrics=metrics
        )

    async def shown(self) -> list[dict[str, object]]:
        """Return all that were heard of within a day, for the page `/health`; none while the database is away."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                seen = await self._store.seen(limit=SHOWN_MAX)
        except (StoreError, TimeoutError):
            return []
        return [self._shown(each) for each in seen]

    def _describe(self) -> Instance:
        journal = self._ledger.journal
        return Instance(
            instance_id=self.instance_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            revision=self._feed.revision,
            producer_id=journal.producer_id,
            events_pending=journal.pending_events,
            journal_bytes=journal.size_bytes,
            is_leader=self._is_leader(),
        )

    def _shown(self, seen: SeenInstance) -> dict[str, object]:
        instance = seen.instance
        is_this = instance.instance_id == self.instance_id
        return {
            "instance_id": instance.instance_id,
            "host": instance.host,
            "pid": instance.pid,
            "version": instance.version,
            "started_at": instance.started_at.isoformat(),
            "state": "away" if seen.is_away else "here",
            "silent_seconds": round(seen.silent_seconds, 1),
            "revision": instance.revision,
            "events_pending": instance.events_pending,
            "journal_bytes": instance.journal_bytes,
            "is_leader": self._is_leader() if is_this else instance.is_leader,
            "is_this": is_this,
        }
