"""The journal: a producer's local durable log. It is the queue between a call and the database.

    append_intent(event)   before the upstream is called: the call can't vanish any more
    append_event(event)    when the call is over: closes the intent, gives the event its number
    settled(seq)           waits as far as `journal_sync` promises: write, fsync or commit

An append is one write in the event loop. Space for the events of all running calls is set aside when their intents are
written, so a full disk refuses new calls and never loses the end of a running one.
"""

from __future__ import annotations

import asyncio
import bisect
import os
from collections import deque
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from tallystick.errors import LedgerUnavailable
from tallystick.ledger.copies import copied_work, leave_running_calls
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.frames import EVENT_KIND, INTENT_KIND, PAYLOAD_BYTES_MAX, PREFIX_BYTES, encode_frame
from tallystick.ledger.group_sync import GroupSync
from tallystick.ledger.retention import Retention
from tallystick.ledger.segments import Recovered, Segment, SegmentHeader, create_segment, recover
from tallystick.ledger.slots import ProducerRecord, Slot, current_boot_id, new_producer_id
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

# How much larger than its intent an event may get: usage, cost, attempts and an error message, all of them bounded.
_GROWTH_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """The journal's settings."""

    sync: Literal["fsync", "write", "commit"] = "fsync"
    bytes_max: int = 1 << 30
    segment_bytes: int = 16 << 20
    policy: Literal["reject", "shed"] = "reject"
    commit_wait_seconds: float = 10.0


