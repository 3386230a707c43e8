"""What belongs to responses that upstreams keep: their ids, those that are generated in the background, the rest."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.calls.background import BackgroundWatch
from tallystick.calls.kept_responses import KeptResponses
from tallystick.calls.response_ids import ResponseIds
from tallystick.control.key_ring import KeyRing
from tallystick.control.snapshot import Snapshot
from tallystick.providers.response_store import ResponseStore
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


class Responses:
    """The parts, put together."""

    def __init__(
        self,
        key_ring: KeyRing,
        transport: Transport,
        *,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        store = ResponseStore(transport)
        self.ids = ResponseIds(key_ring)
        self.watch = BackgroundWatch(store, clock=clock, metrics=metrics)
        self.kept = KeptResponses(ids=self.ids, store=store, watch=self.watch, snapshot=snapshot)
