"""The ledger as a service: this process's journal and committer, and the slots that other processes left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tallystick.errors import LedgerUnavailable, StoreUnavailable
from tallystick.ledger.committer import Committer, CommitterLimits
from tallystick.ledger.journal import Journal, JournalLimits, open_journal, producers_to_ask
from tallystick.ledger.sinks.forwarding import Forwarding, JournalForwarding
from tallystick.ledger.sinks.meter import SinkStatus
from tallystick.ledger.sinks.sink import SinkPlan
from tallystick.ledger.slots import Slot, abandoned_slots, claim_slot
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

_WATERMARK_SECONDS = 2.0
_ADOPTION_INTERVAL_SECONDS = 2.0
_SINK_DRAIN_SECONDS: Final = 5.0
_KEPT_SLOTS_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptSlot:
    """An adopted slot whose events are committed, and wait for sinks."""

    journal: Journal
    forwarding: JournalForwarding


_Extent = tuple[str, int]


def _extent(slot: Slot) -> _Extent:
    """Return how far a slot is written: its last segment, and how long that is."""
    segments = slot.segments()
    return (segments[-1].name, segments[-1].stat().st_size) if segments else ("", 0)


class LedgerService:
    """Holds one slot from `start` to `stop`; commits what is in it, and adopts slots whose process has died."""

    name = "ledger"

    def __init__(
        self,
        *,
        directory: Path,
        store: LedgerStore,
        journal_limits: JournalLimits,
        committer_limits: CommitterLimits,
        drain_seconds: float,
        on_finished: Callable[[str], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
        continues_producers: bool = True,
        sinks: Sequence[SinkPlan] = (),
    ) -> None:
        """`on_finished` is told each producer whose events are committed to the last, and who adds no more.

        Without `continues_producers` every slot that is opened begins a new producer: for a store that may know less
        than is true, as a standby does, and so can't tell whether a number has been given. What is left in the slot is
        delivered under its old producer's name all the same.

        `sinks` are sent every event of the journals that are opened here; they are closed at the end.
        """
        self._directory = directory
        self._store = store
        self._journal_limits = journal_limits
        self._committer_limits = committer_limits
        self._drain_seconds = drain_seconds
        self._on_finished = on_finished
        self._clock = clock
        self._metrics = metrics
        self._continues_producers = continues_producers
        self._journal: Journal | None = None
        self._committer: Committer | None = None
        self._committing: SupervisedLoop | None = None
        self._all_forwarding = Forwarding(sinks, clock=clock, metrics=metrics)
        self._forwarding: JournalForwarding | None = None
        self._kept: dict[str, _KeptSlot] = {}
        self._waits_for_sinks: dict[str, _Extent] = {}
        """Slots of which only sinks need something, and how far each was written then."""
        """Slots of which only sinks need something, and for which there was no room here."""
        self._adopting = SupervisedLoop("adopt_slots", self._adopt_for_ever, clock=clock, metrics=metrics)

    @property
    def journal(self) -> Journal:
        """The journal of this process. Only between `start` and `stop`."""
        assert self._journal is not None, "the ledger service has not been started"
        return self._journal

    async def start(self) -> None:
        """Take a slot, recover what is in it, begin to commit. Raises LedgerUnavailable when no slot can be had."""
        self._journal = await self._open(claim_slot(self._directory))
        self._committer = self._committer_of(self._journal)
        self._committing = SupervisedLoop("committer", self._committer.run, clock=self._clock, metrics=self._metrics)
        self._forwarding = self._all_forwarding.of(self._journal)
        await self._committing.start()
        await self._forwarding.start()
        await self._adopting.start()

    async def stop(self) -> None:
        """Commit what is left, within the limit, and free the slot; the rest stays for the next start."""
        if self._journal is None or self._committer is None or self._committing is None or self._forwarding is None:
            return
        await self._adopting.stop()
        await self._committing.stop()
        await self._forwarding.stop()
        for name in list(self._kept):
            await self._let_go(name)
        await self._finish(self._journal, self._committer, self._forwarding)
        await self._all_forwarding.aclose()
        self._journal = self._committer = self._committing = self._forwarding = None

    def sinks(self) -> tuple[SinkStatus, ...]:
        """How the sinks are, over all journals that this process reads."""
        return self._all_forwarding.statuses()

    def health(self) -> ServiceHealth:
        """The committer's health, which is what can go wrong for long."""
        if self._committing is None:
            return ServiceHealth(name=self.name, state="stopped")
        committing = self._committing.health()
        return ServiceHealth(
            name=self.name, state=committing.state, restarts=committing.restarts, last_error=committing.last_error
        )

    async def adopt_abandoned_slots(self) -> int:
        """Finish the work of processes that died without coming back; return the number of slots finished."""
        finished = 0
        waiting = abandoned_slots(self._directory)
        try:
            while waiting:
                if self._is_only_for_sinks(waiting[-1]):
                    waiting.pop().release()
                elif await self._store_answers(waiting[-1]):
                    finished += await self._adopt(waiting.pop())
                else:
                    break
        finally:
            for slot in waiting:
                slot.release()
        return finished

    async def _adopt(self, slot: Slot) -> bool:
        """Finish one slot; False when that has to wait. Where sinks need it longer than the ledger, it is kept."""
        try:
            journal = await self._open(slot)
        except LedgerUnavailable as error:
            log.warning("slot_not_adopted", slot=slot.name, reason=str(error))
            return False
        committer, forwarding = self._committer_of(journal), self._all_forwarding.of(journal)
        is_committed = False
        try:
            is_committed = await self._commit_all(journal, committer)
        finally:
            committer.close()
            if not is_committed or not self._keep(journal, forwarding):
                forwarding.close()
                journal.close()
                if slot.name in self._waits_for_sinks:
                    self._waits_for_sinks[slot.name] = _extent(slot)  # As it is closed: it is opened with more.
        if not is_committed:
            return False
        if slot.name in self._kept:
            await forwarding.start_finishing()
        log.info("slot_adopted", slot=slot.name)
        return True

    def _keep(self, journal: Journal, forwarding: JournalForwarding) -> bool:
        """Keep a slot until the sinks have read it; False when they have, or when there is no room for more."""
        if journal.retention.all_have_read(journal.producer_id, journal.last_seq):
            return False
        if len(self._kept) >= _KEPT_SLOTS_MAX:
            self._waits_for_sinks[journal.slot.name] = _extent(journal.slot)
            return False
        self._waits_for_sinks.pop(journal.slot.name, None)
        self._kept[journal.slot.name] = _KeptSlot(journal=journal, forwarding=forwarding)
        return True

    def _is_only_for_sinks(self, slot: Slot) -> bool:
        """Whether there is no room for a slot of which only sinks need something. Who had it since may have added."""
        return len(self._kept) >= _KEPT_SLOTS_MAX and self._waits_for_sinks.get(slot.name) == _extent(slot)

    async def _let_go(self, name: str) -> None:
        kept = self._kept.pop(name)
        await kept.forwarding.stop()
        kept.forwarding.close()
        kept.journal.close()

    async def _adopt_for_ever(self) -> None:
        while True:
            await self.adopt_abandoned_slots()
            for name in [name for name, kept in self._kept.items() if kept.forwarding.is_finished]:
                await self._let_go(name)
            await self._clock.sleep(_ADOPTION_INTERVAL_SECONDS)

    async def _open(self, slot: Slot) -> Journal:
        try:
            return open_journal(
                slot,
                limits=self._journal_limits,
                clock=self._clock,
                metrics=self._metrics,
                confirmed=await self._ask_watermarks(slot) if self._continues_producers else {},
            )
        except BaseException:
            slot.release()
            raise

    async def _finish(self, journal: Journal, committer: Committer, forwarding: JournalForwarding) -> None:
        """Commit and send a journal to its end, within the limits of time, and close it."""
        try:
            await self._commit_all(journal, committer)
            await forwarding.drain(min(self._drain_seconds, _SINK_DRAIN_SECONDS))
        finally:
            committer.close()
            forwarding.close()
            journal.close()

    async def _commit_all(self, journal: Journal, committer: Committer) -> bool:
        """Commit a journal to its end; False when the store did not take everything in time."""
        try:
            journal.write_waiting_events()
            async with asyncio.timeout(self._drain_seconds):
                await committer.drain()
        except (StoreUnavailable, LedgerUnavailable, TimeoutError) as error:
            log.warning("journal_left", slot=journal.slot.name, events=journal.pending_events, reason=str(error))
            return False
        await self._on_finished(journal.producer_id)
        return True

    async def _ask_watermarks(self, slot: Slot) -> dict[str, int]:
        """Return what the store says of the slot's producer; nothing when it does not answer at once."""
        confirmed = {}
        for producer_id in producers_to_ask(slot):
            try:
                async with asyncio.timeout(_WATERMARK_SECONDS):
                    confirmed[producer_id] = await self._store.watermark(producer_id)
            except (StoreUnavailable, TimeoutError) as error:
                log.warning("watermark_unknown", slot=slot.name, reason=str(error))
        return confirmed

    async def _store_answers(self, slot: Slot) -> bool:
        return not producers_to_ask(slot) or bool(await self._ask_watermarks(slot))

    def _committer_of(self, journal: Journal) -> Committer:
        return Committer(
            journal=journal,
            store=self._store,
            limits=self._committer_limits,
            clock=self._clock,
            metrics=self._metrics,
        )
