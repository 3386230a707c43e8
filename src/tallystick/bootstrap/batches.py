"""What belongs to files and batches that upstreams keep, put together."""

from __future__ import annotations

from collections.abc import Callable, Container

from tallystick.bootstrap.stores import Store
from tallystick.calls.admission import CallAdmission
from tallystick.calls.attribution import Attributor
from tallystick.calls.batches.charging import Charger
from tallystick.calls.batches.files import Files
from tallystick.calls.batches.ids import HeldIds
from tallystick.calls.batches.jobs import Batches
from tallystick.calls.batches.watch import BatchWatch
from tallystick.calls.route import Router
from tallystick.calls.settle import Settler
from tallystick.config.settings import BatchSettings
from tallystick.control.key_ring import KeyRing
from tallystick.control.snapshot import Snapshot
from tallystick.providers.file_store import FileStore
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import Service, SupervisedLoop
from tallystick.runtime.telemetry import Metrics


class UpstreamObjects:
    """The parts: the leader's job from the beginning, the rest once calls can be settled."""

    def __init__(
        self, settings: BatchSettings, key_ring: KeyRing, *, store: Store, clock: Clock, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._file_ids = HeldIds(key_ring, kind="file", prefix="file-")
        self._batch_ids = HeldIds(key_ring, kind="batch", prefix="batch_")
        self._files: Files | None = None
        self._batches: Batches | None = None
        self._charger: Charger | None = None
        watch = BatchWatch(jobs=store.batch_jobs, charger=lambda: self._charger, clock=clock, metrics=metrics)
        self.watching: Service = SupervisedLoop("batches", watch.run, clock=clock, metrics=metrics)
        """What whoever leads does."""

    def open(
        self,
        *,
        transport: Transport,
        router: Router,
        attributor: Attributor,
        blocked_customers: Container[str],
        admission: CallAdmission,
        settler: Settler,
        snapshot: Callable[[], Snapshot],
    ) -> None:
        """Put the rest together."""
        store = FileStore(transport)
        self._charger = charger = Charger(
            jobs=self._store.batch_jobs,
            store=store,
            settler=settler,
            admission=admission,
            snapshot=snapshot,
            clock=self._clock,
            look_seconds_max=self._settings.poll_seconds_max,
        )
        self._files = Files(
            ids=self._file_ids,
            rows=self._store.kept_files,
            store=store,
            router=router,
            charger=charger,
            snapshot=snapshot,
            now=self._clock.now,
        )
        self._batches = Batches(
            files=self._file_ids,
            ids=self._batch_ids,
            jobs=self._store.batch_jobs,
            store=store,
            attributor=attributor,
            blocked_customers=blocked_customers,
            admission=admission,
            charger=charger,
            snapshot=snapshot,
            clock=self._clock,
        )

    @property
    def files(self) -> Files:
        """Once opened."""
        assert self._files is not None, "the services have started"
        return self._files

    @property
    def batches(self) -> Batches:
        """Once opened."""
        assert self._batches is not None, "the services have started"
        return self._batches
