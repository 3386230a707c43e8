"""The forwarder: sends one journal's events to one sink, in order, until they are there.

It reads beside the committer and waits for nothing but its sink. What it has sent it notes in its cursor; what it was
about to send when the process died it sends again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.ledger.journal_reader import JournalReader, Run
from tallystick.ledger.retention import first_ordinal_with
from tallystick.ledger.segments import Segment
from tallystick.ledger.sinks.cursor import MissedRange, passed_seq, read_cursor, write_cursor
from tallystick.ledger.sinks.meter import SinkMeter
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel, SinkPlan
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text

log = structlog.get_logger()

_DECODE_SLICE: Final = 200
_REASON_LENGTH_MAX: Final = 300
_PARCEL_BYTES_MAX: Final = 8 << 20


@dataclass(slots=True)
class _Tally:
    """What became of a run's events; it counts when the cursor passes them."""

    sent: int = 0
    refused: int = 0
    unreadable: int = 0


class Forwarder:
    """A `SegmentHolder`. `run` goes on until cancelled; `finish` until the journal is read; `drain` does not wait."""

    def __init__(self, *, journal: Journal, plan: SinkPlan, meter: SinkMeter, clock: Clock) -> None:
        self._journal = journal
        self._name = plan.name
        self._sink = plan.sink
        self._terms = plan.terms
        self._meter = meter
        self._clock = clock
        self._cursor = read_cursor(journal.slot.directory, plan.name)
        self._reader = JournalReader(journal, collects_intents=plan.sink.wants_starts)
        self._decode = msgspec.msgpack.Decoder(SpendEvent).decode
        self._reached = 0
        """The ordinal of a segment before which nothing is left, although the cursor may not say so."""
        self._tally = _Tally()
        self._woken = asyncio.Event()
        journal.retention.hold(self)
        journal.on_event.append(self._woken.set)
        if plan.sink.wants_starts:
            journal.on_intent.append(self._woken.set)

    async def run(self) -> None:
        """Send what comes, for ever; gather for a moment first, so that one request carries many events."""
        while True:
            self._woken.clear()
            moved = await self._forward_next(retry=True)
            if moved is None:
                await self._woken.wait()
            elif moved >= self._terms.batch_events_max or self._waiting_events >= self._terms.batch_events_max:
                continue
            await self._clock.sleep(self._terms.batch_wait_seconds)

    async def finish(self) -> None:
        """Send everything that is in the journal, however long the sink is away."""
        while await self._forward_next(retry=True) is not None:
            pass

    async def drain(self) -> None:
        """Send everything that is in the journal now. Raises SinkUnavailable instead of trying again."""
        while await self._forward_next(retry=False) is not None:
            pass

    def close(self) -> None:
        """Let go of the files. What the cursor has not passed stays in the journal, for whoever opens it next."""
        self._reader.close()
        self._meter.forget(self._journal.slot.name)

    # SegmentHolder

    @property
    def may_be_left_behind(self) -> bool:
        return self._terms.at_limit == "skip"

    def first_needed(self) -> int:
        found = first_ordinal_with(self._journal.segments, self._cursor.producer_id, self._cursor.seq + 1)
        return max(found, self._reached)

    def has_read(self, producer_id: str, last_seq: int) -> bool:
        if self._cursor.producer_id == producer_id:
            return self._cursor.seq >= last_seq
        # Nothing of this producer was sent; where it has no event here either, nothing is left.
        return all(each.producer_id == producer_id and each.first_seq > last_seq for each in self._journal.segments)

    def miss(self, segment: Segment, last_seq: int) -> None:
        if last_seq < segment.first_seq:
            return
        missed, first_seq = self._cursor.missed, segment.first_seq
        # One range for each producer: however long the sink is away, this stays short.
        if missed and missed[-1].producer_id == segment.producer_id:
            *missed, before = missed
            first_seq = before.first_seq
        added = MissedRange(producer_id=segment.producer_id, first_seq=first_seq, last_seq=last_seq)
        self._cursor.missed = [*missed, added]
        self._write_cursor()

    # Inside

    async def _forward_next(self, *, retry: bool) -> int | None:
        """Send the next parcel; return how many numbers were passed, and None when there is nothing to send."""
        self._count_missed()
        producer_id = self._reader.producer_id
        if producer_id is None:
            return None
        try:
            run = self._reader.next_run(
                self._limit(producer_id), above=self._passed(producer_id), bytes_max=_PARCEL_BYTES_MAX
            )
            intents = self._reader.take_intents()
            if run is None and not intents:
                return self._go_on()
            self._tally = _Tally()
            parcel = await self._parcel_of(run, intents)
            if run is not None:
                self._plan(run)
            await self._deliver(parcel, retry=retry)
        except BaseException:  # Cancelled too: whoever goes on must not go on behind what was only read.
            self._reader.rewind()
            raise
        self._note(run)
        return 0 if run is None else len(run.payloads)

    def _go_on(self) -> int | None:
        """Everything of the producer at the cursor is sent: go on to the next one, if there is one.

        The cursor stays where it is until there is an event: a producer without one leaves no trace in the slot.
        """
        advanced = self._reader.advance_producer()
        self._reached = self._reader.ordinal
        self._journal.retention.remove_passed()
        self._show_lag(None)
        return 0 if advanced else None

    def _passed(self, producer_id: str) -> int:
        """Return up to which number of a producer everything is done."""
        return passed_seq(self._cursor, [segment.producer_id for segment in self._journal.segments], producer_id)

    def _limit(self, producer_id: str) -> int:
        planned = self._cursor.sending - self._cursor.seq if producer_id == self._cursor.producer_id else 0
        return planned if planned > 0 else self._terms.batch_events_max

    def _plan(self, run: Run) -> None:
        """Note what is going to be sent. Numbers that are not there any more are counted."""
        cursor = self._cursor
        if run.producer_id == cursor.producer_id:
            self._skip(run.first_seq - cursor.seq - 1)
        cursor.producer_id = run.producer_id
        cursor.seq = run.first_seq - 1
        cursor.sending = cursor.seq + len(run.payloads)
        self._write_cursor()

    def _note(self, run: Run | None) -> None:
        cursor = self._cursor
        if run is not None:
            cursor.sent += self._tally.sent
            cursor.refused += self._tally.refused
            self._skip(self._tally.unreadable)
            cursor.seq, cursor.sending = cursor.sending, 0
            cursor.error, cursor.failing_since = "", None
            self._write_cursor()
            self._journal.retention.remove_passed()
        self._show_lag(None)

    async def _parcel_of(self, run: Run | None, intents: list[bytes]) -> Parcel:
        """Return what is wanted of a run, with the intents of calls that still run.

        What is charged more than once on purpose is in a parcel once, as some destinations ask for.
        """
        events: list[NumberedEvent] = []
        seen: set[str] = set()
        for index, payload in enumerate(run.payloads if run is not None else ()):
            assert run is not None
            if index % _DECODE_SLICE == _DECODE_SLICE - 1:
                await asyncio.sleep(0)
            event = self._event_of(payload)
            if event is None:
                self._tally.unreadable += 1
            elif self._terms.wants(event) and event.event_id not in seen:
                seen.add(event.event_id)
                events.append(NumberedEvent(event, run.producer_id, run.first_seq + index))
        started = (self._event_of(payload) for payload in intents)
        return Parcel(events=tuple(events), starts=tuple(event for event in started if event is not None))

    def _event_of(self, payload: bytes | None) -> SpendEvent | None:
        try:
            return None if payload is None else self._decode(payload)
        except msgspec.MsgspecError:
            return None

    async def _deliver(self, parcel: Parcel, *, retry: bool) -> None:
        """Send a parcel; find what the sink refuses by halves, and give up only that."""
        waiting = [parcel] if len(parcel) else []
        while waiting:
            part = waiting.pop()
            try:
                await self._send(part, retry=retry)
            except SinkRefused as error:
                if len(part) > 1:
                    waiting.extend(reversed(part.parts()))
                else:
                    self._give_up(part, error)
                continue
            self._tally.sent += len(part.events)
            self._meter.deliver(len(part.events))
            self._meter.recover(self._journal.slot.name)

    async def _send(self, part: Parcel, *, retry: bool) -> None:
        pause = self._terms.retry_seconds_min
        while True:
            self._show_lag(part)
            try:
                async with asyncio.timeout(self._terms.timeout_seconds):
                    return await self._sink.send(part)
            except TimeoutError:
                failure = SinkUnavailable(f"it did not answer within {self._terms.timeout_seconds:g} s")
            except SinkUnavailable as error:
                failure = error
            self._postpone(failure, pause)
            if not retry:
                raise failure
            wanted = min(failure.retry_after_seconds or 0.0, self._terms.retry_seconds_max)
            await self._clock.sleep(max(wanted, pause * random.uniform(0.5, 1.0)))  # noqa: S311 (jitter, not a secret)
            pause = min(pause * 2, self._terms.retry_seconds_max)

    def _postpone(self, failure: SinkUnavailable, pause: float) -> None:
        reason = mask_text(str(failure))[:_REASON_LENGTH_MAX]
        self._meter.postpone(self._journal.slot.name, reason)
        if reason != self._cursor.error:
            log.warning("sink_postponed", sink=self._name, reason=reason, pause_seconds=pause)
            self._cursor.error = reason
            self._cursor.failing_since = self._cursor.failing_since or self._clock.now()
            self._write_cursor()

    def _give_up(self, part: Parcel, error: SinkRefused) -> None:
        """Count one event that the sink refuses for itself. A start is a courtesy: its event follows."""
        for numbered in part.events:
            reason = mask_text(str(error))[:_REASON_LENGTH_MAX]
            log.error("event_refused_by_sink", sink=self._name, event_id=numbered.event.event_id, reason=reason)
            self._tally.refused += 1
            self._meter.refuse(1)

    def _count_missed(self) -> None:
        """Count what was removed before it was sent, and go on behind it."""
        cursor = self._cursor
        if not cursor.missed:
            return
        for missed in cursor.missed:
            is_same = missed.producer_id == cursor.producer_id
            first = max(missed.first_seq, cursor.seq + 1) if is_same else missed.first_seq
            if first <= missed.last_seq:
                self._skip(missed.last_seq - first + 1)
                cursor.producer_id, cursor.seq, cursor.sending = missed.producer_id, missed.last_seq, 0
        log.error("sink_left_behind", sink=self._name, slot=self._journal.slot.name, skipped=cursor.skipped)
        cursor.missed = []
        self._write_cursor()
        self._reader.rewind()

    def _skip(self, numbers: int) -> None:
        if numbers > 0:
            self._cursor.skipped += numbers
            self._meter.skip(numbers)

    @property
    def _waiting_events(self) -> int:
        """How many events are not sent; of those that another producer left, only some are known."""
        journal, cursor = self._journal, self._cursor
        if cursor.producer_id == journal.producer_id:
            return journal.last_seq - cursor.seq
        own = [segment.first_seq for segment in journal.segments if segment.producer_id == journal.producer_id]
        return journal.last_seq - min(own, default=journal.last_seq + 1) + 1

    def _show_lag(self, part: Parcel | None) -> None:
        oldest = part.events[0].event.ended_at if part is not None and part.events else None
        seconds = 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest).total_seconds())
        least = 0 if part is None else len(part.events)
        self._meter.set_lag(self._journal.slot.name, max(self._waiting_events, least), seconds)

    def _write_cursor(self) -> None:
        write_cursor(self._journal.slot.directory, self._name, self._cursor)
