"""The journal keeps what it was given, whatever happens to the process, the file or the disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ledger_kit import crash, journal_in, make_event, value_of
from tallystick.errors import LedgerUnavailable, SlotTaken
from tallystick.ledger import slots
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.ledger.journal_reader import JournalReader
from tallystick.ledger.slots import Slot, claim_slot, lock_slot
from tallystick.runtime.telemetry import Metrics

decode = msgspec.msgpack.Decoder(SpendEvent).decode


def read_all(journal: Journal) -> list[tuple[str, int, SpendEvent | None]]:
    """Everything that is in a journal: producer, number, event (None where it is damaged)."""
    reader = JournalReader(journal)
    found = []
    while reader.producer_id is not None:
        while (run := reader.next_run(7, above=0)) is not None:
            for index, payload in enumerate(run.payloads):
                found.append((run.producer_id, run.first_seq + index, payload and decode(payload)))
        if not reader.advance_producer():
            break
    reader.close()
    return found


async def test_events_come_back_in_order_across_segments(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    events = [make_event(user_id=f"u{n}") for n in range(500)]

    numbers = []
    for event in events:
        journal.append_intent(event)
        numbers.append(journal.append_event(event))

    assert numbers == list(range(1, 501))
    assert len(journal.segments) > 2
    assert [(seq, event) for _, seq, event in read_all(journal)] == list(enumerate(events, 1))
    journal.close()


async def test_a_call_whose_process_died_is_interrupted(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    running = make_event(status="interrupted", cost_nano_usd=12)
    finished = make_event()
    for event in (running, finished):
        journal.append_intent(event)
    journal.append_event(finished)
    crash(journal)

    metrics = Metrics()
    again = journal_in(tmp_path, metrics=metrics)

    assert [event for _, _, event in read_all(again)] == [finished, running]
    assert value_of(metrics.interrupted_events) == 1
    crash(again)
    assert len(read_all(journal_in(tmp_path))) == 2  # A second recovery finds nothing open.


async def test_another_intent_of_a_call_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    first = make_event(status="interrupted", cost_nano_usd=12)
    second = msgspec.structs.replace(first, model_group="dearer", cost_nano_usd=99)
    idle = journal._reserved_bytes
    journal.append_intent(first)
    once = journal._reserved_bytes - idle
    journal.append_intent(second)
    assert journal.open_calls == 1
    assert 0 < journal._reserved_bytes - idle < 1.5 * once, "room is kept for one event"
    crash(journal)

    again = journal_in(tmp_path)

    assert [event for _, _, event in read_all(again)] == [second]
    assert again._reserved_bytes == idle
    crash(again)


async def test_open_intents_survive_rotation_and_removal_of_old_segments(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    running = make_event(status="interrupted")
    journal.append_intent(running)
    while len(journal.segments) < 4:
        event = make_event()
        journal.append_intent(event)
        journal.append_event(event)
    while len(journal.segments) > 1:
        journal.remove_segment(journal.segments[0])
    crash(journal)

    assert running in [event for _, _, event in read_all(journal_in(tmp_path))]


async def test_numbers_go_on_only_when_nothing_can_be_lost_below_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)
    first = journal.producer_id
    for _ in range(3):
        journal.append_event(make_event())
    crash(journal)

    journal = journal_in(tmp_path, confirmed={first: 2})
    assert (journal.producer_id, journal.last_seq) == (first, 3)
    crash(journal)

    journal = journal_in(tmp_path)  # The store can't be asked.
    second = journal.producer_id
    assert second != first
    journal.append_event(make_event())
    crash(journal)

    journal = journal_in(tmp_path, confirmed={second: 2})  # The store knows more than the journal.
    third = journal.producer_id
    assert third not in (first, second)
    crash(journal)

    monkeypatch.setattr(slots, "_BOOT_ID_FILE", tmp_path / "another-boot")
    (tmp_path / "another-boot").write_text("later")
    journal = journal_in(tmp_path, confirmed={third: 0})
    assert journal.producer_id not in (first, second, third)
    assert [seq for _, seq, _ in read_all(journal)] == [1, 2, 3, 1]
    crash(journal)


async def test_a_clean_close_with_everything_committed_leaves_no_segment(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    producer_id = journal.producer_id
    journal.append_event(make_event())
    journal.confirm(1)
    journal.close()

    assert list(tmp_path.glob("slot-*/*.journal")) == []
    again = journal_in(tmp_path, confirmed={producer_id: 1})
    assert again.producer_id == producer_id
    assert again.append_event(make_event()) == 2
    again.close()
    assert len(list(tmp_path.glob("slot-*/*.journal"))) == 1  # Not committed: it stays.


async def test_a_closed_journal_writes_nowhere(tmp_path: Path) -> None:
    """A task that outlives the journal must not write into a slot of others, or a file that has its number now."""
    journal = journal_in(tmp_path)
    event = make_event()
    journal.append_intent(event)
    fd = journal._fd
    journal.close()
    size = journal.segments[-1].path.stat().st_size
    victim = os.open(tmp_path / "victim", os.O_RDWR | os.O_CREAT)
    os.dup2(victim, fd)

    with pytest.raises(LedgerUnavailable, match="is closed"):
        journal.append_event(event)
    for _ in range(100):
        with pytest.raises(LedgerUnavailable, match="is closed"):
            journal.append_intent(make_event())

    os.close(victim)
    os.close(fd)
    assert (tmp_path / "victim").stat().st_size == 0
    assert [path.stat().st_size for path in tmp_path.glob("slot-*/*.journal")] == [size]


async def test_processes_that_die_again_and_again_do_not_fill_the_journal(tmp_path: Path) -> None:
    limits = {"segment_bytes": 256 * 1024, "bytes_max": 1024 * 1024}
    for _ in range(10):
        crash(journal_in(tmp_path, **limits))

    journal = journal_in(tmp_path, **limits)

    assert journal.has_room
    assert journal.size_bytes < 16 * 1024
    assert sum(path.stat().st_size for path in tmp_path.glob("slot-*/*.journal")) < 300 * 1024
    crash(journal)


async def test_a_slot_that_is_opened_for_nothing_does_not_grow(tmp_path: Path) -> None:
    events = [make_event() for _ in range(3)]
    journal = journal_in(tmp_path)
    producer_id = journal.producer_id
    for event in events[:2]:
        journal.append_event(event)
    journal.close()

    for confirmed in (None, {producer_id: 0}, None, {producer_id: 0}):
        journal_in(tmp_path, confirmed=confirmed).close()

    assert len(list(tmp_path.glob("slot-*/*.journal"))) == 1
    again = journal_in(tmp_path)
    again.append_event(events[2])
    assert [event for _, _, event in read_all(again)] == events
    crash(again)


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_a_torn_tail_is_cut_and_counted(tmp_path: Path, cut: int) -> None:
    journal = journal_in(tmp_path)
    events = [make_event() for _ in range(3)]
    for event in events:
        journal.append_event(event)
    path, end = journal.segments[-1].path, journal.segments[-1].size
    crash(journal)
    with path.open("r+b") as file:
        file.seek(end - cut)
        file.write(bytes(cut))

    metrics = Metrics()
    again = journal_in(tmp_path, metrics=metrics)

    assert [event for _, _, event in read_all(again)] == events[:2]
    assert value_of(metrics.journal_torn_tails) == 1
    crash(again)


@pytest.mark.parametrize("sealed", [True, False])
async def test_damage_in_the_middle_is_passed_over_and_set_aside(tmp_path: Path, sealed: bool) -> None:
    journal = journal_in(tmp_path)
    events = [make_event() for _ in range(5)]
    places = []
    for event in events:
        places.append(journal.segments[-1].size)
        journal.append_event(event)
    path = journal.segments[-1].path
    if sealed:
        crash(journal)
    with path.open("r+b") as file:
        file.seek(places[2] + 30)
        file.write(b"\xff\xff\xff")
    if sealed:
        journal = journal_in(tmp_path)

    found = read_all(journal)

    assert [event for _, _, event in found] == [events[0], events[1], None, events[3], events[4]]
    assert [seq for _, seq, _ in found] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    crash(journal)


async def test_a_segment_that_lost_its_end_leaves_gaps_that_are_told(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    while len(journal.segments) < 3:
        event = make_event()
        journal.append_intent(event)
        journal.append_event(event)
    second_first = journal.segments[1].first_seq
    with journal.segments[0].path.open("r+b") as file:
        file.seek(journal.segments[0].size - 40)
        file.write(b"\xff" * 40)

    found = read_all(journal)

    assert [seq for _, seq, _ in found] == list(range(1, journal.last_seq + 1))
    assert [seq for _, seq, event in found if event is None] == [second_first - 1]
    crash(journal)


async def test_a_full_journal_refuses_calls_and_still_takes_the_events_of_running_ones(tmp_path: Path) -> None:
    metrics = Metrics()
    journal = journal_in(tmp_path, bytes_max=256 * 1024, metrics=metrics)
    running = []
    with pytest.raises(LedgerUnavailable, match="the journal is full"):
        for _ in range(10_000):
            event = make_event()
            journal.append_intent(event)
            running.append(event)

    for event in running:
        journal.append_event(event)

    assert value_of(metrics.journal_rejected) == 1
    assert journal.size_bytes <= 256 * 1024
    assert len(read_all(journal)) == len(running) > 5
    crash(journal)


async def test_shedding_goes_on_and_counts_what_is_lost(tmp_path: Path) -> None:
    metrics = Metrics()
    journal = journal_in(tmp_path, bytes_max=128 * 1024, policy="shed", metrics=metrics)
    kept = lost = 0
    for _ in range(2000):
        event = make_event(cost_nano_usd=3)
        journal.append_intent(event)
        if journal.append_event(event) is None:
            lost += 1
        else:
            kept += 1

    assert len(read_all(journal)) == kept
    assert (value_of(metrics.journal_shed), value_of(metrics.journal_shed_nano_usd)) == (lost, 3 * lost)
    assert lost > 0 < kept
    crash(journal)


async def test_a_full_disk_refuses_new_calls_and_keeps_the_event_of_a_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)
    event = make_event()
    journal.append_intent(event)
    pwrite = os.pwrite

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(LedgerUnavailable, match="No space left"):
        journal.append_event(event)
    with pytest.raises(LedgerUnavailable, match="No space left"):
        journal.append_intent(make_event())
    monkeypatch.setattr(os, "pwrite", pwrite)

    another = make_event()
    journal.append_intent(another)  # Also writes what waited.

    assert [found for _, _, found in read_all(journal)] == [event]
    crash(journal)


async def test_every_event_that_a_full_disk_refused_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)
    events = [make_event() for _ in range(3)]
    for event in events:
        journal.append_intent(event)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        for event in events:
            with pytest.raises(LedgerUnavailable, match="No space left"):
                journal.append_event(event)

    journal.write_waiting_events()

    assert [found for _, _, found in read_all(journal)] == events
    crash(journal)


async def test_shedding_on_a_full_disk_goes_on_counts_and_keeps_nothing_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    journal = journal_in(tmp_path, policy="shed", metrics=metrics)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        for _ in range(20):
            event = make_event()
            journal.append_intent(event)
            assert journal.append_event(event) is None
    another = make_event()
    journal.append_intent(another)
    journal.append_event(another)

    assert value_of(metrics.journal_shed) == 20
    assert [found for _, _, found in read_all(journal)] == [another]
    crash(journal)


async def test_an_event_that_can_not_be_written_leaves_its_intent(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    event = make_event()
    journal.append_intent(event)

    with pytest.raises(OverflowError):
        journal.append_event(msgspec.structs.replace(event, cost_nano_usd=1 << 70))
    with pytest.raises(AssertionError, match="not capped"):
        journal.append_event(msgspec.structs.replace(event, metadata={"text": "x" * (5 << 20)}))
    with pytest.raises(AssertionError, match="not capped"):
        journal.append_intent(make_event(metadata={"text": "x" * (5 << 20)}))
    crash(journal)

    again = journal_in(tmp_path)
    assert [found for _, _, found in read_all(again)] == [event]
    crash(again)


async def test_a_disk_that_takes_only_a_part_leaves_no_half_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)
    events = [make_event(), make_event(), make_event()]
    journal.append_event(events[0])
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:25], offset))
    with pytest.raises(LedgerUnavailable, match="only a part"):
        journal.append_event(events[1])
    monkeypatch.setattr(os, "pwrite", pwrite)

    journal.append_event(events[2])

    assert [event for _, _, event in read_all(journal)] == events
    crash(journal)


async def test_no_room_for_a_new_segment_refuses_calls_but_not_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    running = []
    with pytest.raises(LedgerUnavailable, match="can't grow: No space left"):
        while True:
            event = make_event()
            journal.append_intent(event)
            running.append(event)
    for event in running:
        journal.append_event(event)

    assert len(running) > 3
    assert len(read_all(journal)) == len(running)
    assert journal.segments[-1].path.stat().st_size == 64 * 1024  # Nothing went beyond what was set aside.
    crash(journal)


@pytest.mark.parametrize("refused", ["replace", "truncate"])
async def test_a_full_disk_does_not_keep_the_slot_held_at_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    journal = journal_in(tmp_path)
    producer_id = journal.producer_id
    event = make_event()
    journal.append_event(event)
    if refused == "replace":
        journal.confirm(1)  # All is committed: the slot's record is written anew.

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((Slot, "write_producer") if refused == "replace" else (os, "truncate")), full)
        journal.close()

    again = journal_in(tmp_path, confirmed={producer_id: 1})
    assert again.slot.name == journal.slot.name
    assert (again.producer_id, again.last_seq) == (producer_id, 1)
    assert [found for _, _, found in read_all(again)] == [event]
    again.close()


def test_an_unwritable_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerUnavailable, match="can't be used"):
        claim_slot(tmp_path / "file" / "journal")


def test_two_processes_never_hold_one_slot(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from tallystick.ledger.slots import claim_slot\n"
        "print(claim_slot(pathlib.Path(sys.argv[1])).name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        taken = other.stdout.readline().strip()
        with pytest.raises(SlotTaken):
            lock_slot(tmp_path / taken)
        mine = claim_slot(tmp_path)
        assert mine.name != taken
    finally:
        other.kill()
        other.communicate()
    lock_slot(tmp_path / taken).release()  # A killed process holds nothing.
    mine.release()


async def test_commit_mode_waits_for_the_watermark(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, sync="commit", commit_wait_seconds=0.05)
    first, second = journal.append_event(make_event()), journal.append_event(make_event())
    assert (first, second) == (1, 2)
    journal.confirm(1)

    await journal.settled(1)
    with pytest.raises(LedgerUnavailable, match="did not commit the call in time"):
        await journal.settled(2)
    crash(journal)
