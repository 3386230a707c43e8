"""The change feed: every instance follows what admins write, in the order of commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from tallystick.control.objects import ObjectRef
from tallystick.control.store import ControlStore
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_PAGE_MAX: Final = 1_000
_CATCH_UP_SECONDS: Final = 2.0


class Follower(Protocol):
    """Acts on changes. A method that raises StoreUnavailable is called again later with the same changes."""

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """Put these changes in force. Repeated calls for the same change are harmless."""

    async def start_over(self) -> None:
        """Anything may have changed."""


class ChangeFeed:
    """A service that reads the feed when the database tells of a change, and every `interval_seconds` anyway.

    While the database is away nothing is forgotten; when it is back the feed goes on from the last revision it saw.
    When there are more changes than one page holds, or the feed has gone back (a restored database), the followers
    start over instead.
    """

    def __init__(
        self,
        store: ControlStore,
        followers: Sequence[Follower],
        *,
        clock: Clock,
        metrics: Metrics,
        interval_seconds: float = 1.0,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._store = store
        self._followers = followers
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._revision: int | None = None
        self._is_away = False
        self._reading = asyncio.Lock()
        self._loop = SupervisedLoop("change_feed", self._run, clock=clock, metrics=metrics)

    @property
    def name(self) -> str:
        return self._loop.name

    @property
    def revision(self) -> int | None:
        """The newest revision in force; None until the feed was first read."""
        return self._revision

    @property
    def is_away(self) -> bool:
        """Whether the last read failed."""
        return self._is_away

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def health(self) -> ServiceHealth:
        return self._loop.health()

    async def catch_up(self, revision: int) -> None:
        """Return when this revision is in force here, or after two seconds: the loop brings it then."""
        try:
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                while self._revision is None or self._revision < revision:
                    await self.poll()
                    if self._is_away:
                        return
        except TimeoutError:
            log.warning("change_feed_behind", revision=self._revision, wanted=revision)

    async def poll(self) -> None:
        """Read the feed once and put what is new in force. An absent database is counted and logged once."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._reading:
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
            await self._store.wait_for_change(timeout_seconds=self._interval_seconds)

    async def _advance(self) -> None:
        if self._revision is None or (self._is_away and await self._store.revision() < self._revision):
            await self._start_over()
            return
        entries = await self._store.changes_after(self._revision, limit=_PAGE_MAX)
        if len(entries) >= _PAGE_MAX:
            await self._start_over()
        elif entries:
            changed = tuple(dict.fromkeys(entry.ref for entry in entries))
            for follower in self._followers:
                await follower.follow(changed)
            self._put_in_force(entries[-1].revision)

    async def _start_over(self) -> None:
        """The revision is read before, so that a change after it is seen in the feed."""
        revision = await self._store.revision()
        for follower in self._followers:
            await follower.start_over()
        self._put_in_force(revision)
        log.info("change_feed_started_over", revision=revision)

    def _put_in_force(self, revision: int) -> None:
        self._revision = revision
        self._metrics.change_feed_revision.set(revision)
