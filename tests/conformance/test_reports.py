"""Totals and daily sums: what each entity spent, and how reports group and order it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from conformance.kit import START, Engine, assert_adds_up, counters_of, make_batch, make_event
from tallystick.ledger.batch import ENTITY_TYPES, batch_of
from tallystick.wire.usage import Usage

DAY = date(2026, 3, 14)


async def commit(engine: Engine, *events: object) -> None:
    await engine.ledger.commit(batch_of("p", 1, events))


@pytest.mark.parametrize("entity_type", ENTITY_TYPES)
async def test_an_entity_that_never_spent_has_zeros(engine: Engine, entity_type: str) -> None:
    assert counters_of(await engine.reader.total(entity_type, "nobody")) == [0] * 9
    assert await engine.reader.totals(entity_type, limit=10) == ()


async def test_an_event_counts_for_each_of_its_entities(engine: Engine) -> None:
    usage = Usage(
        input_tokens=100, output_tokens=20, cache_read_tokens=30, cache_write_tokens=4, reasoning_tokens=5, images=9
    )
    await commit(engine, make_event(usage=usage, cost_nano_usd=77), make_event(status="failure", usage=Usage()))
    expected = [2, 1, 1, 100, 20, 30, 4, 5, 1_077]
    entities = [
        ("global", "", ""), ("key", "k1", ""), ("user", "u1", ""), ("team", "t1", ""), ("organization", "o1", ""),
        ("team_member", "t1", "u1"), ("end_user", "e1", ""), ("tag", "red", ""), ("tag", "blue", ""),
        ("model_group", "small", ""), ("model", "small-1", ""), ("provider", "demo", ""),
    ]  # fmt: skip
    for entity_type, entity_id, member_id in entities:
        row = await engine.reader.total(entity_type, entity_id, member_id)
        assert counters_of(row) == expected, entity_type
        assert row in await engine.reader.totals(entity_type, limit=10)
    assert {entity_type for entity_type, _, _ in entities} == set(ENTITY_TYPES)


async def test_tags_overlap_and_count_once_each(engine: Engine) -> None:
    events = [make_event(tags=("a", "b", "a")), make_event(tags=("b",)), make_event(tags=())]
    await commit(engine, *events)
    assert (await engine.reader.total("tag", "a")).requests == 1
    assert (await engine.reader.total("tag", "b")).requests == 2
    assert (await engine.reader.total("global", "")).requests == 3
    await assert_adds_up(engine, events)


async def test_a_member_is_counted_by_team(engine: Engine) -> None:
    events = [make_event(), make_event(team_id="t2"), make_event(user_id=""), make_event(team_id="", user_id="u2")]
    await commit(engine, *events)
    assert (await engine.reader.total("team_member", "t1", "u1")).requests == 1
    assert (await engine.reader.total("team_member", "t2", "u1")).requests == 1
    assert (await engine.reader.total("user", "u1")).requests == 2
    rows = await engine.reader.totals("team_member", limit=10)
    assert {(row.group["entity_id"], row.group["member_id"]) for row in rows} == {("t1", "u1"), ("t2", "u1")}


async def test_totals_come_dearest_first(engine: Engine) -> None:
    await commit(engine, *(make_event(key_hash=f"k{cost}", cost_nano_usd=cost) for cost in (5, 900, 30, -4)))
    rows = await engine.reader.totals("key", limit=3)
    assert [row.group["entity_id"] for row in rows] == ["k900", "k30", "k5"]
    assert rows[0].group == {"entity_id": "k900", "member_id": ""}


async def test_a_correction_may_be_negative(engine: Engine) -> None:
    events = [make_event(cost_nano_usd=100), make_event(cost_nano_usd=-130)]
    await commit(engine, *events)
    assert (await engine.reader.total("key", "k1")).cost_nano_usd == -30
    await assert_adds_up(engine, events)


@pytest.mark.parametrize(
    ("group_by", "field"),
    [
        ("key", "key_hash"),
        ("user", "user_id"),
        ("team", "team_id"),
        ("organization", "organization_id"),
        ("model_group", "model_group"),
        ("model", "model"),
        ("provider", "provider"),
        ("endpoint", "endpoint"),
    ],
)
async def test_daily_sums_group_by_one_column(engine: Engine, group_by: str, field: str) -> None:
    await commit(
        engine,
        make_event(**{field: "cheap"}, cost_nano_usd=10),
        make_event(**{field: "dear"}, cost_nano_usd=50, tool="search"),
        make_event(**{field: "dear"}, cost_nano_usd=50, started_at=START + timedelta(days=1)),
        make_event(**{field: ""}, cost_nano_usd=20),
    )
    rows = await engine.reader.daily(group_by=group_by, first=DAY, last=DAY + timedelta(days=1), limit=10)
    assert [(row.group, row.cost_nano_usd) for row in rows] == [
        ({group_by: "dear"}, 100),
        ({group_by: ""}, 20),
        ({group_by: "cheap"}, 10),
    ]
    (dearest,) = await engine.reader.daily(group_by=group_by, first=DAY, last=DAY, limit=1)
    assert (dearest.group, dearest.cost_nano_usd, dearest.requests) == ({group_by: "dear"}, 50, 1)


async def test_days_come_in_order_and_follow_utc(engine: Engine) -> None:
    midnight = START.replace(hour=0, minute=0, second=0, microsecond=0)
    await commit(
        engine,
        make_event(started_at=midnight - timedelta(milliseconds=1), cost_nano_usd=1),
        make_event(started_at=midnight, cost_nano_usd=2),
        make_event(started_at=midnight + timedelta(days=1, milliseconds=-1), cost_nano_usd=4),
        make_event(started_at=midnight + timedelta(days=1), cost_nano_usd=8),
    )
    rows = await engine.reader.daily(group_by="day", first=DAY - timedelta(days=9), last=DAY + timedelta(9), limit=10)
    assert [(row.group["day"], row.cost_nano_usd) for row in rows] == [
        ("2026-03-13", 1),
        ("2026-03-14", 6),
        ("2026-03-15", 8),
    ]
    (row,) = await engine.reader.daily(group_by="day", first=DAY, last=DAY, limit=10)
    assert row.cost_nano_usd == 6


async def test_daily_sums_of_one_key(engine: Engine) -> None:
    await commit(engine, make_event(key_hash="a", model="m1"), make_event(key_hash="b", model="m1"), make_event())
    rows = await engine.reader.daily(group_by="model", first=DAY, last=DAY, limit=10, key_hash="a")
    assert [(row.group, row.requests) for row in rows] == [({"model": "m1"}, 1)]
    assert await engine.reader.daily(group_by="model", first=DAY, last=DAY, limit=10, key_hash="c") == ()
    assert await engine.reader.daily(group_by="day", first=DAY + timedelta(1), last=DAY, limit=10) == ()


async def test_spend_of_entities_is_read_at_once(engine: Engine) -> None:
    await engine.ledger.commit(make_batch("p", 1, 3, key_hash="a", cost_nano_usd=7))
    await engine.ledger.commit(make_batch("q", 1, 2, key_hash="b", user_id="ü", cost_nano_usd=10))
    expected = {
        ("key", "a", ""): 21,
        ("key", "b", ""): 20,
        ("user", "ü", ""): 20,
        ("team", "t1", ""): 41,
        ("team_member", "t1", "ü"): 20,
        ("global", "", ""): 41,
        ("key", "never", ""): 0,
        ("team_member", "t1", ""): 0,
        ("key", "\x00", ""): 0,
        ("no such type", "a", ""): 0,
    }
    assert await engine.reader.spend_of([*expected, *expected]) == expected
    assert await engine.reader.spend_of([]) == {}
