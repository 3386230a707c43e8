"""The contract of `LedgerStore.commit_many`: as if one batch came after the other, and all of them or none."""

from __future__ import annotations

import asyncio

import pytest

from conformance.budget_kit import KEY, day_of, held, lease, look, request, take
from conformance.kit import Engine, assert_adds_up, follow, make_batch, make_event, make_events, with_dead_letter
from tallystick.errors import RowRefused
from tallystick.ledger.batch import batch_of


async def test_nothing_is_committed_of_nothing(engine: Engine) -> None:
    assert await engine.ledger.commit_many([]) == {}


async def test_batches_of_many_producers_are_one_commit_for_each(engine: Engine) -> None:
    known = make_batch("b", 1, 2)
    await engine.ledger.commit(known)
    batches = [make_batch("c", 1, 3), make_batch("b", 3, 2), with_dead_letter(make_batch("a", 1, 4), 2)]
    assert await engine.ledger.commit_many(batches) == {"c": 3, "b": 4, "a": 4}
    assert [await engine.ledger.watermark(name) for name in "abc"] == [4, 4, 3]
    await assert_adds_up(engine, [event for batch in (known, *batches) for event in batch.events])
    feed = await follow(engine, limit=2)
    positions = {committed.cursor.partition(":")[0] for committed in feed}
    assert len(positions) == 4
    assert sorted((committed.producer_id, committed.seq) for committed in feed) == [
        ("a", 1), ("a", 3), ("a", 4), ("b", 1), ("b", 2), ("b", 3), ("b", 4), ("c", 1), ("c", 2), ("c", 3),
    ]  # fmt: skip


async def test_what_repeats_overlaps_or_continues_within_one_call_counts_once(engine: Engine) -> None:
    events = make_events(9)
    run = [batch_of("p", 1, events[:4]), batch_of("p", 1, events[:4]), batch_of("p", 3, events[2:7])]
    assert await engine.ledger.commit_many([*run, make_batch("q", 1, 1), batch_of("p", 8, events[7:])]) == {
        "p": 9,
        "q": 1,
    }
    assert await engine.ledger.commit_many(run) == {"p": 9}
    found = [(each.seq, each.event) for each in await follow(engine, limit=100) if each.producer_id == "p"]
    assert found == list(enumerate(events, 1))
    assert (await engine.auditor.audit()).difference_count == 0


async def test_a_gap_within_one_call_keeps_out_what_is_behind_it_and_nobody_else(engine: Engine) -> None:
    first, behind = make_batch("p", 1, 2), make_batch("p", 4, 2)
    other = make_batch("q", 1, 3)
    assert await engine.ledger.commit_many([behind, first, behind, other, make_batch("r", 2, 1)]) == {
        "p": 2,
        "q": 3,
        "r": 0,
    }
    await assert_adds_up(engine, first.events + other.events)


async def test_nothing_but_what_is_there_changes_nothing(engine: Engine) -> None:
    batches = [make_batch("p", 1, 2), make_batch("q", 1, 2)]
    await engine.ledger.commit_many(batches)
    assert await engine.ledger.commit_many([*batches, *batches]) == {"p": 2, "q": 2}
    await assert_adds_up(engine, [event for batch in batches for event in batch.events])


async def test_a_row_that_is_refused_keeps_out_all_the_others(engine: Engine) -> None:
    events = make_events(3)
    events[1] = make_event(cost_nano_usd=2**63)
    good = make_batch("good", 1, 2)
    with pytest.raises(RowRefused):
        await engine.ledger.commit_many([good, batch_of("bad", 1, events)])
    assert [await engine.ledger.watermark(name) for name in ("good", "bad")] == [0, 0]
    await assert_adds_up(engine, ())
    assert await engine.ledger.commit_many([good, batch_of("bad", 1, [events[0], events[2]])]) == {"good": 2, "bad": 2}


async def test_an_event_of_two_producers_is_refused(engine: Engine) -> None:
    event = make_event()
    with pytest.raises(RowRefused):
        await engine.ledger.commit_many([batch_of("p", 1, [event]), batch_of("q", 1, [event])])
    await assert_adds_up(engine, ())


async def test_calls_with_the_same_batches_in_any_order_race_and_count_once(engine: Engine) -> None:
    producers = ["a", "b", "c", "d"]
    runs = {name: make_events(24, key_hash=f"k-{name}") for name in producers}
    for start in range(0, 24, 4):
        ahead = [batch_of(name, start + 1, runs[name][start : start + 4]) for name in producers]
        whole = [batch_of(name, 1, runs[name][: start + 4]) for name in reversed(producers)]
        await asyncio.gather(
            engine.ledger.commit_many(ahead),
            engine.peer.commit_many(whole),
            engine.peer.commit(ahead[1]),
            engine.ledger.commit_many([whole[2], ahead[3], whole[0]]),
            engine.peer.commit(whole[3]),
        )
    assert await engine.ledger.commit_many([batch_of(name, 1, runs[name]) for name in producers]) == dict.fromkeys(
        producers, 24
    )
    await assert_adds_up(engine, [event for run in runs.values() for event in run])


async def test_the_leases_of_each_producer_pay_for_its_own_events(engine: Engine) -> None:
    window = day_of(KEY)
    await engine.ledger.commit(make_batch("late", 1, 1, cost_nano_usd=0))
    await take(engine, "early", window, 500)
    await take(engine, "late", window, 700)
    batches = [
        make_batch("early", 1, 3, cost_nano_usd=100),
        make_batch("late", 2, 2, cost_nano_usd=1_000),
        make_batch("without", 1, 2, cost_nano_usd=7),
    ]
    assert await engine.ledger.commit_many([*batches, *batches]) == {"early": 3, "late": 3, "without": 2}
    assert await held(engine, "early") == {window: 200}
    assert await held(engine, "late") == {window: 0}
    found = await look(engine, window)
    assert (found.spent_nano_usd, found.leased_nano_usd) == (2_314, 200)
    assert (await engine.auditor.audit()).difference_count == 0


async def test_a_lease_that_begins_within_what_is_committed_pays_for_what_is_behind(engine: Engine) -> None:
    window = day_of(KEY)
    events = {name: make_events(4, cost_nano_usd=100) for name in ("p", "q")}
    await lease(engine, "p", request(window, need=1_000, since_seq=1))
    await lease(engine, "q", request(window, need=1_000, since_seq=3))
    assert await engine.ledger.commit_many([batch_of(name, 1, events[name]) for name in ("q", "p")]) == {"p": 4, "q": 4}
    assert await held(engine, "p") == {window: 700}
    assert await held(engine, "q") == {window: 900}
    found = await look(engine, window)
    assert (found.spent_nano_usd, found.leased_nano_usd) == (800, 1_600)
