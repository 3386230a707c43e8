"""PostgreSQL by way of PgBouncer in transaction mode: what the contract's suite, one client at a time, can't show."""

from __future__ import annotations

import asyncio

import pytest

from conformance.engines import empty_postgres
from ledger_kit import make_event
from pgbouncer import PgBouncer
from services import ServiceMissing
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger

INSTANCES, BATCHES = 6, 15


def behind(url: str) -> PostgresDatabase:
    return PostgresDatabase(url, clock=SystemClock(), statement_cache_size=0, pool_size_max=3)


async def test_more_clients_than_connections_to_the_server(pooled_postgres_url) -> None:
    """Each transaction gets another connection: a statement prepared on one must not be looked for on the next."""
    await empty_postgres(pooled_postgres_url)
    databases = [behind(pooled_postgres_url) for _ in range(INSTANCES)]

    async def instance(number: int) -> None:
        ledger = PostgresLedger(database=databases[number])
        for batch in range(BATCHES):
            await ledger.commit(batch_of(f"p{number}", 2 * batch + 1, [make_event(), make_event()]))

    async def reader(number: int) -> None:
        ledger = PostgresLedger(database=databases[number])
        for _ in range(BATCHES):
            await ledger.latest_events(limit=3, where=EventFilter(user_id="u1"))
            await ledger.total("key", "k1")

    async with asyncio.TaskGroup() as group:
        for number in range(INSTANCES):
            group.create_task(instance(number))
            group.create_task(reader(number))
    audit = await PostgresAuditor(database=databases[0]).audit()
    assert (audit.events, audit.difference_count) == (INSTANCES * BATCHES * 2, 0)
    await asyncio.gather(*(database.close() for database in databases))


async def test_migrations_wait_for_each_other_without_a_session(postgres_server, empty_postgres_url) -> None:
    name = empty_postgres_url.rpartition("/")[2]
    with _pooler(postgres_server.url()) as pooler:
        databases = [behind(pooler.url(name)) for _ in range(4)]
        applied = await asyncio.gather(*(database.migrate() for database in databases))
        versions = [version for each in applied for version in each]
        assert versions
        assert len(versions) == len(set(versions))
        await asyncio.gather(*(database.close() for database in databases))


async def test_nothing_is_listened_to(pooled_postgres_url) -> None:
    """A LISTEN would stay on a connection that others use."""
    database = behind(pooled_postgres_url)
    async with asyncio.timeout(10):
        await PostgresControlStore(database=database).wait_for_change(timeout_seconds=0.05)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'") == 0
    await database.close()


async def test_it_goes_on_after_the_server_behind_was_killed(own_postgres_server) -> None:
    with _pooler(own_postgres_server.url()) as pooler:
        database = behind(pooler.url("postgres"))
        ledger = PostgresLedger(database=database)
        assert await ledger.commit(batch_of("p", 1, [make_event()])) == 1
        own_postgres_server.kill()
        own_postgres_server.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await ledger.commit(batch_of("p", 2, [make_event()])) == 2
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)  # The pooler waits before it connects again.
        audit = await PostgresAuditor(database=database).audit()
        assert (audit.events, audit.difference_count) == (2, 0)
        await database.close()


def _pooler(url: str) -> PgBouncer:
    try:
        return PgBouncer(url)
    except ServiceMissing as error:
        pytest.skip(str(error))  # That it is missing is said by `pooled_postgres_url`, which fails in CI.
