"""Hear of changed keys: follow the change feed and tell the authenticator."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from tallystick.access.authenticator import Authenticator
from tallystick.access.store import KeyStore
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_PAGE_MAX: Final = 1_000


class KeyFeed:
    """A service that polls the change feed by revision and survives the database's absence.

    While the database is away nothing is forgotten; when it is back the feed goes on from the last revision it saw.
    When there are more changes than one page holds, or the feed has gone back (a restored database), every key is
    forgotten instead.
    """

    def __init__(
        self,
        keys: KeyStore,
        authenticator: Authenticator,
        *,
        clock: Clock,
        metrics: Metrics,
        interval_seconds: float = 0.25,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._keys = keys
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._revision: int | None = None
        self._is_away = False
        self._loop = SupervisedLoop("key_feed", self._run, clock=clock, metrics=metrics)

    @property
    def name(self) -> str:
        return self._loop.name

    @property
    def revision(self) -> int | None:
        """The newest revision in force; None until the feed was first read."""
        return self._revision

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def health(self) -> ServiceHealth:
        return self._loop.health()

    async def poll(self) -> None:
        """Read the feed once and put what is new in force. An absent database is counted and logged once."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._advance()
        except (StoreUnavailable, TimeoutError) as error:
            self._metrics.change_feed_errors.inc()
            if not self._is_away:
                self._is_away = True
                log.warning("change_feed_unavailable", revision=self._revision, reason=str(error))
            return
        if self._is_away:
            self._is_away = False
            log.info("change_feed_available", revision=self._revision)

    async def _run(self) -> None:
        while True:
            await self.poll()
            await self._clock.sleep(self._interval_seconds)

    async def _advance(self) -> None:
        if self._revision is None or (self._is_away and await self._keys.revision() < self._revision):
            await self._start_over()
            return
        changes = await self._keys.changes_after(self._revision, limit=_PAGE_MAX)
        if len(changes) >= _PAGE_MAX:
            await self._start_over()
            return
        for change in changes:
            self._authenticator.invalidate(change.key_hash)
        if changes:
            self._put_in_force(changes[-1].revision)

    async def _start_over(self) -> None:
        """Forget every key. The revision is read before, so that a change after it is seen in the feed."""
        revision = await self._keys.revision()
        self._authenticator.invalidate_all()
        self._put_in_force(revision)
        log.info("key_cache_cleared", revision=revision)

    def _put_in_force(self, revision: int) -> None:
        self._revision = revision
        self._metrics.change_feed_revision.set(revision)