class Journal:
    """One producer's log in one slot. Made by `open_journal`; used from one event loop."""

    def __init__(
        self,
        *,
        slot: Slot,
        limits: JournalLimits,
        clock: Clock,
        metrics: Metrics,
        recovered: Recovered,
        producer_id: str,
        last_seq: int,
        copied_producers: Collection[str] = (),
    ) -> None:
        self.slot = slot
        self.producer_id = producer_id
        self.last_seq = last_seq
        self.watermark = last_seq
        """What the store has confirmed of this producer's numbers; unknown until the committer has asked."""
        self.copied_producers = frozenset(copied_producers)
        """Whose events were copied with the slot: the original may hold more of theirs."""
        self.segments: deque[Segment] = deque(recovered.segments)
        self.appended = asyncio.Event()
        """Set by every event that is appended; the committer clears it."""
        self.retention = Retention(self.segments, self.remove_segment)
        self.on_event: list[Callable[[], None]] = []
        """Called when an event was appended."""
        self.on_intent: list[Callable[[], None]] = []
        """Called when an intent was appended."""
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._open: dict[str, bytes] = {}
        self._reserved_bytes = 0
        self._unwritten: deque[SpendEvent] = deque()
        self._commit_waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._encode = msgspec.msgpack.Encoder().encode
        self._sealed_bytes = sum(segment.size for segment in recovered.segments)
        self._fd = -1
        self._offset = 0
        self._header_bytes = 0
        self._segment_end = 0
        self._directory_fd = os.open(slot.directory, os.O_RDONLY | os.O_CLOEXEC)
        for event_id, payload in recovered.open_intents.items():
            self._keep_open(event_id, encode_frame(INTENT_KIND, 0, payload))
        self._sync = GroupSync(on_sync_seconds=metrics.journal_sync_seconds.observe, monotonic=clock.monotonic)

    # Appending

    def append_intent(self, event: SpendEvent) -> None:
        """Write down that a call is about to be dispatched, as it should read if nothing more is heard of it.

        Another intent of the same call stands in place of the one before.

        Raises LedgerUnavailable when the byte limit is reached or the disk is full, unless the policy is `shed`: then
        the call goes on without an intent.
        """
        frame = encode_frame(INTENT_KIND, 0, self._payload_of(event))
        reserve = len(frame) + _GROWTH_BYTES
        try:
            self._make_room(len(frame) + reserve)
            self._write(frame)
        except LedgerUnavailable:
            if self._limits.policy == "shed":
                return
            self._metrics.journal_rejected.inc()
            raise
        self._keep_open(event.event_id, frame)
        for tell in self.on_intent:
            tell()

    def append_event(self, event: SpendEvent) -> int | None:
        """Write the event of a call, close its intent, and return its number.

        None when the policy is `shed` and there is no room: then the event is lost, counted and reported. Raises
        LedgerUnavailable when the disk refuses; the event is kept in memory then and written as soon as it can be.
        """
        payload = self._payload_of(event)  # First: an event that can't be written must not close its intent.
        had_intent = self._close_intent(event.event_id)
        if not had_intent and self._limits.policy == "shed":
            return self._append_or_shed(event, payload)
        try:
            self.write_waiting_events()
            return self._append_numbered(payload)
        except LedgerUnavailable:
            self._unwritten.append(event)
            raise

    def append_interrupted(self, event_id: str, payload: bytes) -> None:
        """End a call of a process that died: its intent reads as its event should. Raises LedgerUnavailable."""
        # As it is, even when it can't be read: then it becomes a dead letter.
        self._append_numbered(payload)
        self._close_intent(event_id)

    def drop_intent(self, event_id: str) -> None:
        """Forget an intent of a call that was not dispatched after all: no upstream was asked for anything."""
        self._close_intent(event_id)

    def write_waiting_events(self) -> None:
        """Try again to write events that the disk refused. Raises LedgerUnavailable when it still does."""
        while self._unwritten:
            self._append_numbered(self._encode(self._unwritten[0]))
            self._unwritten.popleft()

    async def settled(self, seq: int) -> None:
        """Wait until event `seq` is as safe as `journal_sync` promises.

        Raises LedgerUnavailable when the disk refuses (fsync) or the database does not commit in time (commit).
        """
        if self._limits.sync == "fsync":
            await self._sync.durable(self._fd)
        elif self._limits.sync == "commit":
            try:
                async with asyncio.timeout(self._limits.commit_wait_seconds):
                    await self.committed(seq)
            except TimeoutError as error:
                raise LedgerUnavailable("the database did not commit the call in time; it will be committed") from error

    async def committed(self, seq: int) -> None:
        """Wait until the store has confirmed event `seq`, however long that takes."""
        if seq > self.watermark:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            bisect.insort(self._commit_waiters, (seq, future), key=itemgetter(0))
            await future

    # What the committer tells and asks

    def confirm(self, watermark: int) -> None:
        """Take note of what the store has committed of this producer's numbers."""
        self.watermark = watermark
        waiters = self._commit_waiters
        while waiters and waiters[0][0] <= watermark:
            _, future = waiters.popleft()
            if not future.done():
                future.set_result(None)
        self._metrics.journal_events_pending.set(self.pending_events)

    def remove_segment(self, segment: Segment) -> None:
        """Delete the oldest segment: every reader has passed its last event."""
        assert segment is self.segments[0]
        assert segment is not self.segments[-1], "the segment being written stays"
        self.segments.popleft()
        self._sealed_bytes -= segment.size
        segment.path.unlink(missing_ok=True)
        self._metrics.journal_bytes.set(self.size_bytes)

    def oldest_seq(self, producer_id: str) -> int:
        """Return the lowest number of a producer that the segments still hold or will hold."""
        firsts = [segment.first_seq for segment in self.segments if segment.producer_id == producer_id]
        return min(firsts, default=self.last_seq + 1)

    @property
    def pending_events(self) -> int:
        """How many of this producer's events the store has not confirmed, as far as is known."""
        return max(0, self.last_seq - self.watermark)

    @property
    def last_waiting_seq(self) -> int:
        """The number that the newest event gets which the disk refused; they are written in their order."""
        return self.last_seq + len(self._unwritten)

    @property
    def open_calls(self) -> int:
        return len(self._open)

    @property
    def size_bytes(self) -> int:
        return self._sealed_bytes + self._offset

    @property
    def has_room(self) -> bool:
        """Whether a new call would be taken, as far as is known without writing."""
        needed = 2 * _GROWTH_BYTES
        return self._limits.policy == "shed" or not self._is_full(needed) or self.retention.may_give_way

    @property
    def commits_at_once(self) -> bool:
        """Whether callers wait for the database, so that the committer should not gather first."""
        return self._limits.sync == "commit"

    # Opening and closing

    def begin_segment(self) -> None:
        """Start a new segment with the intents that are open. Raises LedgerUnavailable when the disk refuses."""
        intents = b"".join(self._open.values())
        size = max(self._limits.segment_bytes, 2 * (len(intents) + self._reserved_bytes))
        ordinal = self.segments[-1].ordinal + 1 if self.segments else 1
        header = SegmentHeader(producer_id=self.producer_id, first_seq=self.last_seq + 1)
        try:
            fd, offset = create_segment(self.slot, ordinal=ordinal, header=header, intents=intents, size=size)
        except OSError as error:
            raise LedgerUnavailable(f"the journal can't grow: {error.strerror or error}") from error
        if self._fd >= 0:
            os.ftruncate(self._fd, self._offset)  # What it did not need counts against no limit, so it must not stay.
            self._sync.retire(self._fd)
            self._sealed_bytes += self._offset
        self._fd, self._offset, self._segment_end = fd, offset, size
        self._header_bytes = offset - len(intents)
        self._sync.mark_dirty(self._directory_fd)
        self.segments.append(
            Segment(
                ordinal=ordinal,
                path=self.slot.segment_path(ordinal),
                producer_id=self.producer_id,
                first_seq=header.first_seq,
                size=offset,
            )
        )
        self._metrics.journal_bytes.set(self.size_bytes)

    def close(self) -> None:
        """End writing and free the slot. When the store has confirmed everything, no segment is left behind.

        What is appended later is refused: the slot may have its next owner, and the file descriptor another file.
        """
        self._sync.retire(self._fd)
        self._sync.close()
        self._fd = -1
        try:
            self._tidy_up()
        except OSError as error:  # Most likely the disk is full. The files are right as they are, only larger.
            log.warning("journal_not_tidied", slot=self.slot.name, reason=error.strerror or str(error))
        finally:
            os.close(self._directory_fd)
            self.slot.release()

    def abandon(self) -> None:
        """Let go of the files, which stay as they are. The slot stays held."""
        if self._fd >= 0:
            self._sync.retire(self._fd)
        self._sync.close()
        os.close(self._directory_fd)

    # Inside

    def _tidy_up(self) -> None:
        """Leave no file that the next owner of the slot does not need. Raises OSError."""
        is_empty = (
            len(self.segments) == 1
            and not self._open
            and not self._unwritten
            and self.watermark >= self.last_seq
            and self.retention.all_have_read(self.producer_id, self.last_seq)
        )
        if is_empty:
            self.slot.write_producer(
                ProducerRecord(
                    producer_id=self.producer_id,
                    boot_id=current_boot_id(),
                    place=self.slot.place(),
                    last_seq=self.last_seq,
                )
            )
            self.segments.pop().path.unlink(missing_ok=True)
        elif self._offset == self._header_bytes and len(self.segments) > 1:
            # Nothing came into it: a slot that is opened again and again must not grow by a file each time.
            self.segments.pop().path.unlink(missing_ok=True)
        else:
            os.truncate(self.segments[-1].path, self._offset)

    def _payload_of(self, event: SpendEvent) -> bytes:
        payload = self._encode(event)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise AssertionError(f"an event of {len(payload)} bytes: its texts were not capped")
        return payload

    def _append_or_shed(self, event: SpendEvent, payload: bytes) -> int | None:
        """Write an event for which no room was set aside; lose it, counted, when there is none."""
        try:
            self._make_room(len(payload) + PREFIX_BYTES)
            return self._append_numbered(payload)
        except LedgerUnavailable:
            self._shed(event)
            return None

    def _append_numbered(self, payload: bytes) -> int:
        seq = self.last_seq + 1
        self._write(encode_frame(EVENT_KIND, seq, payload))
        self.last_seq = seq
        self._metrics.journal_appends.inc()
        self.appended.set()
        for tell in self.on_event:
            tell()
        return seq

    def _write(self, frame: bytes) -> None:
        if self._fd < 0:
            raise LedgerUnavailable("the journal is closed: the server is stopping")
        try:
            written = os.pwrite(self._fd, frame, self._offset)
        except OSError as error:
            raise LedgerUnavailable(f"the journal can't be written: {error.strerror}") from error
        if written != len(frame):  # What was written is no whole frame; the next append overwrites it.
            raise LedgerUnavailable("the journal can't be written: the disk took only a part")
        self._offset += written
        self.segments[-1].size = self._offset

    def _make_room(self, needed: int) -> None:
        while self._is_full(needed) and self.retention.give_way():
            pass
        if self._is_full(needed):
            raise LedgerUnavailable(
                f"the journal is full: {self.size_bytes} of {self._limits.bytes_max} bytes wait for the database"
            )
        if self._unwritten:
            self.write_waiting_events()
        if self._fd >= 0 and self._offset + self._reserved_bytes + needed > self._segment_end:
            self._go_on_in_another_segment()

    def _go_on_in_another_segment(self) -> None:
        """Begin a segment; where the disk has no room for it, readers that may be left behind give way."""
        while True:
            try:
                return self.begin_segment()
            except LedgerUnavailable:
                if not self.retention.give_way():
                    raise

    def _is_full(self, needed: int) -> bool:
        return self.size_bytes + self._reserved_bytes + needed > self._limits.bytes_max

    def _keep_open(self, event_id: str, frame: bytes) -> None:
        self._close_intent(event_id)
        self._open[event_id] = frame
        self._reserved_bytes += len(frame) + _GROWTH_BYTES

    def _close_intent(self, event_id: str) -> bool:
        frame = self._open.pop(event_id, None)
        if frame is None:
            return False
        self._reserved_bytes -= len(frame) + _GROWTH_BYTES
        return True

    def _shed(self, event: SpendEvent) -> None:
        self._metrics.journal_shed.inc()
        self._metrics.journal_shed_nano_usd.inc(event.cost_nano_usd)
        log.error("event_shed", event_id=event.event_id, cost_nano_usd=event.cost_nano_usd)


