"""The committer delivers each event of a journal once, whatever the store answers and whenever the process dies."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import shutil
import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger_kit import crash, journal_in, make_event, value_of
from tallystick.errors import LedgerUnavailable, StoreUnavailable
from tallystick.ledger.batch import fold
from tallystick.ledger.committer import Committer, CommitterLimits
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.frames import INTENT_KIND, encode_frame
from tallystick.ledger.journal import Journal, JournalLimits, open_journal
from tallystick.ledger.slots import claim_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore

ONE_CALL = 1024
"""So small a segment that each call begins a new one."""


def committer_of(journal: Journal, store: MemoryStore, *, metrics: Metrics | None = None, **limits: Any) -> Committer:
    quick = {"batch_wait_seconds": 0.0, "retry_seconds_min": 0.001, "retry_seconds_max": 0.002, **limits}
    return Committer(
        journal=journal,
        store=store,
        limits=CommitterLimits(**quick),
        clock=SystemClock(),
        metrics=metrics or Metrics(),
    )


def append_calls(journal: Journal, count: int, **fields: Any) -> list[SpendEvent]:
    """Write calls as they come: the intent, then the event."""
    events = [make_event(**fields) for _ in range(count)]
    for event in events:
        journal.append_intent(event)
        journal.append_event(event)
    return events


def committed(store: MemoryStore) -> list[SpendEvent]:
    return [found.event for found in store.books.events]


def assert_adds_up(store: MemoryStore) -> None:
    assert store.books.audit(difference_limit=10).differences == ()


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


# The ordinary way


@pytest.mark.parametrize("segment_bytes", [ONE_CALL, 64 * 1024])
async def test_events_arrive_once_and_in_order(tmp_path: Path, segment_bytes: int) -> None:
    journal, store = journal_in(tmp_path, segment_bytes=segment_bytes), MemoryStore()
    committer = committer_of(journal, store, batch_events_max=7)

    events = append_calls(journal, 20)
    await committer.drain()
    events += append_calls(journal, 5)
    await committer.drain()

    assert committed(store) == events
    assert journal.pending_events == 0
    assert len(journal.segments) == 1  # What is committed is let go.
    assert_adds_up(store)
    committer.close()
    journal.close()
    assert journal.slot.segments() == []


async def test_running_it_commits_what_comes(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    committer = committer_of(journal, store)
    running = asyncio.create_task(committer.run())
    events = append_calls(journal, 3)
    await wait_for(lambda: len(committed(store)) == 3)
    events += append_calls(journal, 3)
    await wait_for(lambda: len(committed(store)) == 6)
    running.cancel()
    assert committed(store) == events
    committer.close()
    journal.close()


# The store fails


async def test_a_reply_that_was_lost_counts_once(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    committer = committer_of(journal, store, batch_events_max=4)
    store.lose_reply_next(3)
    events = append_calls(journal, 10)

    running = asyncio.create_task(committer.run())
    await wait_for(lambda: journal.pending_events == 0)
    running.cancel()

    assert committed(store) == events
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_a_store_that_was_away_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    journal, store, metrics = journal_in(tmp_path, segment_bytes=ONE_CALL), MemoryStore(), Metrics()
    committer = committer_of(journal, store, metrics=metrics)
    store.away = True
    running = asyncio.create_task(committer.run())
    events = append_calls(journal, 10)
    await wait_for(lambda: value_of(metrics.commit_retries) >= 3)
    events += append_calls(journal, 10)
    store.away = False
    await wait_for(lambda: journal.pending_events == 0)
    running.cancel()

    assert committed(store) == events
    committer.close()
    journal.close()


async def test_a_drain_that_failed_loses_nothing(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path, segment_bytes=ONE_CALL), MemoryStore()
    committer = committer_of(journal, store)
    events = append_calls(journal, 3)
    await committer.drain()
    events += append_calls(journal, 7)
    store.fail_next()
    with pytest.raises(StoreUnavailable):
        await committer.drain()

    events += append_calls(journal, 2)
    await committer.drain()

    assert committed(store) == events
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_what_was_read_and_not_committed_survives_the_process(tmp_path: Path) -> None:
    """A run spans segments: none of them may go before the store has what is in it."""
    journal, store = journal_in(tmp_path, segment_bytes=ONE_CALL), MemoryStore()
    committer = committer_of(journal, store)
    events = append_calls(journal, 10)
    await committer._learn_watermark(journal.producer_id, retry=False)
    store.away = True
    with pytest.raises(StoreUnavailable):
        await committer.drain()
    committer.close()
    crash(journal)

    store.away = False
    again = journal_in(tmp_path, confirmed=dict(store.books.watermarks))
    following = committer_of(again, store)
    await following.drain()

    assert committed(store) == events
    following.close()
    again.close()


async def test_a_committer_stopped_in_the_middle_of_a_commit_is_drained(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path, segment_bytes=ONE_CALL), MemoryStore()
    committer = committer_of(journal, store)
    store.away = True
    running = asyncio.create_task(committer.run())
    events = append_calls(journal, 10)
    await wait_for(lambda: "watermark" in store.calls)
    store.away = False
    store.fail_next(1)
    await wait_for(lambda: "commit" in store.calls)
    running.cancel()
    await asyncio.wait([running])

    await committer.drain()

    assert committed(store) == events
    assert_adds_up(store)
    committer.close()
    journal.close()


# The store refuses


async def test_refused_events_become_dead_letters_with_their_numbers_and_money(tmp_path: Path) -> None:
    journal, store, metrics = journal_in(tmp_path), MemoryStore(), Metrics()
    committer = committer_of(journal, store, metrics=metrics)
    store.refuse(lambda event: event.user_id == "poison")
    events = [make_event(user_id="poison" if n in (3, 4, 17) else "u", cost_nano_usd=n) for n in range(1, 21)]
    for event in events:
        journal.append_event(event)

    await committer.drain()

    letters = {letter.seq: letter for _, letter in store.books.dead_letters}
    assert sorted(letters) == [3, 4, 17]
    assert [letters[n].cost_nano_usd for n in (3, 4, 17)] == [3, 4, 17]
    assert letters[4].event_id == events[3].event_id
    assert "refuse" in letters[4].reason
    assert msgspec.msgpack.decode(letters[4].payload, type=SpendEvent) == events[3]
    assert committed(store) == [event for event in events if event.user_id != "poison"]
    assert [found.seq for found in store.books.events] == [n for n in range(1, 21) if n not in letters]
    assert value_of(metrics.dead_letters) == 3
    assert journal.pending_events == 0
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_a_store_that_refuses_everything_never_blocks_the_journal(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    committer = committer_of(journal, store)
    store.refuse(lambda _event: True)
    append_calls(journal, 9)
    await committer.drain()
    store.refuse(None)
    events = append_calls(journal, 2)
    await committer.drain()

    assert len(store.books.dead_letters) == 9
    assert committed(store) == events
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_a_payload_that_is_no_event_becomes_a_dead_letter(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    committer = committer_of(journal, store)
    events = append_calls(journal, 2)
    journal._append_numbered(msgspec.msgpack.encode({"event_id": "e", "status": 7}))
    events += append_calls(journal, 2)

    await committer.drain()

    ((_, letter),) = store.books.dead_letters
    assert (letter.seq, letter.cost_nano_usd) == (3, 0)
    assert "can't be read" in letter.reason
    assert msgspec.msgpack.decode(letter.payload) == {"event_id": "e", "status": 7}
    assert committed(store) == events
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_a_payload_that_is_no_event_does_not_keep_the_journal_from_opening(tmp_path: Path) -> None:
    """As a later version may have written it: the next process commits what it can read and keeps the rest."""
    journal, store = journal_in(tmp_path), MemoryStore()
    events = append_calls(journal, 2)
    journal._append_numbered(msgspec.msgpack.encode(["no", "event"]))
    journal._write(encode_frame(INTENT_KIND, 0, msgspec.msgpack.encode({"event_id": "later", "status": 7})))
    events += append_calls(journal, 1)
    crash(journal)

    again = journal_in(tmp_path, confirmed=dict(store.books.watermarks))
    committer = committer_of(again, store)
    await committer.drain()

    assert committed(store) == events
    assert [letter.payload for _, letter in store.books.dead_letters] == [
        msgspec.msgpack.encode(["no", "event"]),
        msgspec.msgpack.encode({"event_id": "later", "status": 7}),
    ]
    assert_adds_up(store)
    committer.close()
    again.close()


async def test_calls_are_interrupted_even_when_the_recovery_dies_too(tmp_path: Path, monkeypatch: Any) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    running = [make_event(status="interrupted") for _ in range(5)]
    for event in running:
        journal.append_intent(event)
    crash(journal)

    append = Journal._append_numbered
    for died_after in (0, 2):
        left = died_after

        def append_then_die(self: Journal, payload: bytes) -> int:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt  # As good as a kill: nobody finishes anything.
            left -= 1
            return append(self, payload)

        monkeypatch.setattr(Journal, "_append_numbered", append_then_die)
        slot = claim_slot(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            open_journal(slot, limits=JournalLimits(), clock=SystemClock(), metrics=Metrics(), confirmed={})
        slot.release()
    monkeypatch.setattr(Journal, "_append_numbered", append)

    again = journal_in(tmp_path)
    committer = committer_of(again, store)
    await committer.drain()

    assert sorted(committed(store), key=_by_id) == sorted(running, key=_by_id)
    committer.close()
    again.close()


async def test_a_journal_that_can_not_be_opened_leaves_nothing_open(tmp_path: Path, monkeypatch: Any) -> None:
    """An adoption tries again every few seconds for as long as the disk is full."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    slot = claim_slot(tmp_path)
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match="No space left"):
            open_journal(slot, limits=JournalLimits(), clock=SystemClock(), metrics=Metrics(), confirmed={})

    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    slot.release()


