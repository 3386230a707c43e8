"""The committer: delivers a journal's events to the store, in order, until they are there.

The store's watermark is the only truth about what was committed. A lost reply, a retry, a second committer with the
same events: all end with the watermark saying where to go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from tallystick.errors import EventRepeated, RowRefused, StoreUnavailable
from tallystick.ledger.batch import Batch, DeadLetter
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.ledger.journal_reader import JournalReader, Run
from tallystick.ledger.slots import Renumbering, new_producer_id
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

REPEATED = "the ledger has an event of this id already: it is counted, this one is not"
"""The reason of a dead letter that nobody has to look at. It carries no money."""
# So many events are decoded before the event loop gets a turn: about a millisecond.
_DECODE_SLICE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitterLimits:
    """The committer's settings."""

    batch_events_max: int = 20_000
    batch_wait_seconds: float = 0.1
    retry_seconds_min: float = 0.05
    retry_seconds_max: float = 5.0


class Committer:
    """Reads one journal and commits it. `run` goes on until cancelled; `drain` until the journal is empty."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: LedgerStore,
        limits: CommitterLimits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._journal = journal
        self._store = store
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._reader = JournalReader(journal)
        self._decode = msgspec.msgpack.Decoder(SpendEvent).decode
        self._watermarks: dict[str, int] = {}
        self._renumbered = journal.slot.read_renumbered()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Commit what comes, for ever; gather for a moment first, so that one transaction carries many events."""
        while True:
            self._journal.appended.clear()
            async with self._turn:
                if await self._commit_next(retry=True):
                    continue
            await self._journal.appended.wait()
            if not self._journal.commits_at_once:
                await self._gather()

    async def drain(self) -> None:
        """Commit everything that is in the journal now. Raises StoreUnavailable instead of waiting for the database."""
        async with self._turn:
            while await self._commit_next(retry=False):
                pass

    def close(self) -> None:
        self._reader.close()

    async def _gather(self) -> None:
        """Wait until a batch is full or its first event has waited long enough."""
        deadline = self._clock.monotonic() + self._limits.batch_wait_seconds
        while self._journal.pending_events < self._limits.batch_events_max:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            await self._clock.sleep(min(left, 0.02))

    async def _commit_next(self, *, retry: bool) -> bool:
        """Commit the next run; False when there is none."""
        producer_id = self._reader.producer_id
        if producer_id is None:
            return False
        if producer_id not in self._watermarks:
            await self._learn_watermark(producer_id, retry=retry)
        run = self._reader.next_run(self._limits.batch_events_max, above=self._watermarks[producer_id])
        if self._reader.damaged_segments:
            self._metrics.journal_damaged_segments.inc(self._reader.damaged_segments)
            self._reader.damaged_segments = 0
        if run is None:
            self._reader.release()
            self._metrics.commit_lag_seconds.set(0)
            return self._reader.advance_producer()
        if self._may_be_elsewhere(producer_id) and None in run.payloads:
            await self._commit_before_gap(run, retry=retry)
            return True
        try:
            await self._deliver(producer_id, await self._decode_run(run), retry=retry)
        except BaseException:  # Cancelled too: whoever goes on must not go on behind what was only read.
            self._reader.rewind()
            raise
        self._reader.release()  # Not before: a run may end segments behind the one in which it began.
        return True

    def _may_be_elsewhere(self, producer_id: str) -> bool:
        """Whether numbers that are missing here may be in the journal that this one was copied from."""
        return producer_id in self._journal.copied_producers and producer_id not in self._renumbered

    async def _commit_before_gap(self, run: Run, *, retry: bool) -> None:
        """Commit a run of a copied slot up to the first number that is missing; let the rest go by another name.

        The original may have what is missing: its file was still written while it was copied. Were it called lost by
        this name, the original's events would count as repetitions.
        """
        self._reader.rewind()  # First: whatever happens, nothing is let go of that was only read.
        whole = run.payloads.index(None)
        if whole:
            part = run._replace(payloads=run.payloads[:whole])
            await self._deliver(run.producer_id, await self._decode_run(part), retry=retry)
            return
        self._renumber(run.producer_id, oldest_seq=run.first_seq, reason="a copied journal has not all of its events")

    async def _decode_run(self, run: Run) -> Batch:
        """Turn payloads into events; one that can't be decoded becomes a dead letter."""
        name, offset = self._store_number(run.producer_id)
        numbers: list[int] = []
        events: list[SpendEvent] = []
        letters: list[DeadLetter] = []
        for index, payload in enumerate(run.payloads):
            if index % _DECODE_SLICE == _DECODE_SLICE - 1:
                await asyncio.sleep(0)
            seq = run.first_seq - offset + index
            if payload is None:
                letters.append(_lost(seq, b"", "the journal's frame was damaged"))
                continue
            try:
                events.append(self._decode(payload))
                numbers.append(seq)
            except msgspec.MsgspecError as error:
                letters.append(_lost(seq, payload, f"the event can't be read: {error}"))
        first_seq = run.first_seq - offset
        return Batch(
            producer_id=name,
            first_seq=first_seq,
            last_seq=first_seq + len(run.payloads) - 1,
            numbers=tuple(numbers),
            events=tuple(events),
            dead_letters=tuple(letters),
        )

    async def _deliver(self, producer_id: str, batch: Batch, *, retry: bool) -> None:
        """Commit a batch; isolate what the store refuses for itself by bisection."""
        if batch.events:
            lag = self._clock.now() - batch.events[0].ended_at
            self._metrics.commit_lag_seconds.set(max(0.0, lag.total_seconds()))
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            try:
                watermark = await self._persist(partial(self._store.commit, part), retry=retry)
            except RowRefused as error:
                self._metrics.commits.labels("refused").inc()
                waiting.extend(self._smaller(part, error))
                continue
            self._note(producer_id, watermark)
            if watermark < part.last_seq:
                self._go_back(producer_id, part, watermark)
                await self._clock.sleep(self._limits.retry_seconds_min)
                return
            self._metrics.commits.labels("committed").inc()
            self._metrics.committed_events.inc(len(part.events))
            self._metrics.dead_letters.inc(len(part.dead_letters))

    def _smaller(self, part: Batch, error: RowRefused) -> list[Batch]:
        """Return the halves of a refused batch, the first one last; a single event becomes a dead letter."""
        if len(part.events) + len(part.dead_letters) > 1:
            first, second = part.halves()
            return [second, first]
        if not part.events:
            raise StoreUnavailable(f"the store refuses a dead letter: {error}") from error
        event = part.events[0]
        # What is charged more than once on purpose, so that it is charged for certain, counts once: its money is there.
        is_repeated = isinstance(error, EventRepeated)
        if is_repeated:
            log.info("event_repeated", event_id=event.event_id, seq=part.first_seq)
        else:
            log.error("event_refused", event_id=event.event_id, seq=part.first_seq, reason=str(error))
        letter = DeadLetter(
            seq=part.first_seq,
            event_id=event.event_id,
            reason=REPEATED if is_repeated else _printable(str(error)),
            cost_nano_usd=0 if is_repeated else event.cost_nano_usd,
            payload=msgspec.msgpack.encode(event),
        )
        return [msgspec.structs.replace(part, numbers=(), events=(), dead_letters=(letter,))]

    async def _persist(self, ask: Callable[[], Awaitable[int]], *, retry: bool) -> int:
        """Ask the store until it answers, with a growing, jittered pause between tries."""
        pause = self._limits.retry_seconds_min
        while True:
            begun = self._clock.monotonic()
            try:
                answer = await ask()
            except StoreUnavailable as error:
                self._metrics.commit_retries.inc()
                self._metrics.commits.labels("postponed").inc()
                if not retry:
                    raise
                log.warning("commit_postponed", reason=str(error), pause_seconds=pause)
                await self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, not a secret)
                pause = min(pause * 2, self._limits.retry_seconds_max)
                continue
            self._metrics.commit_seconds.observe(self._clock.monotonic() - begun)
            return answer

    # Watermarks

    async def _learn_watermark(self, producer_id: str, *, retry: bool) -> None:
        name, _ = self._store_number(producer_id)
        self._note(producer_id, await self._persist(partial(self._store.watermark, name), retry=retry))

    def _note(self, producer_id: str, watermark: int) -> None:
        """Remember a watermark as the store tells it, in the journal's numbers."""
        watermark += self._store_number(producer_id)[1]
        self._watermarks[producer_id] = watermark
        if producer_id == self._journal.producer_id:
            self._journal.confirm(watermark)

    def _store_number(self, producer_id: str) -> tuple[str, int]:
        """Return under which name the store knows a producer, and what to take off its numbers."""
        renumbered = self._renumbered.get(producer_id)
        return (renumbered.store_id, renumbered.offset) if renumbered else (producer_id, 0)

    def _go_back(self, producer_id: str, part: Batch, watermark: int) -> None:
        """The store stands elsewhere than the reader: go back, and renumber what it can't accept any more.

        A store that was restored from a backup knows fewer numbers than the journal has let go of. What is left is
        delivered under a new name, numbered from 1, so that nothing waits for numbers that will never come.
        """
        oldest = self._journal.oldest_seq(producer_id)
        if watermark + 1 >= part.first_seq or oldest <= self._watermarks[producer_id] + 1:
            self._reader.rewind()
            return
        reason = f"the store has lost events that it had confirmed: it stands at {watermark}"
        self._renumber(producer_id, oldest_seq=oldest, reason=reason)
        self._reader.rewind()

    def _renumber(self, producer_id: str, *, oldest_seq: int, reason: str) -> None:
        """Deliver a producer's events from `oldest_seq` on under a new name, numbered from 1."""
        log.error("producer_renumbered", producer_id=producer_id, oldest_seq=oldest_seq, reason=reason)
        self._renumbered[producer_id] = Renumbering(store_id=new_producer_id(), offset=oldest_seq - 1)
        self._journal.slot.write_renumbered(self._renumbered)
        self._watermarks.pop(producer_id)


def _lost(seq: int, payload: bytes, reason: str) -> DeadLetter:
    log.error("event_lost", seq=seq, reason=reason)
    return DeadLetter(seq=seq, event_id="", reason=_printable(reason), cost_nano_usd=0, payload=payload)


def _printable(text: str) -> str:
    return text.replace("\0", "\\0")[:1000]
