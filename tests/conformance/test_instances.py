"""InstanceStore: who is there, by the store's clock."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from tallystick.runtime.instances import FORGOTTEN_SECONDS, SILENT_SECONDS, Instance

FIRST = Instance(
    instance_id="i-1",
    host="alpha",
    pid=7,
    version="1.2.3",
    started_at=datetime(2026, 3, 14, 9, 26, 53, 589123, tzinfo=UTC),
    revision=None,
    producer_id="p-1",
    events_pending=0,
    journal_bytes=2**40,
)
SECOND = msgspec.structs.replace(FIRST, instance_id="i-2", host="beta", revision=2**40, is_leader=True)


async def names(engine) -> list[str]:
    return [seen.instance.instance_id for seen in await engine.instances.seen(limit=100)]


async def test_what_was_said_last_is_shown(engine) -> None:
    assert await engine.instances.seen(limit=100) == ()
    await engine.instances.beat(FIRST)
    later = msgspec.structs.replace(
        FIRST, revision=9, producer_id="p-2", events_pending=5, journal_bytes=1, is_leader=True
    )
    await engine.instances.beat(later)
    (seen,) = await engine.instances.seen(limit=100)
    assert seen.instance == later
    assert 0 <= seen.silent_seconds < 5
    assert not seen.is_away


async def test_those_heard_of_last_come_first(engine) -> None:
    await engine.instances.beat(FIRST)
    await engine.let_pass(SILENT_SECONDS + 1)
    await engine.instances.beat(SECOND)
    second, first = await engine.instances.seen(limit=100)
    assert (second.instance, first.instance) == (SECOND, FIRST)
    assert (second.is_away, first.is_away) == (False, True)
    assert first.silent_seconds == pytest.approx(SILENT_SECONDS + 1, abs=5)
    (second,) = await engine.instances.seen(limit=1)
    assert second.instance == SECOND


async def test_one_that_leaves_is_forgotten_at_once(engine) -> None:
    await engine.instances.beat(FIRST)
    await engine.instances.beat(SECOND)
    await engine.instances.leave("i-1")
    await engine.instances.leave("nobody")
    assert await names(engine) == ["i-2"]


async def test_one_that_is_silent_for_a_day_is_forgotten_by_the_next_that_speaks(engine) -> None:
    await engine.instances.beat(FIRST)
    await engine.let_pass(FORGOTTEN_SECONDS - 60)
    await engine.instances.beat(SECOND)
    assert await names(engine) == ["i-2", "i-1"]
    await engine.let_pass(120)
    await engine.instances.beat(SECOND)
    assert await names(engine) == ["i-2"]
