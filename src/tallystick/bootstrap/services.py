"""Everything that runs in one worker process, put together from the settings."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from tallystick.access.authenticator import Authenticator
from tallystick.access.blocked_customers import BlockedCustomers
from tallystick.access.windows import WindowRule
from tallystick.bootstrap.batches import UpstreamObjects
from tallystick.bootstrap.budgets import Budgets
from tallystick.bootstrap.caching import open_answer_cache
from tallystick.bootstrap.checks import build_health_checks
from tallystick.bootstrap.health import LeftOutGauge, endpoint_details, health_details
from tallystick.bootstrap.heartbeat import Instances
from tallystick.bootstrap.rates import open_shared_rates, rate_limiter
from tallystick.bootstrap.responses import Responses
from tallystick.bootstrap.routing import open_shared_routing
from tallystick.bootstrap.shared_work import build_shared_work
from tallystick.bootstrap.stores import Store
from tallystick.bootstrap.upstreams import Upstreams
from tallystick.calls.admission import CallAdmission
from tallystick.calls.attempts import Attempts
from tallystick.calls.attribution import Attributor
from tallystick.calls.health.checks import HealthChecks
from tallystick.calls.metered_stream import StreamLimits
from tallystick.calls.passed_call import PassedCalls
from tallystick.calls.pipeline import Pipeline
from tallystick.calls.route import Router
from tallystick.calls.settle import Settler
from tallystick.config.settings import Settings
from tallystick.control.build import SnapshotBuilder
from tallystick.control.feed import ChangeFeed
from tallystick.control.key_ring import KeyRing
from tallystick.control.prices import PriceList
from tallystick.control.sealer import Sealer
from tallystick.control.snapshot import Snapshot
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.writer import ObjectWriter
from tallystick.errors import StoreError
from tallystick.ledger.committer import CommitterLimits
from tallystick.ledger.journal import JournalLimits
from tallystick.ledger.service import LedgerService
from tallystick.ledger.store import LedgerStore
from tallystick.routing.tracker import Tracker
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import Service, ServiceGroup, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

_PING_SECONDS: Final = 2.0
_PRICE_LOOK_SECONDS: Final = 60.0
# PostgreSQL wakes the feed; behind a pooler it can not, and two looks a second keep the promise of one second.
_FEED_SECONDS: Final[Mapping[str, float]] = {"postgres": 0.5, "sqlite": 0.25}


def snapshot_builder(
    settings: Settings, *, key_ring: KeyRing, environ: Mapping[str, str], clock: Clock
) -> SnapshotBuilder:
    """Return what resolves the models of the file and the database: targets, credentials, prices.

    Credentials that an entry does not have are looked for in `environ`, under their usual names. Raises ConfigError
    for what is wrong with the file; `check` looks at each entry.
    """
    return SnapshotBuilder(settings, environ=environ, clock=clock, price_list=_load_price_list, sealer=Sealer(key_ring))


def _load_price_list() -> PriceList:
    """Load the list when a deployment needs it: it takes longer than all the rest."""
    from tallystick.pricing import price_map

    return price_map


class Services:
    """The services of one worker, from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        key_ring: KeyRing,
        master_key_hash: str,
        environ: Mapping[str, str],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self.upstream_objects = UpstreamObjects(settings.batches, key_ring, store=store, clock=clock, metrics=metrics)
        self.shared_work = build_shared_work(
            settings, store=store, jobs=[self.upstream_objects.watching], clock=clock, metrics=metrics
        )
        self.ledger = _ledger_service(
            settings, store=self.shared_work.ledger, on_finished=self._release_leases, clock=clock, metrics=metrics
        )
        self.snapshots = SnapshotKeeper(
            store.control, snapshot_builder(settings, key_ring=key_ring, environ=environ, clock=clock)
        )
        self.authenticator = Authenticator(
            store.control,
            master_key_hash=master_key_hash,
            clock=clock,
            metrics=metrics,
            cache_max=settings.server.key_cache_max,
            user_budget_holds_in_teams=settings.budgets.applies_user_budget_to_team_keys,
        )
        self.blocked_customers = BlockedCustomers(store.control)
        self.upstreams = Upstreams(settings, clock=clock)
        self.tracker = Tracker(clock=clock, metrics=metrics)
        self.responses = Responses(
            key_ring, self.upstreams.transport, snapshot=self.snapshot, clock=clock, metrics=metrics
        )
        self.pause_before_retry: Callable[[float], Awaitable[None]] = clock.sleep
        """How a call waits before it tries a deployment again; may be another until `start`."""
        self.budgets = self._open_budgets()
        shared_rates = open_shared_rates(settings.redis, clock=clock, metrics=metrics)
        self.rates = rate_limiter(settings.rates, shared=shared_rates, clock=clock, metrics=metrics)
        self.feed = self._change_feed()
        self.writer = ObjectWriter(
            store.control,
            sealer=Sealer(key_ring),
            clock=clock,
            on_applied=self.feed.catch_up,
            read_only=settings.read_only,
        )
        self._instances = Instances(
            store.instances,
            ledger=self.ledger,
            feed=self.feed,
            is_leader=lambda: self.shared_work.is_leader,
            clock=clock,
            metrics=metrics,
        )
        self.caching = open_answer_cache(settings.cache, settings.redis, clock=clock, metrics=metrics)
        shared_routing = open_shared_routing(settings.redis, self.tracker, clock=clock, metrics=metrics)
        self._group = ServiceGroup(self._in_order(shared_rates, shared_routing, self.caching.service))
        self._settler: Settler | None = None
        self.health_checks: HealthChecks | None = None
        """There from `start` on."""
        self._check_loop: SupervisedLoop | None = None
        self._passed_calls: PassedCalls | None = None

    def _open_budgets(self) -> Budgets:
        return Budgets(
            self.settings,
            store=self.store,
            journal=lambda: self.ledger.journal,
            live=lambda: self.snapshot().settings,
            transport=self.upstreams.transport,
            clock=self.clock,
            metrics=self.metrics,
        )

    def _in_order(self, *shared: Service | None) -> Sequence[Service]:
        """Return the services as they are started; they are stopped the other way round."""

        def loop(name: str, run: Callable[[], Awaitable[None]]) -> Service:
            return SupervisedLoop(name, run, clock=self.clock, metrics=self.metrics)

        return (
            *(loop(name, run) for name, run in self.store.loops.items()),
            *(each for each in shared if each is not None),
            *self.shared_work.before,
            self.ledger,
            *self.shared_work.behind,
            self.responses.watch,
            self.budgets.alerts,
            self.budgets.leases,
            self.feed,
            loop("prices", self._follow_prices),
            self._instances.heartbeat,
        )

    @property
    def windows(self) -> WindowRule:
        """When the windows of budgets begin."""
        return self.budgets.windows

    @property
    def passed_calls(self) -> PassedCalls:
        """What runs calls that are passed through, once `start` has returned."""
        assert self._passed_calls is not None, "the services have started"
        return self._passed_calls

    def snapshot(self) -> Snapshot:
        """All that calls are served with now."""
        return self.snapshots.current

    async def start(self) -> Pipeline:
        """Start everything and return the pipeline for calls. Raises LedgerUnavailable when no journal can be had.

        Where the database answers, its objects are in force when this returns; where it is away, the file's models
        are served until it comes.
        """
        await self.feed.poll()
        await self._group.start()
        self._settler = Settler(journal=self.ledger.journal, clock=self.clock, metrics=self.metrics)
        attributor = Attributor(self.settings.attribution, metrics=self.metrics)
        admission = self.budgets.admission(rates=self.rates)
        await self._start_checks(self._settler, admission)
        stream_limits = StreamLimits(
            on_client_disconnect=self.settings.stream.on_client_disconnect,
            drain_seconds=self.settings.stream.drain_seconds,
        )
        self._passed_calls = PassedCalls(
            snapshot=self.snapshot,
            passing=self.upstreams.passing,
            attributor=attributor,
            blocked_customers=self.blocked_customers,
            admission=admission,
            settler=self._settler,
            stream_limits=stream_limits,
            monotonic=self.clock.monotonic,
        )
        router = Router(snapshot=self.snapshot, tracker=self.tracker, draw=random.random)
        self.upstream_objects.open(
            transport=self.upstreams.transport,
            router=router,
            attributor=attributor,
            blocked_customers=self.blocked_customers,
            admission=admission,
            settler=self._settler,
            snapshot=self.snapshot,
        )
        return Pipeline(
            router=router,
            attempts=Attempts(
                providers=self.upstreams.providers,
                tracker=self.tracker,
                settler=self._settler,
                now=self.clock.now,
                pause=self.pause_before_retry,
                draw=random.random,
                response_ids=self.responses.ids,
            ),
            attributor=attributor,
            blocked_customers=self.blocked_customers,
            admission=admission,
            settler=self._settler,
            stream_limits=stream_limits,
            monotonic=self.clock.monotonic,
            cache=self.caching.cache,
            response_ids=self.responses.ids,
            background=self.responses.watch,
        )

    async def _start_checks(self, settler: Settler, admission: CallAdmission) -> None:
        self.health_checks = checks = build_health_checks(
            self.settings.health,
            providers=self.upstreams.providers,
            settler=settler,
            admission=admission,
            snapshot=self.snapshot,
            clock=self.clock,
            metrics=self.metrics,
        )
        if self.settings.health.background_checks:
            self._check_loop = SupervisedLoop("health_checks", checks.run, clock=self.clock, metrics=self.metrics)
            await self._check_loop.start()

    async def _follow_prices(self) -> None:
        """Resolve the prices anew when one of them changes by the calendar: some have hours, or a first day."""
        while True:
            until, left = self.snapshots.prices_until, _PRICE_LOOK_SECONDS
            if until is not None:
                left = min(left, (until - self.clock.now()).total_seconds())
            if left > 0:
                await self.clock.sleep(left)
            else:
                await self.snapshots.renew_prices()

    def _change_feed(self) -> ChangeFeed:
        # In this order: a blocked key does not wait until a snapshot is built.
        followers = (
            self.authenticator,
            self.blocked_customers,
            self.budgets.limits,
            self.snapshots,
            LeftOutGauge(self.snapshot, metrics=self.metrics),
        )
        return ChangeFeed(
            self.store.control,
            followers,
            clock=self.clock,
            metrics=self.metrics,
            interval_seconds=_FEED_SECONDS[self.store.kind],
        )

    async def _release_leases(self, producer_id: str) -> None:
        await self.budgets.leases.release(producer_id)

    async def stop(self) -> None:
        """Commit what is left, close every connection."""
        if self._check_loop is not None:
            await self._check_loop.stop()
        await self._group.stop()
        await self.upstreams.aclose()
        await self.store.close()

    # What the health pages show

    async def database_connected(self) -> bool:
        """Whether the database answers now."""
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self.store.ping()
        except (StoreError, TimeoutError):
            return False
        return True

    def can_serve(self) -> bool:
        """Whether calls are served: the journal takes them, and the database's objects were read at least once."""
        return self.feed.revision is not None and self.ledger.journal.has_room

    async def instances(self) -> list[dict[str, object]]:
        """All workers on this database, for the page `/health`."""
        return await self._instances.shown()

    def details(self) -> Mapping[str, object]:
        """Services, journal, control objects and deployments, for the page `/health`."""
        return health_details(
            is_healthy=self.can_serve(),
            read_only=self.settings.read_only,
            journal=self.ledger.journal,
            services=self._group.health(),
            feed=self.feed,
            snapshot=self.snapshot(),
            outcomes=self._settler.last_outcomes if self._settler else {},
            checks=self.health_checks.results if self.health_checks else {},
            rates=self.rates.status(),
            cooling=self.tracker.cooling(),
            shared_work=self.shared_work.health(),
        )

    async def check(self, model_group: str, deployment_id: str) -> Mapping[str, object]:
        """Check deployments now. Raises NotFound, LedgerUnavailable."""
        assert self.health_checks is not None, "the services have not been started"
        checked = await self.health_checks.check_some(model_group, deployment_id)
        deployments = self.snapshot().deployments()
        return endpoint_details((deployments[name] for name in checked if name in deployments), {}, checked)

    def render_metrics(self) -> bytes:
        return self.metrics.render()


def _ledger_service(
    settings: Settings,
    *,
    store: LedgerStore,
    on_finished: Callable[[str], Awaitable[None]],
    clock: Clock,
    metrics: Metrics,
) -> LedgerService:
    return LedgerService(
        directory=settings.journal.directory,
        store=store,
        journal_limits=JournalLimits(
            sync=settings.journal.sync,
            bytes_max=settings.journal.bytes_max,
            segment_bytes=settings.journal.segment_bytes,
            policy=settings.journal.policy,
        ),
        committer_limits=CommitterLimits(
            batch_events_max=settings.committer.batch_events_max,
            batch_wait_seconds=settings.committer.batch_wait_seconds,
            retry_seconds_min=settings.committer.retry_seconds_min,
            retry_seconds_max=settings.committer.retry_seconds_max,
        ),
        drain_seconds=settings.server.drain_seconds,
        on_finished=on_finished,
        clock=clock,
        metrics=metrics,
        continues_producers=not settings.read_only,
    )
