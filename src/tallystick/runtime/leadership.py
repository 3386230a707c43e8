"""Leadership: of all instances one does what needs to be done by one only.

It is a lease with a term, kept in a store that all instances share. It saves work; correctness never depends on it: a
leader that was paused may go on for a moment beside its successor, so whatever a job does is harmless when it is done
twice. The leader trusts its lease for less time than it lasts, counted from before it asked, so that this is rare.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from tallystick.errors import StoreError
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import Service, ServiceGroup, ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_TRUSTED_SHARE: Final = 0.75
_ASKED_SHARE: Final = 0.2
_ASKED_SECONDS_MAX: Final = 1.0
"""So long at most is nobody the leader when the last one has given it up."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads, as a store said it."""

    holder: str
    term: int
    """Grows with each new leader; begins anew where the store has lost everything."""


class LeadershipStore(Protocol):
    """Where leaderships are kept. Time is the store's own."""

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        """Lead for `seconds` from now if nobody else does; return who leads.

        Whoever leads already goes on under its term; one whose lease has lapsed begins a new one. Raises
        StoreUnavailable.
        """

    async def give_up(self, name: str, holder: str) -> None:
        """Let others lead from now on. Nothing happens when `holder` does not lead. Raises StoreUnavailable."""


class LeadershipStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What health pages show."""

    name: str
    is_leader: bool
    """Whether this process leads."""
    term: int
    holder: str
    """Who led when the store was asked last; "" when it never answered."""


class Leadership:
    """A `Service`. While this process leads, its jobs run: they are started with each term and ended with it.

    `stop` gives the leadership up, so that another instance takes it at once.
    """

    def __init__(
        self,
        name: str,
        *,
        store: LeadershipStore,
        holder: str,
        jobs: Sequence[Service],
        lease_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.name = f"leadership:{name}"
        self._name = name
        self._store = store
        self._holder = holder
        self._jobs = ServiceGroup(jobs)
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._gauge = metrics.is_leader
        self._trusted_until = clock.monotonic()
        self._standing = Standing(holder="", term=0)
        self._has_jobs_running = False
        self._loop = SupervisedLoop(self.name, self._lead_for_ever, clock=clock, metrics=metrics)

    @property
    def is_leader(self) -> bool:
        """Whether this process leads, as far as it can know by itself."""
        return self._clock.monotonic() < self._trusted_until

    def status(self) -> LeadershipStatus:
        """Tell who leads."""
        return LeadershipStatus(
            name=self._name, is_leader=self.is_leader, term=self._standing.term, holder=self._standing.holder
        )

    async def start(self) -> None:
        """Begin to ask for the leadership."""
        self._gauge.set(0)
        await self._loop.start()

    async def stop(self) -> None:
        """End the jobs and let another instance lead."""
        await self._loop.stop()
        was_leader = self.is_leader
        await self._resign()
        if was_leader:
            try:
                async with asyncio.timeout(self._lease_seconds * _ASKED_SHARE):
                    await self._store.give_up(self._name, self._holder)
            except (StoreError, TimeoutError) as error:
                log.warning("leadership_not_given_up", leadership=self._name, reason=mask_text(str(error)))

    def health(self) -> ServiceHealth:
        """How the asking goes; not to lead is no fault."""
        return self._loop.health()

    async def _lead_for_ever(self) -> None:
        while True:
            await self._follow_trust()  # First: the process may have been paused for longer than it may trust.
            await self._ask()
            await self._follow_trust()
            await self._clock.sleep(self._seconds_to_next_look())

    async def _ask(self) -> None:
        """Ask for the leadership once; an answer that does not come in time changes nothing."""
        asked_at = self._clock.monotonic()
        deadline_seconds = self._seconds_to_next_look()
        try:
            async with asyncio.timeout(deadline_seconds):
                standing = await self._store.take(self._name, self._holder, seconds=self._lease_seconds)
        except (StoreError, TimeoutError) as error:
            log.warning(
                "leadership_unknown", leadership=self._name, reason=mask_text(str(error)) or "no answer in time"
            )
            return
        leads = standing.holder == self._holder
        self._trusted_until = asked_at + self._lease_seconds * _TRUSTED_SHARE if leads else asked_at
        if standing != self._standing:
            log.info("leader_changed", leadership=self._name, term=standing.term, is_leader=leads)
        self._standing = standing

    async def _follow_trust(self) -> None:
        """Start the jobs when this process has begun to lead, end them when it leads no more."""
        if self.is_leader and not self._has_jobs_running:
            self._has_jobs_running = True
            self._gauge.set(1)
            await self._jobs.start()
        elif not self.is_leader:
            await self._resign()

    async def _resign(self) -> None:
        self._trusted_until = self._clock.monotonic()
        self._gauge.set(0)
        await self._jobs.stop()  # Again, too, when it was cancelled before it was done.
        self._has_jobs_running = False

    def _seconds_to_next_look(self) -> float:
        """A fifth of the lease; who doesn't lead looks each second, a leader no later than when its trust ends."""
        seconds = self._lease_seconds * _ASKED_SHARE
        if not self.is_leader:
            return min(seconds, _ASKED_SECONDS_MAX)
        left = self._trusted_until - self._clock.monotonic()
        return min(seconds, left) if left > 0 else seconds