async def test_damaged_frames_become_dead_letters(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    places = []
    events = []
    for _ in range(6):
        places.append(journal._offset)
        events += append_calls(journal, 1)
    middle = journal.segments[-1].path
    with middle.open("r+b") as file:
        file.seek(places[2] + (places[3] - places[2]) * 3 // 4)  # Inside the third call's event.
        file.write(b"\xff\x00\xff")
    committer = committer_of(journal, store)

    await committer.drain()

    ((_, letter),) = store.books.dead_letters
    assert letter.seq == 3
    assert committed(store) == events[:2] + events[3:]
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert_adds_up(store)
    committer.close()
    journal.close()


# Others at the same events


async def test_two_committers_of_the_same_events_count_them_once(tmp_path: Path) -> None:
    """As when a slot is adopted while its process, believed dead, still commits."""
    store = MemoryStore()
    journal = journal_in(tmp_path / "one", segment_bytes=ONE_CALL)
    events = append_calls(journal, 40)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    twin = journal_in(tmp_path / "two")
    committers = [committer_of(journal, store, batch_events_max=7), committer_of(twin, store, batch_events_max=3)]

    await asyncio.gather(*(committer.drain() for committer in committers))

    assert committed(store) == events
    assert_adds_up(store)
    for committer, opened in zip(committers, (journal, twin), strict=True):
        committer.close()
        opened.close()
        assert opened.slot.segments() == []


# The store was restored


async def test_a_store_that_went_back_gets_again_what_the_journal_holds(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    committer = committer_of(journal, store)
    events = append_calls(journal, 4)
    await committer.drain()
    backup = copy.deepcopy(store.books)
    events += append_calls(journal, 4)
    await committer.drain()

    store.books = backup
    events += append_calls(journal, 2)
    await committer.drain()

    assert committed(store) == events
    assert list(store.books.watermarks) == [journal.producer_id]
    assert_adds_up(store)
    committer.close()
    journal.close()


async def test_a_store_that_went_back_too_far_gets_the_rest_by_another_name(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path, segment_bytes=ONE_CALL), MemoryStore()
    committer = committer_of(journal, store)
    events = append_calls(journal, 4)
    await committer.drain()
    backup = copy.deepcopy(store.books)
    append_calls(journal, 4)
    await committer.drain()
    kept = [event for event in committed(store)[4:] if journal.oldest_seq(journal.producer_id) <= 8][-1:]

    store.books = backup
    later = append_calls(journal, 3)
    await committer.drain()
    later += append_calls(journal, 3)
    await committer.drain()

    assert committed(store) == [*events, *kept, *later]
    assert len(store.books.watermarks) == 2
    assert journal.pending_events == 0
    assert_adds_up(store)

    committer.close()
    crash(journal)
    again = journal_in(tmp_path, confirmed=dict(store.books.watermarks))
    following = committer_of(again, store)
    last = append_calls(again, 2)
    await following.drain()
    assert committed(store) == [*events, *kept, *later, *last]
    assert_adds_up(store)
    following.close()
    again.close()


async def test_numbers_that_the_store_knows_already_are_not_given_again(tmp_path: Path) -> None:
    """The journal was restored from a copy, or lost its end: it goes on under a new name."""
    journal, store = journal_in(tmp_path / "one"), MemoryStore()
    events = append_calls(journal, 3)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    committer = committer_of(journal, store)
    events += append_calls(journal, 3)
    await committer.drain()
    committer.close()
    journal.close()

    restored = journal_in(tmp_path / "copy", confirmed=dict(store.books.watermarks))
    following = committer_of(restored, store)
    events += append_calls(restored, 5)
    await following.drain()

    assert committed(store) == events
    assert len(store.books.watermarks) == 2
    assert_adds_up(store)
    following.close()
    restored.close()


# Everything at once


class Ledger(RuleBasedStateMachine):
    """Calls, crashes, a store that fails: in the end it holds what was appended, once, and its sums follow."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.store = MemoryStore()
        self.store.refuse(lambda event: event.user_id == "poison")
        self.expected: dict[str, SpendEvent] = {}
        self.running: dict[str, SpendEvent] = {}
        self.run(self.open(segment_bytes=ONE_CALL, is_known=True))

    def run(self, work: Any) -> None:
        self.runner.run(work)

    async def open(self, *, segment_bytes: int, is_known: bool) -> None:
        confirmed = dict(self.store.books.watermarks) if is_known else {}
        self.journal = journal_in(Path(self.directory.name), segment_bytes=segment_bytes, confirmed=confirmed)
        self.committer = committer_of(self.journal, self.store, batch_events_max=3)
        self.expected |= self.running  # They are interrupted now.
        self.running = {}

    async def drain(self) -> None:
        try:
            await self.committer.drain()
        except StoreUnavailable:
            return

    async def die(self) -> None:
        self.committer.close()
        crash(self.journal)
        for fd in (self.journal._fd, self.journal._directory_fd):
            os.close(fd)

    @rule(user_id=st.sampled_from(["u1", "u2", "poison"]), cost=st.integers(0, 10**12))
    def call(self, user_id: str, cost: int) -> None:
        self.begin_call(user_id, cost)
        self.end_call(-1)

    @rule(user_id=st.sampled_from(["u1", "poison"]), cost=st.integers(0, 10**12))
    def begin_call(self, user_id: str, cost: int) -> None:
        intent = make_event(user_id=user_id, cost_nano_usd=cost, status="interrupted", tags=("a", "b"))

        async def write() -> None:
            self.journal.append_intent(intent)

        self.run(write())
        self.running[intent.event_id] = intent

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5))
    def end_call(self, which: int) -> None:
        intent = list(self.running.values())[which % len(self.running) if which >= 0 else -1]
        event = msgspec.structs.replace(intent, status="success", cost_nano_usd=intent.cost_nano_usd + 1)

        async def write() -> None:
            self.journal.append_event(event)

        self.run(write())
        del self.running[event.event_id]
        self.expected[event.event_id] = event

    @rule()
    def commit(self) -> None:
        self.run(self.drain())

    @rule(failures=st.integers(1, 3))
    def commit_with_failures(self, failures: int) -> None:
        self.store.fail_next(failures)
        self.run(self.drain())

    @rule(replies=st.integers(1, 3))
    def commit_with_lost_replies(self, replies: int) -> None:
        self.store.lose_reply_next(replies)
        self.run(self.drain())

    @rule(segment_bytes=st.sampled_from([ONE_CALL, 20_000, 64_000]), is_known=st.booleans())
    def crash(self, segment_bytes: int, is_known: bool) -> None:
        self.run(self.die())
        self.run(self.open(segment_bytes=segment_bytes, is_known=is_known))

    @rule(segment_bytes=st.sampled_from([ONE_CALL, 20_000]), is_known=st.booleans())
    def restart(self, segment_bytes: int, is_known: bool) -> None:
        async def stop() -> None:
            await self.drain()
            self.committer.close()
            self.journal.close()

        self.run(stop())
        self.run(self.open(segment_bytes=segment_bytes, is_known=is_known))

    @invariant()
    def store_adds_up(self) -> None:
        assert_adds_up(self.store)
        held = Counter(event.event_id for event in committed(self.store))
        held.update(letter.event_id for _, letter in self.store.books.dead_letters)
        assert set(held.values()) <= {1}
        assert set(held) <= set(self.expected)

    def teardown(self) -> None:
        try:
            self.check_end()
        finally:
            self.runner.close()
            self.directory.cleanup()

    def check_end(self) -> None:
        self.store._failures.clear()
        self.store._lost_replies = 0
        self.run(self.die())
        self.run(self.open(segment_bytes=ONE_CALL, is_known=True))
        self.run(self.committer.drain())
        expected = [event for event in self.expected.values() if event.user_id != "poison"]
        refused = {event.event_id: event for event in self.expected.values() if event.user_id == "poison"}

        assert sorted(committed(self.store), key=_by_id) == sorted(expected, key=_by_id)
        letters = {letter.event_id: letter.cost_nano_usd for _, letter in self.store.books.dead_letters}
        assert letters == {event_id: event.cost_nano_usd for event_id, event in refused.items()}
        assert self.store.books.totals == fold(expected).totals
        assert_adds_up(self.store)
        self.committer.close()
        self.journal.close()
        assert self.journal.slot.segments() == []


def _by_id(event: SpendEvent) -> str:
    return event.event_id


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
