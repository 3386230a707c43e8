"""The contract of `LeadershipStore`: one leader at a time by the store's clock, and a higher term for each new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest

from tallystick.config.redis_address import parse_redis_url
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.leadership import LeadershipStore, Standing
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.leadership import PostgresLeaderships
from tallystick.stores.redis.connection import connect
from tallystick.stores.redis.leadership import RedisLeaderships
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.leadership import SqliteLeaderships
from tallystick.testing import FakeClock
from tallystick.testing.leaderships import MemoryLeaderships


@dataclass(frozen=True)
class Place:
    """A store, and how to let time pass for it."""

    store: LeadershipStore
    let_pass: Callable[[float], Awaitable[None]]

    async def take(self, holder: str, name: str = "jobs") -> Standing:
        return await self.store.take(name, holder, seconds=10)


async def in_memory(_request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    clock = FakeClock()

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    yield Place(MemoryLeaderships(clock=clock), let_pass)


async def in_sqlite(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    clock = FakeClock()
    database = SqliteDatabase(request.getfixturevalue("tmp_path") / "ledger.db", clock=clock)

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    yield Place(SqliteLeaderships(database=database), let_pass)
    await database.close()


async def in_postgres(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    url = request.getfixturevalue("postgres_url")
    database = PostgresDatabase(url, clock=SystemClock())

    async def let_pass(seconds: float) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "UPDATE leaderships SET expires_at = expires_at - $1::interval", timedelta(seconds=seconds)
        )
        await connection.close()

    yield Place(PostgresLeaderships(database=database), let_pass)
    await database.close()


async def in_redis(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    client = connect(parse_redis_url(request.getfixturevalue("redis_url")), timeout_seconds=5)
    prefix = request.getfixturevalue("redis_prefix")

    async def let_pass(seconds: float) -> None:
        for key in await client.keys(f"{{{prefix}}}:leader:*"):
            left = await client.pttl(key)
            if left >= 0:
                await client.pexpire(key, left - round(seconds * 1000))  # A time that is over deletes it.

    async def ledger_id() -> str:
        return "ours"

    store = RedisLeaderships(client, ledger_id=ledger_id, where="tests", key_prefix=prefix, timeout_seconds=5)
    yield Place(store, let_pass)
    await client.aclose()


PLACES = {"memory": in_memory, "sqlite": in_sqlite, "postgres": in_postgres, "redis": in_redis}


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async for each in PLACES[request.param](request):
        yield each


async def test_the_first_leads_and_the_others_hear_of_it(place: Place) -> None:
    assert await place.take("a") == Standing(holder="a", term=1)
    assert await place.take("b") == Standing(holder="a", term=1)
    assert await place.take("b", "other") == Standing(holder="b", term=1)


async def test_who_asks_again_goes_on_under_the_same_term(place: Place) -> None:
    await place.take("a")
    for _ in range(4):
        await place.let_pass(8)
        assert await place.take("a") == Standing(holder="a", term=1)
    assert await place.take("b") == Standing(holder="a", term=1)


async def test_another_leads_when_the_time_is_over(place: Place) -> None:
    await place.take("a")
    await place.let_pass(10.5)
    assert await place.take("b") == Standing(holder="b", term=2)
    assert await place.take("a") == Standing(holder="b", term=2)


async def test_a_leader_that_comes_back_too_late_begins_a_new_term(place: Place) -> None:
    await place.take("a")
    await place.let_pass(10.5)
    assert await place.take("a") == Standing(holder="a", term=2)


async def test_a_leadership_that_was_given_up_is_taken_at_once(place: Place) -> None:
    await place.take("a")
    await place.store.give_up("jobs", "b")
    assert (await place.take("b")).holder == "a"
    await place.store.give_up("jobs", "a")
    await place.store.give_up("jobs", "a")
    assert await place.take("b") == Standing(holder="b", term=2)
    await place.store.give_up("nothing", "a")


async def test_of_many_who_ask_at_once_one_leads(place: Place) -> None:
    for term in range(1, 4):
        standings = await asyncio.gather(*(place.take(f"holder-{term}-{number}") for number in range(8)))
        assert len(set(map(repr, standings))) == 1
        assert standings[0].term == term
        await place.let_pass(10.5)
