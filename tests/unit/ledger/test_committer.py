"""The committer delivers each event of a journal once, whatever the store answers and whenever the process dies."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger_kit import (
    ONE_CALL,
    append_calls,
    assert_adds_up,
    committed,
    committer_of,
    crash,
    journal_in,
    make_event,
    value_of,
)
from tallystick.errors import LedgerUnavailable, StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.frames import INTENT_KIND, encode_frame
from tallystick.ledger.journal import Journal, JournalLimits, open_journal
from tallystick.ledger.slots import claim_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore


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

    assert sorted(committed(store), key=lambda event: event.event_id) == sorted(
        running, key=lambda event: event.event_id
    )
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


async def test_a_repetition_of_an_event_becomes_a_dead_letter_without_money(tmp_path: Path) -> None:
    journal, store = journal_in(tmp_path), MemoryStore()
    event = make_event(cost_nano_usd=7)
    await store.commit(batch_of("another", 1, [event]))
    committer = committer_of(journal, store)
    for each in (make_event(), event, event, make_event()):
        journal.append_event(each)

    await committer.drain()

    letters = [(letter.seq, letter.event_id, letter.cost_nano_usd) for _, letter in store.books.dead_letters]
    assert letters == [(2, event.event_id, 0), (3, event.event_id, 0)]
    assert journal.pending_events == 0
    assert_adds_up(store)
    committer.close()
    journal.close()