def open_journal(
    slot: Slot,
    *,
    limits: JournalLimits,
    clock: Clock,
    metrics: Metrics,
    confirmed: dict[str, int],
) -> Journal:
    """Open a slot for writing: recover what is in it, and end the calls that were running as `interrupted`.

    `confirmed` holds the watermarks of the producers that the store could be asked about. The slot's producer goes on
    numbering only when nothing can have been lost below its last number, and nobody else can go on from there: same
    boot, same directory, and the store knows no higher number. Otherwise a new producer begins, so that no number is
    ever given twice. Raises LedgerUnavailable.
    """
    try:
        place = slot.place()
        recovered = recover(slot)
        record = slot.read_producer()
    except OSError as error:
        raise LedgerUnavailable(f"journal slot {slot.directory} can't be read: {error.strerror}") from error
    is_copy = record is not None and not record.place.is_same_directory(place)
    copied = copied_work(recovered, record, is_copy=is_copy)
    recovered = leave_running_calls(slot, recovered, copied)
    if recovered.torn_bytes:
        metrics.journal_torn_tails.inc()
        log.warning("journal_tail_cut", slot=slot.name, bytes=recovered.torn_bytes)
    producer_id, last_seq = _continue_numbers(
        recovered, None if is_copy else record, confirmed=confirmed, renumbered=slot.read_renumbered()
    )
    try:
        slot.write_producer(
            ProducerRecord(producer_id=producer_id, boot_id=current_boot_id(), place=place, copied=copied)
        )
    except OSError as error:
        raise LedgerUnavailable(f"journal slot {slot.directory} can't be written: {error.strerror}") from error
    journal = Journal(
        slot=slot,
        limits=limits,
        clock=clock,
        metrics=metrics,
        recovered=recovered,
        producer_id=producer_id,
        last_seq=last_seq,
        copied_producers=copied.producer_ids if copied else (),
    )
    journal.watermark = confirmed.get(producer_id, 0)
    try:
        # The new segment takes the open intents along: when this process dies before it has ended them, the next does.
        journal.begin_segment()
        for event_id, payload in recovered.open_intents.items():
            journal.append_interrupted(event_id, payload)
            metrics.interrupted_events.inc()
            log.warning("call_interrupted", event_id=event_id, slot=slot.name)
    except BaseException:
        journal.abandon()
        raise
    return journal


def _continue_numbers(
    recovered: Recovered,
    record: ProducerRecord | None,
    *,
    confirmed: dict[str, int],
    renumbered: Container[str],
) -> tuple[str, int]:
    """Return who numbers the next events, and the last number given."""
    if record is None or record.boot_id != current_boot_id() or not record.boot_id:
        return new_producer_id(), 0
    if recovered.producer_id == record.producer_id:
        last_seq: int | None = recovered.last_seq
    else:
        last_seq = record.last_seq if not recovered.segments else None
    watermark = None if record.producer_id in renumbered else confirmed.get(record.producer_id)
    if last_seq is None or watermark is None or watermark > last_seq:
        return new_producer_id(), 0
    if not recovered.segments and watermark < last_seq:
        return new_producer_id(), 0  # The store lost what it had confirmed: it was restored from a backup.
    return record.producer_id, last_seq


def producers_to_ask(slot: Slot) -> list[str]:
    """Return the producer whose watermark decides whether a slot's numbers go on."""
    record = slot.read_producer()
    return [record.producer_id] if record else []


def journal_size(root: Path) -> int:
    """Return the bytes that all segments below the journal directory take."""
    return sum(path.stat().st_size for path in root.glob("slot-*/*.journal"))
