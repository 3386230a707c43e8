"""Activity: the cube by all of its columns, filtered; and events filtered, counted and paged."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from conformance.kit import START, Engine, counters_of, make_event
from tallystick.ledger.batch import batch_of
from tallystick.ledger.store import CUBE_GROUPS, ENTITY_DAY_GROUPS, ActivityFilter, EventFilter

DAY = date(2026, 3, 14)
LATER = START + timedelta(days=1)
ALL = ActivityFilter()


async def commit(engine: Engine, *events: object) -> None:
    await engine.ledger.commit(batch_of("p", 1, events))


async def activity(engine: Engine, where: ActivityFilter = ALL, first: date = DAY, last: date = DAY, limit: int = 100):
    return await engine.reader.activity(where=where, first=first, last=last, limit=limit)


async def entity_activity(engine: Engine, entity_type: str, entity_ids=None, models=None, last: date = DAY):
    return await engine.reader.entity_activity(
        entity_type=entity_type, entity_ids=entity_ids, models=models, first=DAY, last=last, limit=100
    )


async def test_activity_has_every_column_and_leaves_nothing_out(engine: Engine) -> None:
    events = [
        make_event(cost_nano_usd=1),
        make_event(cost_nano_usd=2, tool="search"),
        make_event(cost_nano_usd=4, key_hash="k2", status="failure"),
        make_event(cost_nano_usd=8, started_at=LATER),
        make_event(cost_nano_usd=16, started_at=LATER, team_id="", user_id=""),
    ]
    await commit(engine, *events)
    rows = await activity(engine, last=DAY + timedelta(1))
    assert [row.cost_nano_usd for row in rows] == [3, 4, 16, 8]
    assert tuple(rows[0].group) == CUBE_GROUPS
    assert rows[0].group == {
        "day": "2026-03-14", "key": "k1", "user": "u1", "team": "t1", "organization": "o1", "model_group": "small",
        "model": "small-1", "provider": "demo", "endpoint": "/v1/chat/completions",
    }  # fmt: skip
    assert counters_of(rows[0]) == [2, 2, 0, 20, 10, 0, 0, 0, 3]
    assert counters_of(rows[1])[:3] == [1, 0, 1]
    assert (rows[2].group["day"], rows[2].group["team"]) == ("2026-03-15", "")
    assert [row.cost_nano_usd for row in await activity(engine)] == [3, 4]
    assert [row.cost_nano_usd for row in await activity(engine, limit=1)] == [3]


@pytest.mark.parametrize(
    ("name", "field"),
    [("key_hashes", "key_hash"), ("user_ids", "user_id"), ("team_ids", "team_id"),
     ("organization_ids", "organization_id"),
     ("models", "model"), ("models", "model_group")],
)  # fmt: skip
async def test_activity_of_some(engine: Engine, name: str, field: str) -> None:
    values = ("a", "b", "ü", "")
    await commit(engine, *(make_event(**{field: value}, cost_nano_usd=10**n) for n, value in enumerate(values)))

    async def spent(*wanted: str) -> int:
        return sum(row.cost_nano_usd for row in await activity(engine, ActivityFilter(**{name: wanted})))

    assert await spent("a") == 1
    assert await spent("a", "ü", "nobody", "\x00") == 101
    assert await spent("") == 1_000
    assert await spent() == 0
    assert await spent("a' OR '1'='1") == 0


async def test_all_that_is_asked_has_to_match(engine: Engine) -> None:
    await commit(engine, make_event(team_id="a", user_id="x"), make_event(team_id="a"), make_event(user_id="x"))
    (row,) = await activity(engine, ActivityFilter(team_ids=("a",), user_ids=("x",)))
    assert row.requests == 1


@pytest.mark.parametrize("entity_type", ["tag", "end_user"])
async def test_activity_of_tags_and_end_users(engine: Engine, entity_type: str) -> None:
    def event(entity: str, **fields: object) -> object:
        named = {"tags": (entity,), "end_user_id": ""} if entity_type == "tag" else {"tags": (), "end_user_id": entity}
        return make_event(**named, **fields)

    await commit(
        engine,
        event("a", cost_nano_usd=1),
        event("a", cost_nano_usd=2, key_hash="other"),
        event("a", cost_nano_usd=4, model="large-1"),
        event("b", cost_nano_usd=8),
        event("b", cost_nano_usd=16, started_at=LATER),
    )
    rows = await entity_activity(engine, entity_type, last=DAY + timedelta(1))
    assert [(row.group["entity_id"], row.group["model"], row.cost_nano_usd) for row in rows] == [
        ("a", "large-1", 4), ("a", "small-1", 3), ("b", "small-1", 8), ("b", "small-1", 16),
    ]  # fmt: skip
    assert tuple(rows[0].group) == ENTITY_DAY_GROUPS
    assert [row.cost_nano_usd for row in await entity_activity(engine, entity_type, ("b", "c"))] == [8]
    assert [row.cost_nano_usd for row in await entity_activity(engine, entity_type, models=("large-1",))] == [4]
    assert await entity_activity(engine, entity_type, ()) == ()
    other = "end_user" if entity_type == "tag" else "tag"
    assert await entity_activity(engine, other) == ()


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        ({"team_id": "t2"}, {2}),
        ({"end_user_id": "e2"}, {4}),
        ({"session_id": "s"}, {8}),
        ({"model": "large"}, {16}),
        ({"model": "large-1"}, {16}),
        ({"is_success": False}, {32, 64}),
        ({"is_success": True, "team_id": "t2"}, {2}),
        ({"cost_at_least_nano_usd": 32}, {32, 64}),
        ({"cost_at_most_nano_usd": 4, "cost_at_least_nano_usd": 2}, {2, 4}),
        ({"key_hash": "k9", "is_success": False}, {64}),
        ({"provider_response_id": "answer", "is_success": False}, {64}),
        ({"provider_response_id": "answer", "team_id": "none"}, set()),
    ],
)
async def test_events_by_filter(engine: Engine, wanted, matching) -> None:
    await commit(
        engine,
        make_event(cost_nano_usd=1),
        make_event(cost_nano_usd=2, team_id="t2"),
        make_event(cost_nano_usd=4, end_user_id="e2"),
        make_event(cost_nano_usd=8, session_id="s"),
        make_event(cost_nano_usd=16, model_group="large", model="large-1"),
        make_event(cost_nano_usd=32, status="failure"),
        make_event(cost_nano_usd=64, status="interrupted", key_hash="k9", provider_response_id="answer"),
    )
    where = EventFilter(**wanted)
    found = await engine.reader.latest_events(limit=10, where=where)
    assert {each.event.cost_nano_usd for each in found} == matching
    assert await engine.reader.count_events(at_most=10, where=where) == len(matching)
    page = await engine.reader.events_after("", limit=10, where=where)
    assert {each.event.cost_nano_usd for each in page.events} == matching


async def test_pages_of_events_neither_overlap_nor_leave_out(engine: Engine) -> None:
    await commit(engine, *(make_event(started_at=START + timedelta(milliseconds=n // 2)) for n in range(7)))
    where = EventFilter(key_hash="k1")
    whole = await engine.reader.latest_events(limit=100, where=where)
    pages = [await engine.reader.latest_events(limit=3, offset=offset, where=where) for offset in (0, 3, 6, 9)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert tuple(event for page in pages for event in page) == whole
    assert await engine.reader.count_events(at_most=100, where=where) == 7
    assert await engine.reader.count_events(at_most=5, where=where) == 5
    one = EventFilter(event_id=whole[0].event.event_id)
    assert await engine.reader.count_events(at_most=5, where=one) == 1
    assert await engine.reader.count_events(at_most=5, where=EventFilter(event_id="not a uuid")) == 0
