"""The contract of `LedgerStore.commit`: once, whatever is delivered, by whomever, in whatever order."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from conformance.kit import (
    EVERYTHING,
    Engine,
    assert_adds_up,
    counters_of,
    follow,
    make_batch,
    make_event,
    make_events,
    with_dead_letter,
)
from tallystick.errors import EventRepeated, RowRefused
from tallystick.ledger.batch import Batch, DeadLetter, batch_of
from tallystick.wire.usage import Usage


async def test_a_producer_never_seen_has_watermark_zero(engine: Engine) -> None:
    assert await engine.ledger.watermark("nobody") == 0


async def test_batches_that_continue_are_committed(engine: Engine) -> None:
    first, second = make_batch("p", 1, 3), make_batch("p", 4, 2)
    assert await engine.ledger.commit(first) == 3
    assert await engine.ledger.commit(second) == 5
    assert await engine.ledger.watermark("p") == 5
    await assert_adds_up(engine, first.events + second.events)


async def test_a_batch_delivered_again_changes_nothing(engine: Engine) -> None:
    first, second = make_batch("p", 1, 3), make_batch("p", 4, 2)
    for batch in (first, second, second, first):
        await engine.ledger.commit(batch)
    assert await engine.ledger.commit(first) == 5
    await assert_adds_up(engine, first.events + second.events)
    assert len(await follow(engine, limit=100)) == 5


async def test_only_what_lies_above_the_watermark_is_applied(engine: Engine) -> None:
    events = make_events(9)
    await engine.ledger.commit(batch_of("p", 1, events[:4]))
    assert await engine.ledger.commit(batch_of("p", 2, events[1:7])) == 7
    assert await engine.ledger.commit(batch_of("p", 1, events)) == 9
    await assert_adds_up(engine, events)
    assert [(found.seq, found.event) for found in await follow(engine, limit=100)] == list(enumerate(events, 1))


async def test_a_gap_changes_nothing(engine: Engine) -> None:
    assert await engine.ledger.commit(make_batch("new", 2, 3)) == 0
    first = make_batch("p", 1, 2)
    await engine.ledger.commit(first)
    assert await engine.ledger.commit(make_batch("p", 4, 2)) == 2
    assert await engine.ledger.watermark("p") == 2
    await assert_adds_up(engine, first.events)


async def test_the_same_batch_from_two_committers_counts_once(engine: Engine) -> None:
    batches = [make_batch("p", 1 + 5 * index, 5) for index in range(6)]
    for batch in batches:
        replies = await asyncio.gather(*(store.commit(batch) for store in (engine.ledger, engine.peer) * 3))
        assert set(replies) == {batch.last_seq}
    await assert_adds_up(engine, [event for batch in batches for event in batch.events])


async def test_the_first_batch_of_a_producer_may_race_with_itself(engine: Engine) -> None:
    batches = [make_batch(f"p{index}", 1, 2) for index in range(5)]
    await asyncio.gather(
        *(store.commit(batch) for batch in batches for store in (engine.ledger, engine.peer, engine.ledger))
    )
    await assert_adds_up(engine, [event for batch in batches for event in batch.events])


async def test_overlapping_batches_from_two_committers_count_once(engine: Engine) -> None:
    events = make_events(60)
    for start in range(0, 60, 6):
        seen = await engine.ledger.watermark("p")
        left = batch_of("p", start + 1, events[start : start + 4])
        right = batch_of("p", seen + 1, events[seen : start + 6])
        await asyncio.gather(engine.ledger.commit(left), engine.peer.commit(right))
    assert await engine.ledger.commit(batch_of("p", 1, events)) == 60
    await assert_adds_up(engine, events)


async def test_many_producers_commit_at_once(engine: Engine) -> None:
    runs = {
        f"producer-{index}": make_events(12, key_hash=f"k{index % 3}", team_id=f"t{index % 2}") for index in range(10)
    }

    async def deliver(producer_id: str, store: object) -> None:
        for first in range(0, 12, 4):
            batch = batch_of(producer_id, first + 1, runs[producer_id][first : first + 4])
            assert await store.commit(batch) == first + 4

    await asyncio.gather(
        *(deliver(name, (engine.ledger, engine.peer)[index % 2]) for index, name in enumerate(sorted(runs)))
    )
    await assert_adds_up(engine, [event for events in runs.values() for event in events])


async def test_dead_letters_take_their_numbers_but_add_nothing(engine: Engine) -> None:
    batch = with_dead_letter(with_dead_letter(make_batch("p", 1, 5), 2), 5)
    assert await engine.ledger.commit(batch) == 5
    assert await engine.ledger.commit(batch) == 5
    await assert_adds_up(engine, batch.events)
    audit = await engine.auditor.audit()
    assert (audit.events, audit.dead_letters) == (3, 2)
    assert (audit.cost_nano_usd, audit.dead_letter_cost_nano_usd) == (3_000, 2_000)
    assert [(row.producer_id, row.watermark, row.events, row.dead_letters) for row in audit.producers] == [
        ("p", 5, 3, 2)
    ]


async def test_an_overlap_may_begin_with_a_dead_letter(engine: Engine) -> None:
    batch = with_dead_letter(make_batch("p", 1, 4), 3)
    await engine.ledger.commit(batch.above(0) and batch_of("p", 1, batch.events[:2]))
    assert await engine.ledger.commit(batch) == 4
    await assert_adds_up(engine, batch.events)


async def test_a_batch_of_nothing_but_dead_letters(engine: Engine) -> None:
    letter = DeadLetter(seq=1, event_id="not even an id", reason="poison", cost_nano_usd=42, payload=b"")
    batch = Batch(producer_id="p", first_seq=1, last_seq=1, numbers=(), events=(), dead_letters=(letter,))
    assert await engine.ledger.commit(batch) == 1
    following = make_batch("p", 2, 1)
    assert await engine.ledger.commit(following) == 2
    await assert_adds_up(engine, following.events)
    assert (await engine.auditor.audit()).dead_letter_cost_nano_usd == 42


async def test_an_event_that_belongs_to_nobody(engine: Engine) -> None:
    event = make_event(
        key_hash="", user_id="", team_id="", organization_id="", end_user_id="", tags=(), model_group="", model="",
        provider="", endpoint="", usage=Usage(),
    )  # fmt: skip
    await engine.ledger.commit(batch_of("p", 1, [event]))
    await assert_adds_up(engine, [event])
    assert counters_of(await engine.reader.total("global", "")) == [1, 1, 0, 0, 0, 0, 0, 0, 1_000]
    assert await engine.reader.totals("key", limit=10) == ()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"cost_nano_usd": 2**63}, id="money beyond 64 bit"),
        pytest.param({"usage": Usage(input_tokens=2**63)}, id="tokens beyond 64 bit"),
        pytest.param({"user_id": "\ud800"}, id="lone surrogate"),
        pytest.param({"tags": ("fine", "\udfff")}, id="lone surrogate in a tag"),
        pytest.param({"metadata": {"note": "\ud800"}}, id="lone surrogate in the metadata"),
    ],
)
async def test_a_row_that_is_refused_leaves_nothing_changed(engine: Engine, bad: dict[str, object]) -> None:
    good = make_batch("p", 1, 3)
    await engine.ledger.commit(good)
    events = make_events(3)
    events[1] = make_event(**bad)
    with pytest.raises(RowRefused):
        await engine.ledger.commit(batch_of("p", 4, events))
    with pytest.raises(RowRefused):
        await engine.ledger.commit(batch_of("first sight", 1, events))
    assert await engine.ledger.watermark("p") == 3
    assert await engine.ledger.watermark("first sight") == 0
    await assert_adds_up(engine, good.events)
    assert await engine.ledger.commit(batch_of("p", 4, [events[0], events[2]])) == 5


async def test_an_event_id_is_refused_the_second_time(engine: Engine) -> None:
    event = make_event()
    await engine.ledger.commit(batch_of("p", 1, [event]))
    with pytest.raises(RowRefused):
        await engine.ledger.commit(batch_of("p", 2, [msgspec.structs.replace(event, cost_nano_usd=9)]))
    with pytest.raises(RowRefused):
        await engine.ledger.commit(batch_of("q", 1, [event]))
    await assert_adds_up(engine, [event])


async def test_a_large_batch(engine: Engine) -> None:
    batch = make_batch("p", 1, 5_000, end_user_id="", tags=())
    assert await engine.ledger.commit(batch) == 5_000
    page = await engine.reader.events_after("", limit=10_000, where=EVERYTHING)
    assert len(page.events) == 5_000
    await assert_adds_up(engine, batch.events)


async def test_an_event_of_another_producer_with_the_same_id_is_refused_as_repeated(engine: Engine) -> None:
    event = make_event()
    await engine.ledger.commit(batch_of("p", 1, [event]))
    for store in (engine.ledger, engine.peer):
        with pytest.raises(EventRepeated):
            await store.commit(batch_of("q", 1, [msgspec.structs.replace(event, cost_nano_usd=7)]))
    await assert_adds_up(engine, (event,))
