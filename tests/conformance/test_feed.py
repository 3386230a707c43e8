"""The contract of the feed: every committed event once, in the order of commits, whoever commits meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from conformance.kit import EVERYTHING, START, Engine, follow, make_batch, make_event, make_events
from tallystick.errors import BadRequest
from tallystick.ledger.batch import batch_of
from tallystick.ledger.store import CommittedEvent, EventFilter


def ids(found: list[CommittedEvent] | tuple[CommittedEvent, ...]) -> list[str]:
    return [committed.event.event_id for committed in found]


async def test_an_empty_ledger_has_an_empty_feed(engine: Engine) -> None:
    page = await engine.reader.events_after("", limit=10, where=EVERYTHING)
    assert page.events == ()
    assert page.next == ""


async def test_events_come_in_the_order_of_commits_and_numbers(engine: Engine) -> None:
    late, early = make_batch("b", 1, 3), make_batch("a", 1, 3)
    more = make_batch("b", 4, 2)
    for batch in (late, early, more):
        await engine.ledger.commit(batch)
    found = await follow(engine, limit=100)
    assert [(c.producer_id, c.seq) for c in found] == [
        ("b", 1), ("b", 2), ("b", 3), ("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5),
    ]  # fmt: skip
    assert [c.event for c in found] == [*late.events, *early.events, *more.events]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_a_page_may_end_inside_a_commit(engine: Engine, limit: int) -> None:
    batches = [make_batch("p", 1, 5), make_batch("q", 1, 1), make_batch("p", 6, 4)]
    for batch in batches:
        await engine.ledger.commit(batch)
    found = await follow(engine, limit=limit)
    assert ids(found) == [event.event_id for batch in batches for event in batch.events]


async def test_a_cursor_stays_good(engine: Engine) -> None:
    await engine.ledger.commit(make_batch("p", 1, 4))
    everything = await follow(engine, limit=100)
    for committed in everything:
        again = await follow(engine, limit=100, cursor=committed.cursor)
        assert again == everything[everything.index(committed) + 1 :]
    end = everything[-1].cursor
    assert (await engine.reader.events_after(end, limit=5, where=EVERYTHING)).next == end
    more = make_batch("q", 1, 2)
    await engine.ledger.commit(more)
    assert ids(await follow(engine, limit=1, cursor=end)) == [event.event_id for event in more.events]


async def test_a_reader_sees_every_event_once_while_producers_commit(engine: Engine) -> None:
    runs = {f"p{index}": make_events(60) for index in range(4)}
    done = asyncio.Event()

    async def produce(producer_id: str, store: object) -> None:
        for first in range(0, 60, 5):
            await store.commit(batch_of(producer_id, first + 1, runs[producer_id][first : first + 5]))

    async def read() -> list[CommittedEvent]:
        found: list[CommittedEvent] = []
        cursor = ""
        while True:
            last_round = done.is_set()
            page = await engine.reader.events_after(cursor, limit=7, where=EVERYTHING)
            found += page.events
            cursor = page.next
            if last_round and not page.events:
                return found

    async def produce_all() -> None:
        await asyncio.gather(
            *(produce(name, (engine.ledger, engine.peer)[index % 2]) for index, name in enumerate(runs))
        )
        done.set()

    found, _ = await asyncio.gather(read(), produce_all())
    assert sorted(ids(found)) == sorted(event.event_id for run in runs.values() for event in run)
    for producer_id in runs:
        assert [c.seq for c in found if c.producer_id == producer_id] == list(range(1, 61))
    assert found == await follow(engine, limit=1000)


async def test_filters(engine: Engine) -> None:
    second = timedelta(seconds=1)
    events = [
        make_event(started_at=START, key_hash="a", user_id="x", provider_response_id="r1"),
        make_event(started_at=START + second, key_hash="b", user_id="x", provider_response_id="r1"),
        make_event(started_at=START + 2 * second, key_hash="a", user_id="y"),
        make_event(started_at=START + 3 * second, key_hash="", user_id=""),
    ]
    await engine.ledger.commit(batch_of("p", 1, events[:3]))
    await engine.ledger.commit(batch_of("q", 1, events[3:]))
    cases = {
        EventFilter(key_hash="a"): [0, 2],
        EventFilter(user_id="x"): [0, 1],
        EventFilter(provider_response_id="r1"): [0, 1],
        EventFilter(provider_response_id="r1", key_hash="b"): [1],
        EventFilter(provider_response_id="r2"): [],
        EventFilter(key_hash="a", user_id="y"): [2],
        EventFilter(key_hash=""): [3],
        EventFilter(event_id=events[1].event_id): [1],
        EventFilter(event_id=events[1].event_id, key_hash="a"): [],
        EventFilter(event_id=make_event().event_id): [],
        EventFilter(event_id="no such form"): [],
        EventFilter(since=START + second): [1, 2, 3],
        EventFilter(until=START + second): [0],
        EventFilter(since=START + second, until=START + 3 * second): [1, 2],
        EventFilter(since=START + second, event_id=events[0].event_id): [],
        EventFilter(key_hash="unknown"): [],
    }
    for where, expected in cases.items():
        wanted = [events[index].event_id for index in expected]
        assert ids(await follow(engine, limit=1, where=where)) == wanted, where
        latest = await engine.reader.latest_events(limit=10, where=where)
        assert ids(latest) == wanted[::-1], where


async def test_an_event_asked_for_by_id_keeps_to_the_cursor(engine: Engine) -> None:
    batch = make_batch("p", 1, 3)
    await engine.ledger.commit(batch)
    first, second, third = await follow(engine, limit=10)
    where = EventFilter(event_id=second.event.event_id)
    assert (await engine.reader.events_after(first.cursor, limit=5, where=where)).events == (second,)
    assert (await engine.reader.events_after(second.cursor, limit=5, where=where)).events == ()
    assert (await engine.reader.events_after(third.cursor, limit=5, where=where)).next == third.cursor


async def test_the_newest_events_come_first(engine: Engine) -> None:
    events = make_events(6)
    await engine.ledger.commit(batch_of("later", 1, events[3:]))
    await engine.ledger.commit(batch_of("earlier", 1, events[:3]))
    latest = await engine.reader.latest_events(limit=4, where=EVERYTHING)
    assert [c.event for c in latest] == events[:1:-1]
    assert {c.cursor for c in latest} <= {c.cursor for c in await follow(engine, limit=100)}


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", ":", "1:", ":1", "1:2:3", "-1:0", "1.5:0", " 1:0", "1:0;", "\N{ARABIC-INDIC DIGIT ONE}:2", "0x1:1"],
)
async def test_what_is_no_cursor_is_a_bad_request(engine: Engine, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await engine.reader.events_after(cursor, limit=1, where=EVERYTHING)


@pytest.mark.parametrize("cursor", ["9" * 18 + ":0", "7:" + "9" * 18])
async def test_a_cursor_beyond_the_end_finds_nothing(engine: Engine, cursor: str) -> None:
    await engine.ledger.commit(make_batch("p", 1, 1))
    page = await engine.reader.events_after(cursor, limit=1, where=EVERYTHING)
    assert (page.events, page.next) == ((), cursor)
