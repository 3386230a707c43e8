"""A streaming replica: it reads, never less than was committed, and when it can't the primary does."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import asyncpg
import pytest

from control_kit import add, make_team
from ledger_kit import make_event
from services import PostgresServer
from tallystick.bootstrap.stores import Store, open_store
from tallystick.config.load import load_settings
from tallystick.control.store import AuditFilter
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.postgres.replica import FreshReplica, ReplicaReads, ReplicatedReader

EVERYTHING = EventFilter()


@pytest.fixture(scope="module")
def servers():
    with PostgresServer() as primary:
        standby = PostgresServer.standby_of(primary)
        with standby:
            asyncio.run(migrate(primary, standby))
            yield primary, standby


async def migrate(primary: PostgresServer, standby: PostgresServer) -> None:
    """Bring both up to date: a standby that lags in that is away for its readers."""
    database = PostgresDatabase(primary.url(), clock=SystemClock())
    await database.ping()
    async with database.connection() as connection:
        position = await connection.fetchval(database.queries["wal_position"])
    await database.close()
    connection = await asyncpg.connect(standby.url())
    async with asyncio.timeout(30):
        while not await connection.fetchval(database.queries["has_replayed"], position):
            await asyncio.sleep(0.01)
    await connection.close()


@asynccontextmanager
async def opened(primary_url: str, replica_url: str, **settings: object):
    """Yield the store and how often each outcome was told."""
    outcomes: Counter[str] = Counter()
    loaded = load_settings(
        config_file=None,
        overrides={
            "database_url": primary_url,
            "database_url_read_replica": replica_url,
            "database_connect_timeout_seconds": 1,
            **settings,
        },
        environ={},
    )
    store = open_store(loaded, clock=SystemClock(), on_replica_read=lambda outcome: outcomes.update((outcome,)))
    try:
        yield store, outcomes
    finally:
        await store.close()


async def commit(store: Store, producer: str, count: int) -> None:
    seq = await store.ledger.watermark(producer)
    for _ in range(count):
        seq = await store.ledger.commit(batch_of(producer, seq + 1, [make_event(user_id=producer)]))


async def of(store: Store, producer: str) -> int:
    return await store.reader.count_events(at_most=10_000, where=EventFilter(user_id=producer))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def fetch(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(statement)
    await connection.close()
    return found


async def test_whoever_wrote_finds_it_at_once(servers) -> None:
    """Many times, because without the check it is a matter of milliseconds."""
    primary, standby = servers
    async with (
        opened(primary.url(), standby.url(), database_replica_wait_seconds=20) as (store, outcomes),
        opened(primary.url(), standby.url()) as (writer, _),
    ):
        for number in range(1, 61):
            await commit(writer, "alice", 1)  # At another instance.
            assert await of(store, "alice") == number
            assert (await store.reader.total("user", "alice")).requests == number
        assert outcomes == {"replica": 120}
        await add(store.control, make_team("t"))
        assert (await store.control.list_audit(AuditFilter(object_id="t"), offset=0, limit=9)).total_count == 1
        assert outcomes == {"replica": 121}


async def test_the_reads_are_made_at_the_replica(servers) -> None:
    primary, standby = servers
    before = await _reads_at(standby)
    async with opened(primary.url(), standby.url(), database_replica_wait_seconds=20) as (store, _):
        await commit(store, "bob", 3)
        assert len(await store.reader.latest_events(limit=9, where=EventFilter(user_id="bob"))) == 3
        page = await store.reader.events_after("", limit=1000, where=EVERYTHING)
        assert sum(event.event.user_id == "bob" for event in page.events) == 3
    async with asyncio.timeout(10):  # A session reports when it ends.
        while await _reads_at(standby) <= before:
            await asyncio.sleep(0.01)


async def test_a_replica_that_is_behind_is_not_read(servers) -> None:
    primary, standby = servers
    async with opened(primary.url(), standby.url(), database_replica_wait_seconds=0.2) as (store, outcomes):
        await commit(store, "carol", 1)
        await execute(standby.url(), "SELECT pg_wal_replay_pause()")
        try:
            await commit(store, "carol", 4)
            assert await of(store, "carol") == 5
            assert await of(store, "carol") == 5  # It rests: this one did not wait.
        finally:
            await execute(standby.url(), "SELECT pg_wal_replay_resume()")
        assert outcomes == {"lagging": 2}
        async with asyncio.timeout(30):
            while not outcomes["replica"]:
                assert await of(store, "carol") == 5
                await asyncio.sleep(0.05)


async def test_a_replica_that_is_away_and_comes_back(servers) -> None:
    primary, standby = servers
    async with opened(primary.url(), standby.url(), database_replica_wait_seconds=20) as (store, outcomes):
        await commit(store, "dora", 1)
        assert await of(store, "dora") == 1
        standby.stop()
        try:
            assert await of(store, "dora") == 1
            assert await of(store, "dora") == 1
            assert outcomes == {"replica": 1, "away": 2}
        finally:
            standby.start()
        async with asyncio.timeout(30):
            while outcomes["replica"] < 2:
                assert await of(store, "dora") == 1
                await asyncio.sleep(0.05)


async def test_with_the_primary_away_the_replica_answers_as_it_is(servers) -> None:
    primary, standby = servers
    async with opened(primary.url(), standby.url(), database_replica_wait_seconds=20) as (store, outcomes):
        await commit(store, "emma", 2)
        assert await of(store, "emma") == 2
        primary.stop()
        try:
            assert await of(store, "emma") == 2
            assert outcomes == {"replica": 2, "unchecked": 1}
        finally:
            primary.start()


async def test_the_primary_is_asked_again_as_soon_as_anything_succeeds_there(servers) -> None:
    primary, standby = servers
    async with opened(primary.url(), standby.url(), database_replica_wait_seconds=0.2) as (store, outcomes):
        await commit(store, "gina", 1)
        async with asyncio.timeout(30):  # Also on a busy machine the standby has it before the primary goes.
            while not await fetch(standby.url(), "SELECT 1 FROM producers WHERE producer_id = 'gina'"):
                await asyncio.sleep(0.01)
        primary.stop()
        try:
            assert await of(store, "gina") == 1
            assert outcomes["unchecked"] == 1
        finally:
            primary.start()
        await execute(standby.url(), "SELECT pg_wal_replay_pause()")
        try:
            async with asyncio.timeout(30):
                while await store.ledger.watermark("gina") < 1:
                    await asyncio.sleep(0.01)
            await commit(store, "gina", 1)
            assert await of(store, "gina") == 2
        finally:
            await execute(standby.url(), "SELECT pg_wal_replay_resume()")
        assert outcomes["unchecked"] == 1


async def test_a_primary_whose_connections_are_all_in_use_is_not_away(servers, monkeypatch) -> None:
    monkeypatch.setattr("tallystick.stores.postgres.replica._PRIMARY_SECONDS_MAX", 0.1)
    primary, standby = servers
    outcomes: Counter[str] = Counter()
    clock = SystemClock()
    database = PostgresDatabase(primary.url(), clock=clock, pool_size_max=2)
    replica = PostgresDatabase(standby.url(), clock=clock, read_only=True)
    reads = ReplicaReads(clock=clock, on_read=lambda outcome: outcomes.update((outcome,)))
    fresh = FreshReplica(primary=database, replica=replica, wait_seconds=0.2, on_unchecked=reads.note_unchecked)
    reader = ReplicatedReader(reads, replica=fresh, primary=database)
    await execute(standby.url(), "SELECT pg_wal_replay_pause()")
    try:
        await PostgresLedger(database=database).commit(batch_of("hugo", 1, [make_event(user_id="hugo")]))
        async with database.connection(), database.connection():
            assert database.is_busy
            reading = asyncio.create_task(reader.total("user", "hugo"))
            while not outcomes:
                await asyncio.sleep(0.01)
            assert not reading.done()
        assert (await reading).requests == 1
        assert (await reader.total("user", "hugo")).requests == 1
    finally:
        await execute(standby.url(), "SELECT pg_wal_replay_resume()")
    assert outcomes == {"busy": 2}
    await database.close()
    await replica.close()


async def test_a_server_that_is_no_standby_is_not_read(servers, postgres_url) -> None:
    """Its positions say nothing about the primary's."""
    primary, _ = servers
    async with opened(primary.url(), postgres_url) as (store, outcomes):
        await commit(store, "fred", 1)
        assert await of(store, "fred") == 1
        assert outcomes == {"lagging": 1}


async def _reads_at(standby: PostgresServer) -> int:
    connection = await asyncpg.connect(standby.url())
    try:
        return int(
            await connection.fetchval(
                "SELECT sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)) FROM pg_stat_user_tables "
                "WHERE relname LIKE 'spend_events%'"
            )
            or 0
        )
    finally:
        await connection.close()


async def test_a_standby_in_place_of_the_database_tells_no_watermark(servers) -> None:
    """As after a failover, with a name that still leads to the former primary: what it lacks would count as new."""
    _, standby = servers
    settings = load_settings(config_file=None, overrides={"database_url": standby.url()}, environ={})
    store = open_store(settings, clock=SystemClock())
    with pytest.raises(StoreUnavailable, match="standby"):
        await store.ledger.watermark("p")
    await store.close()
