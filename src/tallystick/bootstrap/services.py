"""The composition root: settings in, running services out. Only here are stores opened and adapters loaded by need."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from tallystick.access.key_feed import KeyFeed

from tallystick.access.authenticator import Authenticator
from tallystick.calls.attribution import Attributor
from tallystick.calls.metered_stream import StreamLimits
from tallystick.calls.pipeline import Pipeline
from tallystick.calls.settle import Settler
from tallystick.config.settings import ModelEntry, Settings
from tallystick.control.build import build_snapshot
from tallystick.control.deployment import Snapshot
from tallystick.errors import StoreError
from tallystick.ledger.committer import CommitterLimits
from tallystick.ledger.journal import JournalLimits
from tallystick.ledger.service import LedgerService
from tallystick.pricing.overrides import deployment_sheet
from tallystick.pricing.price import PriceSheet
from tallystick.providers.registry import build_providers
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.service import ServiceGroup, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

_PING_SECONDS = 2.0
_PRICE_LOOK_SECONDS = 60.0


class PricedSnapshot(NamedTuple):
    """A snapshot, and the moment until which its prices hold; None when they do not change by the calendar."""

    snapshot: Snapshot
    prices_until: datetime | None


def load_snapshot(settings: Settings, *, now: datetime, environ: Mapping[str, str]) -> PricedSnapshot:
    """Resolve the model list: targets, credentials, prices. Raises ConfigError naming the entry that is wrong.

    Credentials that an entry does not have are looked for in `environ`, under their usual names.
    The price map is only loaded when an entry needs it: it takes longer than all the rest.
    """
    from_map = _PriceMapLoader(now)

    def price_for(entry: ModelEntry, provider: str, model: str, deployment_id: str) -> PriceSheet | None:
        return deployment_sheet(
            deployment_id=deployment_id,
            provider=provider,
            model=model,
            prices=entry.prices,
            base_model=entry.base_model,
            costs=settings.costs,
            seed=partial(from_map, api_base=entry.litellm_params.api_base or ""),
        )

    snapshot = build_snapshot(
        settings.model_list,
        price_for=price_for,
        revision=0,
        timeout_seconds=settings.upstream.timeout_seconds,
        stream_idle_seconds=settings.upstream.stream_timeout_seconds or settings.upstream.timeout_seconds,
        environment=environ,
    )
    return PricedSnapshot(snapshot, from_map.next_change)


class _PriceMapLoader:
    """Loads the price map at the first look-up, and notes when the first of the prices changes by the calendar."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.next_change: datetime | None = None

    def __call__(self, provider: str, model: str, *, api_base: str) -> PriceSheet | None:
        from tallystick.pricing.price_map import next_change, resolve

        change = next_change(provider, model, now=self._now, api_base=api_base)
        if change is not None and (self.next_change is None or change < self.next_change):
            self.next_change = change
        return resolve(provider, model, now=self._now, api_base=api_base)


class Services:
    """Everything that runs in one worker process, from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        load_snapshot: Callable[[datetime], PricedSnapshot],
        master_key_hash: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self._load_snapshot = load_snapshot
        self._priced = load_snapshot(clock.now())
        self.ledger = LedgerService(
            directory=settings.journal.directory,
            store=store.ledger,
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
            clock=clock,
            metrics=metrics,
        )
        self.authenticator = Authenticator(
            store.keys,
            master_key_hash=master_key_hash,
            clock=clock,
            metrics=metrics,
            cache_max=settings.server.key_cache_max,
        )
        self.key_feed = KeyFeed(store.keys, self.authenticator, clock=clock, metrics=metrics)
        self.transport = Transport(
            connections_max=settings.upstream.connections_max,
            connections_per_host_max=settings.upstream.connections_per_host_max,
            keep_alive_seconds=settings.upstream.keepalive_seconds,
            connect_timeout_seconds=settings.upstream.connect_timeout_seconds,
        )
        self._providers = build_providers(
            self.transport,
            new_id=lambda: new_event_id(clock.now()),
            now_seconds=lambda: int(clock.now().timestamp()),
        )
        prices = SupervisedLoop("prices", self._follow_prices, clock=clock, metrics=metrics)
        self._group = ServiceGroup((self.ledger, self.key_feed, prices))
        self._settler: Settler | None = None
        self._was_connected = False

    def snapshot(self) -> Snapshot:
        """The control objects that are in force now."""
        return self._priced.snapshot

    def model_groups(self) -> Mapping[str, object]:
        return self._priced.snapshot.model_groups

    async def start(self) -> Pipeline:
        """Start everything and return the pipeline for calls. Raises LedgerUnavailable when no journal can be had."""
        await self._group.start()
        self._settler = Settler(journal=self.ledger.journal, clock=self.clock, metrics=self.metrics)
        return Pipeline(
            snapshot=self.snapshot,
            providers=self._providers,
            attributor=Attributor(self.settings.attribution, metrics=self.metrics),
            settler=self._settler,
            stream_limits=StreamLimits(
                on_client_disconnect=self.settings.stream.on_client_disconnect,
                drain_seconds=self.settings.stream.drain_seconds,
            ),
            attempts_max=1 + self.settings.routing.num_retries,
            draw=random.random,
        )

    async def _follow_prices(self) -> None:
        """Resolve the prices anew when one of them changes by the calendar: some have hours, or a first day."""
        while self._priced.prices_until is not None:
            left = (self._priced.prices_until - self.clock.now()).total_seconds()
            if left > 0:
                await self.clock.sleep(min(left, _PRICE_LOOK_SECONDS))
                continue
            self._priced = self._load_snapshot(self.clock.now())

    async def stop(self) -> None:
        """Commit what is left, close every connection."""
        await self._group.stop()
        await self.transport.aclose()
        await self.store.close()

    # What the health pages show

    async def database_connected(self) -> bool:
        """Whether the database answers now."""
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self.store.ping()
        except (StoreError, TimeoutError):
            return False
        self._was_connected = True
        return True

    def can_serve(self) -> bool:
        """Whether calls with known keys are served: the journal takes calls, and keys could be read at least once."""
        return self._was_connected and self.ledger.journal.has_room

    def details(self) -> Mapping[str, object]:
        """Services, journal and deployments, for the page `/health`."""
        journal = self.ledger.journal
        outcomes = self._settler.last_outcomes if self._settler else {}
        healthy: list[dict[str, str]] = []
        unhealthy: list[dict[str, str]] = []
        for group in self._priced.snapshot.model_groups.values():
            for deployment in group:
                endpoint = {
                    "model": f"{deployment.target.provider}/{deployment.target.model}",
                    "model_name": deployment.model_group,
                    "model_id": deployment.deployment_id,
                    "api_base": deployment.target.api_base,
                }
                failed = outcomes.get(deployment.deployment_id) == "failure"
                (unhealthy if failed else healthy).append(endpoint)
        return {
            "status": "healthy" if self.can_serve() else "unhealthy",
            "journal": {
                "slot": journal.slot.name,
                "producer_id": journal.producer_id,
                "bytes": journal.size_bytes,
                "events_pending": journal.pending_events,
                "open_calls": journal.open_calls,
            },
            "services": [
                {"name": health.name, "state": health.state, "restarts": health.restarts, "error": health.last_error}
                for health in self._group.health()
            ],
            "healthy_endpoints": healthy,
            "unhealthy_endpoints": unhealthy,
            "healthy_count": len(healthy),
            "unhealthy_count": len(unhealthy),
        }

    def render_metrics(self) -> bytes:
        return self.metrics.render()
