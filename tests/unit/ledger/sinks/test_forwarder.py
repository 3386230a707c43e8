from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger_kit import append_calls, committer_of, crash, journal_in, make_event, value_of
from sink_kit import RecordingSink, plan_of
from tallystick.errors import LedgerUnavailable, SinkUnavailable
from tallystick.ledger.journal import Journal
from tallystick.ledger.segments import create_segment
from tallystick.ledger.sinks.cursor import read_cursor
from tallystick.ledger.sinks.forwarder import Forwarder
from tallystick.ledger.sinks.meter import SinkMeter
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore


def forwarder_of(journal: Journal, sink: RecordingSink, *, metrics: Metrics | None = None, **terms: Any) -> Forwarder:
    meter = SinkMeter("rec", "recording", metrics or Metrics())
    return Forwarder(journal=journal, plan=plan_of(sink, **terms), meter=meter, clock=SystemClock())


def ids_of(events: list[Any]) -> list[str]:
    return [event.event_id for event in events]


async def test_it_sends_every_event_once_and_in_order(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    events = append_calls(journal, 250)
    forwarder = forwarder_of(journal, sink, batch_events_max=100)

    await forwarder.drain()
    more = append_calls(journal, 3)
    await forwarder.drain()

    assert sink.ids == ids_of(events + more)
    assert [len(parcel) for parcel in sink.parcels] == [100, 100, 50, 3]
    assert read_cursor(journal.slot.directory, "rec").sent == 253
    forwarder.close()
    journal.close()


async def test_what_the_cursor_has_passed_is_not_sent_again_by_the_next_process(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    first = append_calls(journal, 5)
    await forwarder_of(journal, sink).drain()
    crash(journal)

    again = journal_in(tmp_path)
    second = append_calls(again, 5)
    await forwarder_of(again, sink).drain()

    assert sink.ids == ids_of(first + second)
    crash(again)


async def test_a_death_between_sending_and_noting_it_sends_the_same_parcel_again(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    append_calls(journal, 5)
    sink.loses_answers = True
    with pytest.raises(SinkUnavailable):
        await forwarder_of(journal, sink).drain()
    append_calls(journal, 7)
    crash(journal)

    sink.loses_answers = False
    again = journal_in(tmp_path)
    await forwarder_of(again, sink).drain()

    assert sink.parcels[1] == sink.parcels[0], "the same parcel, although more events were there"
    assert len(set(sink.ids)) == 12
    assert sink.repeated == set(sink.ids[:5])
    crash(again)


async def test_a_sink_that_is_ahead_does_not_read_again_what_another_still_needs(tmp_path: Path) -> None:
    ahead, behind, sent = RecordingSink(), RecordingSink(), []
    behind.is_away = True
    for _ in range(3):  # Each time another producer: the store can't be asked.
        journal, store = journal_in(tmp_path), MemoryStore()
        forwarders = {}
        for name, sink in (("ahead", ahead), ("behind", behind)):
            plan = replace(plan_of(sink), name=name)
            meter = SinkMeter(name, "recording", Metrics())
            forwarders[name] = Forwarder(journal=journal, plan=plan, meter=meter, clock=SystemClock())
        sent += append_calls(journal, 120)
        await committer_of(journal, store).drain()
        await forwarders["ahead"].drain()
        with pytest.raises(SinkUnavailable):
            await forwarders["behind"].drain()
        crash(journal)
    assert len({segment.read_bytes()[20:60] for segment in tmp_path.glob("*/*.journal")}) == 3, "three producers"
    assert ahead.ids == ids_of(sent)

    behind.is_away = False
    await forwarders["behind"].drain()
    assert behind.ids == ids_of(sent)
    assert len(journal.segments) == 1


async def test_a_segment_stays_until_committer_and_sink_have_passed_it(tmp_path: Path) -> None:
    journal, sink, store = journal_in(tmp_path), RecordingSink(), MemoryStore()
    forwarder = forwarder_of(journal, sink)
    sink.is_away = True
    events = append_calls(journal, 400)
    assert len(journal.segments) > 3
    kept = [segment.path for segment in journal.segments]

    await committer_of(journal, store).drain()
    with pytest.raises(SinkUnavailable):
        await forwarder.drain()
    assert all(path.exists() for path in kept)

    sink.is_away = False
    await forwarder.drain()
    assert len(journal.segments) == 1
    assert sink.ids == ids_of(events)
    forwarder.close()
    journal.close()
    assert journal.slot.segments() == []


async def test_the_committer_is_not_left_behind_by_a_sink_that_is_faster(tmp_path: Path) -> None:
    journal, sink, store = journal_in(tmp_path), RecordingSink(), MemoryStore()
    forwarder = forwarder_of(journal, sink)
    events = append_calls(journal, 400)
    count = len(journal.segments)

    await forwarder.drain()
    assert len(journal.segments) == count
    await committer_of(journal, store).drain()

    assert ids_of([each.event for each in store.books.events]) == ids_of(events)
    assert len(journal.segments) == 1
    crash(journal)


async def test_a_closed_journal_keeps_what_a_sink_has_not_taken(tmp_path: Path) -> None:
    journal, sink, store = journal_in(tmp_path), RecordingSink(), MemoryStore()
    forwarder = forwarder_of(journal, sink)
    events = append_calls(journal, 5)
    await committer_of(journal, store).drain()
    forwarder.close()
    journal.close()
    assert journal.slot.segments() != []

    again = journal_in(tmp_path, confirmed={journal.producer_id: 5})
    assert again.producer_id == journal.producer_id
    forwarder = forwarder_of(again, sink)
    await committer_of(again, store).drain()
    await forwarder.drain()

    assert sink.ids == ids_of(events)
    forwarder.close()
    again.close()
    assert again.slot.segments() == []
    assert ids_of([each.event for each in store.books.events]) == ids_of(events)


async def test_at_the_limit_a_sink_that_may_be_skipped_gives_way_and_is_counted(tmp_path: Path) -> None:
    metrics, sink, store = Metrics(), RecordingSink(), MemoryStore()
    journal = journal_in(tmp_path, bytes_max=256 * 1024)
    sink.is_away = True
    forwarder = forwarder_of(journal, sink, metrics=metrics, at_limit="skip")
    committer = committer_of(journal, store)
    events = []
    for _ in range(30):
        events += append_calls(journal, 50)
        await committer.drain()
    assert journal.size_bytes <= 256 * 1024
    assert journal.has_room

    sink.is_away = False
    await forwarder.drain()

    skipped = value_of(metrics.sink_skipped_events.labels("rec"))
    assert skipped > 0
    assert sink.ids == ids_of(events[int(skipped) :])
    assert read_cursor(journal.slot.directory, "rec").skipped == skipped
    crash(journal)


async def test_what_was_skipped_is_counted_once_though_the_process_dies(tmp_path: Path) -> None:
    metrics, sink, store = Metrics(), RecordingSink(), MemoryStore()
    journal = journal_in(tmp_path, bytes_max=256 * 1024)
    sink.is_away = True
    forwarder = forwarder_of(journal, sink, at_limit="skip")
    committer = committer_of(journal, store)
    events = append_calls(journal, 10)
    with pytest.raises(SinkUnavailable):
        await forwarder.drain()
    for _ in range(30):
        events += append_calls(journal, 50)
        await committer.drain()
    crash(journal)

    sink.is_away = False
    again = journal_in(tmp_path, bytes_max=256 * 1024)
    await forwarder_of(again, sink, metrics=metrics).drain()

    skipped = value_of(metrics.sink_skipped_events.labels("rec"))
    assert skipped + len(set(sink.ids)) == len(events)
    crash(again)


async def test_a_parcel_that_is_under_way_while_its_segment_goes_is_not_counted_as_skipped(tmp_path: Path) -> None:
    sink, store = RecordingSink(), MemoryStore()
    journal = journal_in(tmp_path, bytes_max=256 * 1024)
    forwarder = forwarder_of(journal, sink, at_limit="skip")
    committer = committer_of(journal, store)
    sink.is_away = True
    events = append_calls(journal, 10)
    task = asyncio.create_task(forwarder.run())
    await asyncio.sleep(0.01)
    for _ in range(30):
        events += append_calls(journal, 50)
        await committer.drain()
    sink.is_away = False
    while not sink.ids or sink.ids[-1] != events[-1].event_id:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    cursor = read_cursor(journal.slot.directory, "rec")
    assert sink.ids[:10] == ids_of(events[:10])
    assert cursor.skipped > 0
    assert cursor.skipped + len(sink.ids) == len(events)
    assert sink.repeated == set()
    crash(journal)


async def test_where_the_disk_is_full_a_sink_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, store = RecordingSink(), MemoryStore()
    journal = journal_in(tmp_path)
    forwarder = forwarder_of(journal, sink, at_limit="skip")
    events = append_calls(journal, 300)
    await committer_of(journal, store).drain()
    disk, full = len(journal.segments), []

    def create(*arguments: Any, **options: Any) -> Any:
        if len(journal.segments) >= disk:
            full.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        return create_segment(*arguments, **options)

    monkeypatch.setattr("tallystick.ledger.journal.create_segment", create)
    for _ in range(30):
        events += append_calls(journal, 10)
        await committer_of(journal, store).drain()

    assert full
    await forwarder.drain()
    assert read_cursor(journal.slot.directory, "rec").skipped + len(sink.ids) == len(events)
    crash(journal)


async def test_an_event_that_was_charged_twice_is_in_a_parcel_once(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    (first,) = append_calls(journal, 1)
    append_calls(journal, 1, event_id=first.event_id)
    (last,) = append_calls(journal, 1)
    await forwarder_of(journal, sink).drain()
    assert sink.ids == [first.event_id, last.event_id]
    assert read_cursor(journal.slot.directory, "rec").seq == 3
    crash(journal)


async def test_large_events_make_small_parcels(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path, segment_bytes=64 << 20), RecordingSink()
    events = append_calls(journal, 12, metadata={"text": "x" * (2 << 20)})
    await forwarder_of(journal, sink).drain()
    assert [len(parcel) for parcel in sink.parcels] == [4, 4, 4]
    assert sink.ids == ids_of(events)
    crash(journal)


async def test_at_the_limit_a_sink_that_keeps_makes_the_journal_refuse(tmp_path: Path) -> None:
    sink, store = RecordingSink(), MemoryStore()
    journal = journal_in(tmp_path, bytes_max=256 * 1024)
    forwarder = forwarder_of(journal, sink, at_limit="keep")
    committer = committer_of(journal, store)
    events = []
    with pytest.raises(LedgerUnavailable):
        while True:
            events += append_calls(journal, 1)
            await committer.drain()
    assert not journal.has_room

    await forwarder.drain()
    assert journal.has_room
    assert sink.ids == ids_of(events)
    crash(journal)


async def test_an_event_that_the_sink_refuses_is_given_up_alone(tmp_path: Path) -> None:
    metrics, journal, sink = Metrics(), journal_in(tmp_path), RecordingSink()
    events = append_calls(journal, 50)
    sink.poison = {events[7].event_id, events[8].event_id, events[49].event_id}

    await forwarder_of(journal, sink, metrics=metrics).drain()

    assert sink.ids == [event.event_id for event in events if event.event_id not in sink.poison]
    assert value_of(metrics.sink_refused_events.labels("rec")) == 3
    cursor = read_cursor(journal.slot.directory, "rec")
    assert (cursor.sent, cursor.refused) == (47, 3)
    crash(journal)


async def test_only_the_wanted_kind_is_sent(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    good, bad = make_event(), make_event(status="failure")
    for event in (good, bad):
        journal.append_intent(event)
        journal.append_event(event)
    journal.append_intent(died := make_event(status="interrupted"))
    crash(journal)

    again, sinks = journal_in(tmp_path), {wanted: RecordingSink() for wanted in ("success", "failure", "all")}
    for wanted, sink in sinks.items():
        plan = replace(plan_of(sink, wanted=wanted), name=wanted)
        meter = SinkMeter(wanted, "recording", Metrics())
        await Forwarder(journal=again, plan=plan, meter=meter, clock=SystemClock()).drain()

    assert sinks["success"].ids == [good.event_id]
    assert sinks["failure"].ids == [bad.event_id, died.event_id]
    assert sinks["all"].ids == [good.event_id, bad.event_id, died.event_id]
    crash(again)


async def test_starts_are_of_calls_that_still_run(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink(wants_starts=True)
    append_calls(journal, 3)
    running = make_event(status="interrupted")
    journal.append_intent(running)
    forwarder = forwarder_of(journal, sink)

    await forwarder.drain()
    assert [event.event_id for parcel in sink.parcels for event in parcel.starts] == [running.event_id]
    await forwarder.drain()
    journal.append_event(make_event(event_id=running.event_id))
    await forwarder.drain()

    assert sum(len(parcel.starts) for parcel in sink.parcels) == 1
    assert sink.ids[-1] == running.event_id
    crash(journal)


async def test_damaged_frames_are_passed_and_counted(tmp_path: Path) -> None:
    metrics, journal, sink = Metrics(), journal_in(tmp_path), RecordingSink()
    events = append_calls(journal, 10)
    content = journal.segments[0].path.read_bytes()
    at = content.index(events[4].event_id.encode(), content.index(events[4].event_id.encode()) + 1)
    with journal.segments[0].path.open("r+b") as file:
        os.pwrite(file.fileno(), b"x", at)

    await forwarder_of(journal, sink, metrics=metrics).drain()

    assert sink.ids == [event.event_id for event in events if event is not events[4]]
    assert value_of(metrics.sink_skipped_events.labels("rec")) == 1
    crash(journal)


async def test_a_cursor_that_can_not_be_read_sends_all_that_is_left_again(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    append_calls(journal, 5)
    await forwarder_of(journal, sink).drain()
    (journal.slot.directory / "sink-rec.json").write_text("{")

    await forwarder_of(journal, sink).drain()

    assert len(sink.ids) == 10
    assert len(set(sink.ids)) == 5
    crash(journal)


async def test_a_sink_that_hangs_is_asked_again(tmp_path: Path) -> None:
    journal, sink = journal_in(tmp_path), RecordingSink()
    append_calls(journal, 5)
    sink.hangs = True

    with pytest.raises(SinkUnavailable, match="did not answer within"):
        await forwarder_of(journal, sink, timeout_seconds=0.01).drain()

    assert "did not answer" in read_cursor(journal.slot.directory, "rec").error
    sink.hangs = False
    await forwarder_of(journal, sink).drain()
    assert read_cursor(journal.slot.directory, "rec").error == ""
    assert len(sink.ids) == 5
    crash(journal)
