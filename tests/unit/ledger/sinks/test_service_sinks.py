from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ledger_kit import append_calls, crash, make_event
from sink_kit import RecordingSink, plan_of
from tallystick.ledger.committer import CommitterLimits
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import JournalLimits, open_journal
from tallystick.ledger.service import LedgerService
from tallystick.ledger.slots import lock_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore

LIMITS = JournalLimits(sync="write", segment_bytes=64 * 1024)


def service_in(root: Path, store: MemoryStore, sink: RecordingSink) -> LedgerService:
    async def on_finished(_producer_id: str) -> None:
        return

    return LedgerService(
        directory=root,
        store=store,
        journal_limits=LIMITS,
        committer_limits=CommitterLimits(batch_wait_seconds=0.001, retry_seconds_min=0.001, retry_seconds_max=0.002),
        drain_seconds=5,
        on_finished=on_finished,
        clock=SystemClock(),
        metrics=Metrics(),
        sinks=(plan_of(sink),),
    )


def leave_behind(root: Path, number: int, *, calls: int = 3) -> list[SpendEvent]:
    """Leave a slot as a process that was killed does."""
    directory = root / f"slot-{number:04d}"
    directory.mkdir(parents=True)
    journal = open_journal(lock_slot(directory), limits=LIMITS, clock=SystemClock(), metrics=Metrics(), confirmed={})
    events = append_calls(journal, calls)
    crash(journal)
    return events


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def segments_in(root: Path) -> list[Path]:
    return list(root.glob("slot-*/*.journal"))


async def test_events_reach_ledger_and_sink_and_nothing_is_left(tmp_path: Path) -> None:
    store, sink = MemoryStore(), RecordingSink()
    service = service_in(tmp_path, store, sink)
    await service.start()
    events = append_calls(service.journal, 20)
    await service.stop()

    assert sorted(sink.ids) == sorted(event.event_id for event in events)
    assert len(store.books.events) == 20
    assert segments_in(tmp_path) == []
    assert sink.closed


async def test_a_sink_that_is_away_keeps_the_slot_for_the_next_start(tmp_path: Path) -> None:
    store, sink = MemoryStore(), RecordingSink()
    sink.is_away = True
    service = service_in(tmp_path, store, sink)
    await service.start()
    events = append_calls(service.journal, 20)
    await until(lambda: service.sinks()[0].state == "failing")
    assert service.sinks()[0].lag_events == 20
    await service.stop()
    assert len(store.books.events) == 20
    assert segments_in(tmp_path) != []

    sink.is_away = False
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: len(sink.ids) == 20)
    await service.stop()

    assert sink.ids == [event.event_id for event in events]
    assert len(store.books.events) == 20, "none was committed twice"
    assert segments_in(tmp_path) == []


async def test_the_slots_of_the_dead_are_read_on_by_who_adopts_them(tmp_path: Path) -> None:
    dead = [event for number in (1, 2, 3) for event in leave_behind(tmp_path, number)]
    store, sink = MemoryStore(), RecordingSink()
    sink.is_away = True
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: len(store.books.events) == len(dead))
    await until(lambda: service.sinks()[0].lag_events == len(dead))
    assert sink.ids == []

    sink.is_away = False
    await until(lambda: len(sink.ids) == len(dead))
    await until(lambda: len(segments_in(tmp_path)) == 1)
    await service.stop()

    assert sorted(sink.ids) == sorted(event.event_id for event in dead)
    assert segments_in(tmp_path) == []


async def test_an_adopted_slot_is_free_for_others_when_its_holder_stops(tmp_path: Path) -> None:
    dead = leave_behind(tmp_path, 1) + leave_behind(tmp_path, 2)
    store, sink = MemoryStore(), RecordingSink()
    sink.is_away = True
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: service.sinks()[0].lag_events == len(dead))
    await service.stop()

    sink.is_away = False
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: len(sink.ids) == len(dead))
    await until(lambda: len(segments_in(tmp_path)) == 1)
    await service.stop()
    assert segments_in(tmp_path) == []
    assert len(store.books.events) == len(dead)


async def test_beyond_the_slots_that_are_kept_the_ledger_goes_on(tmp_path: Path) -> None:
    dead = [event for number in range(1, 15) for event in leave_behind(tmp_path, number)]
    store, sink = MemoryStore(), RecordingSink()
    sink.is_away = True
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: len(store.books.events) == len(dead))
    assert await service.adopt_abandoned_slots() == 0, "what only sinks need waits for its turn"

    sink.is_away = False
    await until(lambda: len(sink.ids) == len(dead))
    await service.stop()
    assert sorted(sink.ids) == sorted(event.event_id for event in dead)


async def test_a_call_that_died_reaches_the_sink_as_interrupted(tmp_path: Path) -> None:
    directory = tmp_path / "slot-0001"
    directory.mkdir()
    journal = open_journal(lock_slot(directory), limits=LIMITS, clock=SystemClock(), metrics=Metrics(), confirmed={})
    journal.append_intent(running := make_event(status="interrupted"))
    crash(journal)
    store, sink = MemoryStore(), RecordingSink()
    service = service_in(tmp_path, store, sink)
    await service.start()
    await until(lambda: sink.ids == [running.event_id])
    await service.stop()


async def test_without_a_call_nothing_is_left(tmp_path: Path) -> None:
    leave_behind(tmp_path, 1, calls=0)
    for _ in range(2):
        service = service_in(tmp_path, MemoryStore(), RecordingSink())
        await service.start()
        await asyncio.sleep(0.01)
        await service.stop()
        assert segments_in(tmp_path) == []
