"""What happens when PostgreSQL goes away, at rest and in the middle of a commit."""

from __future__ import annotations

import asyncio
import socket
import time

import asyncpg
import pytest

from ledger_kit import make_event
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger


async def closed(url, **settings):
    database = PostgresDatabase(url, clock=SystemClock(), **settings)
    with pytest.raises(StoreUnavailable):
        await database.ping()
    await database.close()


async def until_it_answers(database):
    """Use it as a committer does, which tries again; a broken connection of the pool may cost a try."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await database.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def waiting_for(connection):
    """Return the process that waits for a lock of this connection, as soon as there is one."""
    statement = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with asyncio.timeout(30):
        while True:
            pid = await connection.fetchval(statement)
            if pid is not None:
                return pid


async def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        await closed(f"postgresql://nobody@127.0.0.1:{probe.getsockname()[1]}/none")


async def test_a_server_that_does_not_answer_is_given_up_in_time():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        database = PostgresDatabase(url, clock=SystemClock(), connect_timeout_seconds=0.3)
        # All who ask share one attempt, so the last does not wait for the others'.
        answers = await asyncio.gather(*(database.ping() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert time.monotonic() - started < 5
        await database.close()


async def test_an_unknown_host_and_a_wrong_database(postgres_server):
    await closed("postgresql://nobody@no-such-host.invalid/none")
    await closed(postgres_server.url("no_such_database"))


async def test_more_users_than_connections_wait_and_then_give_up(postgres_url):
    database = PostgresDatabase(postgres_url, clock=SystemClock(), pool_size_max=1, pool_timeout_seconds=0.2)
    async with database.connection():
        with pytest.raises(StoreUnavailable):
            await database.ping()
    await database.ping()
    await database.close()


async def test_a_closed_database_says_so(postgres_url):
    database = PostgresDatabase(postgres_url, clock=SystemClock())
    await database.ping()
    await database.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.ping()


async def test_it_recovers_by_itself_after_the_server_was_stopped_and_killed(own_postgres_server):
    server = own_postgres_server
    database = PostgresDatabase(server.url(), clock=SystemClock())
    ledger = PostgresLedger(database=database)
    assert await ledger.commit(batch_of("p", 1, [make_event()])) == 1
    first_seq = 2
    for outage in (lambda: server.stop("fast"), lambda: server.stop("immediate"), server.kill):
        outage()
        started = time.monotonic()
        batch = batch_of("p", first_seq, [make_event()])
        with pytest.raises(StoreUnavailable):
            await ledger.commit(batch)
        assert time.monotonic() - started < 5
        server.start()
        await until_it_answers(database)
        assert await ledger.commit(batch) == first_seq
        first_seq += 1
    audit = await PostgresAuditor(database=database).audit()
    assert (audit.events, audit.difference_count) == (4, 0)
    await database.close()


async def test_it_starts_before_its_server(own_postgres_server):
    own_postgres_server.stop()
    database = PostgresDatabase(own_postgres_server.url(), clock=SystemClock())
    with pytest.raises(StoreUnavailable):
        await database.ping()
    own_postgres_server.start()
    await until_it_answers(database)
    await database.close()


async def test_a_commit_whose_connection_is_killed_midway_counts_once(postgres_url, postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    await ledger.commit(batch_of("p", 1, [make_event()]))
    batch = batch_of("p", 2, [make_event() for _ in range(500)])
    other = await asyncpg.connect(postgres_url)
    # The commit gets as far as the lock that it takes last, with everything else written.
    async with other.transaction():
        await other.execute("SELECT position FROM ledger_head FOR UPDATE")
        commit = asyncio.get_running_loop().create_task(ledger.commit(batch))
        victim = await waiting_for(other)
        await other.execute("SELECT pg_terminate_backend($1)", victim)
        with pytest.raises(StoreUnavailable):
            await commit
    assert await ledger.watermark("p") == 1
    assert await ledger.commit(batch) == 501
    assert await ledger.commit(batch) == 501
    audit = await PostgresAuditor(database=postgres_database).audit()
    assert (audit.events, audit.difference_count) == (501, 0)
    await other.close()


async def test_a_commit_whose_answer_is_lost_counts_once(postgres_database, monkeypatch):
    """The commit is done, but its connection breaks before the answer arrives."""
    ledger = PostgresLedger(database=postgres_database)
    batch = batch_of("p", 1, [make_event() for _ in range(10)])
    commit = ledger._commit

    async def lose(batch):
        await commit(batch)
        raise StoreUnavailable("the answer was lost")

    with monkeypatch.context() as lossy:
        lossy.setattr(ledger, "_commit", lose)
        with pytest.raises(StoreUnavailable):
            await ledger.commit(batch)
    assert await ledger.commit(batch) == 10
    assert (await ledger.total("global", "")).requests == 10


async def test_a_commit_that_is_cancelled_leaves_nothing_behind(postgres_url, postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    batch = batch_of("p", 1, [make_event()])
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("SELECT position FROM ledger_head FOR UPDATE")
        commit = asyncio.get_running_loop().create_task(ledger.commit(batch))
        await waiting_for(other)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
    assert await ledger.commit(batch) == 1
    assert (await ledger.total("global", "")).requests == 1
    await other.close()
