"""The ledger service holds a slot, commits what is in it, and finishes the work of processes that died."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ledger_kit import crash, make_event
from tallystick.errors import LedgerUnavailable
from tallystick.ledger import service as service_module
from tallystick.ledger.committer import CommitterLimits
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import JournalLimits, open_journal
from tallystick.ledger.service import LedgerService
from tallystick.ledger.slots import Slot, abandoned_slots, lock_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore

LIMITS = JournalLimits(sync="write", segment_bytes=64 * 1024)


def service_in(
    root: Path,
    store: MemoryStore,
    *,
    drain_seconds: float = 5.0,
    finished: list[str] | None = None,
    continues_producers: bool = True,
) -> LedgerService:
    async def on_finished(producer_id: str) -> None:
        if finished is not None:
            finished.append(producer_id)

    return LedgerService(
        directory=root,
        store=store,
        journal_limits=LIMITS,
        committer_limits=CommitterLimits(batch_wait_seconds=0.001, retry_seconds_min=0.001, retry_seconds_max=0.01),
        drain_seconds=drain_seconds,
        on_finished=on_finished,
        clock=SystemClock(),
        metrics=Metrics(),
        continues_producers=continues_producers,
    )


def leave_behind(root: Path, number: int, calls: int = 3) -> list[SpendEvent]:
    """A slot as a killed process leaves it: some calls ended, one running."""
    directory = root / f"slot-{number:04d}"
    directory.mkdir(parents=True)
    journal = open_journal(lock_slot(directory), limits=LIMITS, clock=SystemClock(), metrics=Metrics(), confirmed={})
    events = [make_event() for _ in range(calls)]
    for event in events:
        journal.append_intent(event)
        journal.append_event(event)
    events.append(make_event(status="interrupted"))
    journal.append_intent(events[-1])
    crash(journal)
    return events


def ids(store: MemoryStore) -> list[str]:
    return sorted(found.event.event_id for found in store.books.events)


def assert_holds(store: MemoryStore, events: list[SpendEvent]) -> None:
    assert ids(store) == sorted(event.event_id for event in events)
    assert store.books.audit(difference_limit=10).differences == ()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_commits_and_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    service = service_in(tmp_path, store)
    await service.start()
    events = [make_event() for _ in range(5)]
    for event in events:
        service.journal.append_event(event)
    await service.stop()

    assert_holds(store, events)
    assert not list(tmp_path.glob("slot-*/*.journal"))
    assert service.health().state == "stopped"


async def test_it_tells_whose_events_are_committed_to_the_last(tmp_path: Path) -> None:
    store, finished = MemoryStore(), list[str]()
    leave_behind(tmp_path, 2)
    leave_behind(tmp_path, 1)
    service = service_in(tmp_path, store, finished=finished)
    await service.start()
    await until(lambda: len(finished) == 1)  # The adopted one; its own goes on.
    own = service.journal.producer_id
    assert own not in finished
    await service.stop()
    assert finished[1:] == [own]


async def test_it_does_not_tell_of_events_that_the_store_did_not_take(tmp_path: Path) -> None:
    store, finished = MemoryStore(), list[str]()
    service = service_in(tmp_path, store, finished=finished)
    await service.start()
    store.away = True
    service.journal.append_event(make_event())
    await service.stop()
    assert finished == []


async def test_it_takes_the_slot_of_one_that_died_and_adopts_the_others(tmp_path: Path) -> None:
    store = MemoryStore()
    left = [event for number in (1, 2, 3) for event in leave_behind(tmp_path, number)]
    service = service_in(tmp_path, store)
    await service.start()
    await until(lambda: len(ids(store)) == len(left))

    assert_holds(store, left)
    assert service.journal.slot.name == "slot-0001"
    await until(lambda: not list(tmp_path.glob("slot-000[23]/*.journal")))
    await service.stop()


async def test_a_slot_that_is_held_is_not_adopted(tmp_path: Path) -> None:
    store = MemoryStore()
    first, second = service_in(tmp_path, store), service_in(tmp_path, store)
    await first.start()
    await second.start()
    event = make_event()
    first.journal.append_intent(event)

    assert first.journal.slot.name != second.journal.slot.name
    assert await second.adopt_abandoned_slots() == 0

    first.journal.append_event(event)
    await first.stop()
    await second.stop()
    assert_holds(store, [event])


async def test_while_the_store_is_away_slots_wait_and_are_free(tmp_path: Path) -> None:
    store = MemoryStore()
    left = leave_behind(tmp_path, 1) + leave_behind(tmp_path, 2)
    service = service_in(tmp_path / "own", store)
    store.away = True
    service._directory = tmp_path
    assert await service.adopt_abandoned_slots() == 0

    found = abandoned_slots(tmp_path)
    assert [slot.name for slot in found] == ["slot-0001", "slot-0002"]
    for slot in found:
        slot.release()
    store.away = False
    assert await service.adopt_abandoned_slots() == 2
    assert_holds(store, left)


async def test_a_slot_that_can_not_be_opened_does_not_lock_the_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    left = [leave_behind(tmp_path, number) for number in (1, 2, 3)]
    service = service_in(tmp_path, store)

    def open_or_fail(slot: Slot, **options: Any) -> Any:
        if slot.name == "slot-0003":
            raise LedgerUnavailable(os.strerror(errno.ENOSPC))
        return open_journal(slot, **options)

    monkeypatch.setattr(service_module, "open_journal", open_or_fail)
    assert await service.adopt_abandoned_slots() == 2
    assert_holds(store, left[0] + left[1])

    monkeypatch.setattr(service_module, "open_journal", open_journal)
    assert await service.adopt_abandoned_slots() == 1
    assert_holds(store, [event for events in left for event in events])


async def test_an_adoption_that_is_cancelled_leaves_every_slot_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    for number in (1, 2, 3):
        leave_behind(tmp_path, number)
    asked = asyncio.Event()

    async def never_answer(_producer_id: str) -> int:
        asked.set()
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(store, "watermark", never_answer)
    adopting = asyncio.create_task(service_in(tmp_path, store).adopt_abandoned_slots())
    await asyncio.wait_for(asked.wait(), 10)
    adopting.cancel()
    await asyncio.wait([adopting])

    found = abandoned_slots(tmp_path)
    assert len(found) == 3
    for slot in found:
        slot.release()


async def test_a_stop_without_the_store_keeps_the_journal_for_the_next_start(tmp_path: Path) -> None:
    store = MemoryStore()
    service = service_in(tmp_path, store, drain_seconds=0.2)
    await service.start()
    store.away = True
    event = make_event()
    service.journal.append_event(event)
    await service.stop()
    assert list(tmp_path.glob("slot-*/*.journal"))

    store.away = False
    again = service_in(tmp_path, store)
    await again.start()
    await until(lambda: ids(store))
    await again.stop()
    assert_holds(store, [event])
    assert not list(tmp_path.glob("slot-*/*.journal"))


async def test_where_the_store_may_know_less_than_is_true_no_number_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that was restored in place, asked about at a standby that lags; a writer commits what comes of it."""
    primary = MemoryStore()
    left = leave_behind(tmp_path, 1)
    slot = tmp_path / "slot-0001"
    backup = {file: file.read_bytes() for file in slot.iterdir() if file.is_file()}
    first = service_in(tmp_path, primary)
    await first.start()
    producer = first.journal.producer_id
    events = [make_event() for _ in range(5)]
    for event in events:
        first.journal.append_event(event)
    await first.stop()
    for file, content in backup.items():
        file.write_bytes(content)

    async def lagging(_producer_id: str) -> int:
        return 0

    monkeypatch.setattr(primary, "watermark", lagging)
    again = service_in(tmp_path, primary, continues_producers=False)
    await again.start()
    more = [make_event() for _ in range(5)]
    for event in more:
        again.journal.append_event(event)
    assert again.journal.producer_id != producer
    await again.stop()
    assert_holds(primary, left + events + more)
