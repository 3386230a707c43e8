"""PostgreSQL tells of changes at once, and goes on telling after its connection was lost."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from control_kit import add, apply, creation, make_team
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres import listener
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.testing import FakeClock

LONG_SECONDS = 60.0
SOON_SECONDS = 1.0
LISTENING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"


@pytest.fixture
async def opened(postgres_url):
    """A function that opens the database once more, as another process does."""
    databases = []

    def open_store(url: str = postgres_url, **settings) -> PostgresControlStore:
        databases.append(PostgresDatabase(url, **({"clock": SystemClock()} | settings)))
        return PostgresControlStore(database=databases[-1])

    yield open_store
    for database in databases:
        await database.close()


async def listening(url: str) -> int:
    """Return the process that listens, as soon as there is one."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(30):
            while (pid := await connection.fetchval(LISTENING)) is None:
                await asyncio.sleep(0.01)
        return int(pid)
    finally:
        await connection.close()


async def waits_seconds(store: PostgresControlStore, *, timeout_seconds: float = LONG_SECONDS) -> float:
    begun = time.monotonic()
    await store.wait_for_change(timeout_seconds=timeout_seconds)
    return time.monotonic() - begun


async def test_a_change_wakes_who_waits_elsewhere(opened, postgres_url) -> None:
    writer, reader = opened(), opened()
    assert await waits_seconds(reader) < SOON_SECONDS * 10  # It may have missed something before it listened.
    waiting = [asyncio.create_task(reader.wait_for_change(timeout_seconds=LONG_SECONDS)) for _ in range(3)]
    await listening(postgres_url)
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    begun = time.monotonic()
    revision = await apply(writer, creation(make_team("t")))
    await asyncio.gather(*waiting)
    assert time.monotonic() - begun < SOON_SECONDS
    assert [entry.revision for entry in await reader.changes_after(0, limit=9)] == [revision]


async def test_what_was_told_between_two_waits_is_not_missed(opened, postgres_url) -> None:
    writer, reader = opened(), opened()
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    await listening(postgres_url)
    await apply(writer, creation(make_team("t")))
    assert await waits_seconds(reader) < SOON_SECONDS


async def test_a_change_that_was_rolled_back_wakes_nobody(opened, postgres_url) -> None:
    writer, reader = opened(), opened()
    await add(writer, make_team("t"))
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    with pytest.raises(Exception, match="exists"):
        await apply(writer, creation(make_team("t")), creation(make_team("u")))
    assert await waits_seconds(reader, timeout_seconds=0.2) >= 0.19


async def test_a_lost_connection_wakes_and_is_made_again(opened, postgres_url) -> None:
    writer, reader = opened(), opened()
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    first = await listening(postgres_url)
    waiting = asyncio.create_task(waits_seconds(reader))
    await asyncio.sleep(0)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SELECT pg_terminate_backend($1)", first)
    await connection.close()
    assert await waiting < SOON_SECONDS * 10
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)  # It listens again, and may have missed something.
    assert await listening(postgres_url) != first
    waiting = asyncio.create_task(waits_seconds(reader))
    await asyncio.sleep(0)
    await apply(writer, creation(make_team("t")))
    assert await waiting < SOON_SECONDS


async def test_during_an_outage_a_wait_ends_with_its_timeout(opened, own_postgres_server) -> None:
    server = own_postgres_server
    writer, reader = opened(server.url()), opened(server.url())
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    server.stop()
    await waits_seconds(reader, timeout_seconds=0.01)
    assert await waits_seconds(reader, timeout_seconds=0.2) >= 0.19
    server.start()
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    waiting = asyncio.create_task(waits_seconds(reader))
    await asyncio.sleep(0)
    await apply(writer, creation(make_team("t")))
    assert await waiting < SOON_SECONDS


async def test_a_connection_that_is_silent_for_long_is_asked(opened, monkeypatch) -> None:
    """A broken network need not tell; a question finds out."""
    monkeypatch.setattr(listener, "ANSWER_SECONDS_MAX", 0.05)
    clock = FakeClock()
    reader = opened(clock=clock)
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    connection = reader._listener._connection
    assert connection is not None
    connection._transport.pause_reading()  # Nothing arrives any more, not even the end.
    waiting = asyncio.create_task(reader.wait_for_change(timeout_seconds=31))
    while not clock.sleepers:
        await asyncio.sleep(0)
    clock.advance(31)
    await waiting
    waiting = asyncio.create_task(reader.wait_for_change(timeout_seconds=1))
    while not clock.sleepers and not waiting.done():
        await asyncio.sleep(0)
    clock.advance(1)
    await waiting
    assert connection.is_closed()


async def test_without_sessions_nobody_listens(opened, postgres_url) -> None:
    writer, reader = opened(), opened(statement_cache_size=0)
    await add(writer, make_team("t"))
    assert await waits_seconds(reader, timeout_seconds=0.1) >= 0.09
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval(LISTENING) is None
    await connection.close()
    await apply(reader, creation(make_team("u")))
    assert [entry.revision for entry in await reader.changes_after(0, limit=9)] == [1, 2]


async def test_it_closes_with_the_database(opened, postgres_url) -> None:
    reader = opened()
    await reader.wait_for_change(timeout_seconds=LONG_SECONDS)
    connection = reader._listener._connection
    waiting = asyncio.create_task(waits_seconds(reader))
    await asyncio.sleep(0)
    await reader._database.close()
    assert await waiting < SOON_SECONDS * 10
    assert connection is not None
    assert connection.is_closed()
    assert await waits_seconds(reader, timeout_seconds=0.1) >= 0.09
