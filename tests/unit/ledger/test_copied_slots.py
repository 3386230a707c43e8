"""A home that was copied, moved or restored: whatever runs on one database, no event is lost and none counts twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger_kit import ONE_CALL, append_calls, assert_adds_up, committed, committer_of, crash, journal_in, make_event
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.ledger.slots import Slot, lock_slot
from tallystick.testing import MemoryStore


async def open_in(root: Path, store: MemoryStore, **limits: Any) -> Journal:
    """Open the one slot of a journal as a server does that can ask the store."""
    record = _record_of(root)
    confirmed = {record: await store.watermark(record)} if record else {}
    return journal_in(root, confirmed=confirmed, **limits)


def _record_of(root: Path) -> str | None:
    slots = list(root.glob("slot-*"))
    if not slots:
        return None
    slot: Slot = lock_slot(slots[0])
    record = slot.read_producer()
    slot.release()
    return record.producer_id if record else None


async def commit_and_close(journal: Journal, store: MemoryStore) -> None:
    committer = committer_of(journal, store)
    await committer.drain()
    committer.close()
    journal.close()


def assert_once(store: MemoryStore, events: list[SpendEvent]) -> None:
    assert sorted(event.event_id for event in committed(store)) == sorted(event.event_id for event in events)
    assert store.books.dead_letters == []
    assert_adds_up(store)


@pytest.mark.parametrize("copy_while", ["it is closed", "it runs"])
async def test_two_copies_give_no_number_to_two_calls(tmp_path: Path, copy_while: str) -> None:
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store)
    events = append_calls(journal, 3)
    if copy_while == "it is closed":
        await commit_and_close(journal, store)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        journal = await open_in(tmp_path / "one", store)
    else:
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    other = await open_in(tmp_path / "two", store)

    events += append_calls(journal, 4) + append_calls(other, 5)
    await commit_and_close(other, store)
    await commit_and_close(journal, store)

    assert_once(store, events)


async def test_a_slot_that_was_moved_goes_on_numbering(tmp_path: Path) -> None:
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store)
    producer_id = journal.producer_id
    events = append_calls(journal, 3)
    await commit_and_close(journal, store)

    (tmp_path / "one").rename(tmp_path / "two")
    journal = await open_in(tmp_path / "two", store)
    assert journal.producer_id == producer_id
    events += append_calls(journal, 3)
    crash(journal)
    (tmp_path / "two").rename(tmp_path / "three")
    journal = await open_in(tmp_path / "three", store)
    assert journal.producer_id == producer_id
    await commit_and_close(journal, store)

    assert_once(store, events)


@pytest.mark.parametrize("first", ["original", "copy"])
async def test_unfinished_work_that_was_copied_counts_once(tmp_path: Path, first: str) -> None:
    """Whoever is quicker delivers it; the other's numbers are then repetitions."""
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store, segment_bytes=ONE_CALL)
    events = append_calls(journal, 5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    events += append_calls(journal, 5)
    other = await open_in(tmp_path / "two", store)
    events += append_calls(other, 2)

    for each in (journal, other) if first == "original" else (other, journal):
        await commit_and_close(each, store)

    assert_once(store, events)


async def test_running_calls_are_left_to_the_original_while_its_process_lives(tmp_path: Path) -> None:
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store)
    running = make_event(cost_nano_usd=12, status="interrupted")
    journal.append_intent(running)
    shutil.copytree(tmp_path / "one", tmp_path / "two")

    other = await open_in(tmp_path / "two", store)
    crash(other)  # The copied segments are still there: they are a copy at the next start too.
    other = await open_in(tmp_path / "two", store)
    await commit_and_close(other, store)
    assert committed(store) == []

    ended = make_event(event_id=running.event_id, cost_nano_usd=75_000)
    journal.append_event(ended)
    await commit_and_close(journal, store)

    assert committed(store) == [ended]
    assert_once(store, [ended])


@pytest.mark.parametrize("original", ["removed", "dead"])
async def test_running_calls_end_in_the_copy_when_the_original_does_not_run(tmp_path: Path, original: str) -> None:
    """A home that was moved to another disk is a copy whose original is gone."""
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store)
    events = append_calls(journal, 3)
    running = make_event(status="interrupted")
    journal.append_intent(running)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    crash(journal)
    if original == "removed":
        shutil.rmtree(tmp_path / "one")

    await commit_and_close(await open_in(tmp_path / "two", store), store)
    assert_once(store, [*events, running])

    if original == "dead":  # It comes back, and ends the same call. It counts once; the repetition is kept as such.
        await commit_and_close(await open_in(tmp_path / "one", store), store)
        assert sorted(event.event_id for event in committed(store)) == sorted(
            event.event_id for event in [*events, running]
        )
        assert [letter.letter.event_id for letter in store.books.dead_letters] == [running.event_id]
        assert_adds_up(store)


@pytest.mark.parametrize("first", ["original", "copy"])
async def test_numbers_that_are_missing_in_a_copy_are_not_called_lost(tmp_path: Path, first: str) -> None:
    """The original has them. Were they committed as lost, its events would count as repetitions."""
    store = MemoryStore()
    journal = await open_in(tmp_path / "one", store, segment_bytes=ONE_CALL)
    events = append_calls(journal, 12)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    segments = sorted((tmp_path / "two").glob("slot-*/*.journal"))
    assert len(segments) > 9
    for hole in (segments[3], segments[4], segments[8]):
        hole.unlink()  # They came into being behind the first look at the directory.
    with segments[6].open("r+b") as file:  # Read while it was written.
        file.seek(-os.path.getsize(segments[6]) // 4, os.SEEK_END)
        file.write(b"\0" * 40)
    other = await open_in(tmp_path / "two", store)
    events += append_calls(other, 2)

    for each in (journal, other) if first == "original" else (other, journal):
        await commit_and_close(each, store)

    assert sorted(event.event_id for event in committed(store)) == sorted(event.event_id for event in events)
    assert_adds_up(store)
    if first == "copy":  # What was missing is reported all the same, and costs nothing.
        lost = [found.letter for found in store.books.dead_letters if not found.letter.event_id]
        assert len(lost) == 4
