"""How each engine is opened, empty. A new engine is one function and one line of `ENGINES`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import apsw
import asyncpg

from conformance.kit import BUDGETS_MENDABLE, LASTING, MENDABLE, Engine, falsify_memory
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.batch_jobs import PostgresBatchJobs
from tallystick.stores.postgres.budgets import PostgresBudgetStore
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.instances import PostgresInstances
from tallystick.stores.postgres.kept_files import PostgresKeptFiles
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.postgres.specs import PostgresSpecStore
from tallystick.stores.sqlite import SqliteAuditor, SqliteBudgetStore, SqliteControlStore, SqliteDatabase, SqliteLedger
from tallystick.stores.sqlite.batch_jobs import SqliteBatchJobs
from tallystick.stores.sqlite.instances import SqliteInstances
from tallystick.stores.sqlite.kept_files import SqliteKeptFiles
from tallystick.stores.sqlite.specs import SqliteSpecStore
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from tallystick.testing.batch_jobs import MemoryBatchJobs, MemoryKeptFiles
from tallystick.testing.control_store import MemoryControlStore
from tallystick.testing.instances import MemoryInstances

# Where an engine may live: an empty directory for a file, the URL of an empty database for a server.
Place = str


@asynccontextmanager
async def open_memory(place: Place) -> AsyncIterator[Engine]:
    clock = FakeClock()
    store = MemoryStore()
    control = MemoryControlStore(clock=clock)
    budgets = MemoryBudgetStore(store=store, clock=clock)

    async def tamper(name: str) -> None:
        falsify_memory(store, name)

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    yield Engine(
        kind="memory",
        ledger=store,
        peer=store,
        reader=store,
        auditor=store,
        control=control,
        peer_control=control,
        specs=control,
        instances=MemoryInstances(clock=clock),
        batch_jobs=MemoryBatchJobs(store=store),
        kept_files=MemoryKeptFiles(),
        clock=clock,
        tamper=tamper,
        budgets=budgets,
        peer_budgets=budgets,
        let_pass=let_pass,
    )


@asynccontextmanager
async def open_sqlite(place: Place) -> AsyncIterator[Engine]:
    clock = FakeClock()
    path = Path(place) / "ledger.db"
    database = SqliteDatabase(path, clock=clock)
    other = SqliteDatabase(path, clock=clock)

    async def tamper(name: str) -> None:
        connection = apsw.Connection(str(path))
        connection.execute((MENDABLE | BUDGETS_MENDABLE | LASTING)[name])
        connection.close()

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    try:
        yield Engine(
            kind="sqlite",
            ledger=SqliteLedger(database=database),
            peer=SqliteLedger(database=other),
            reader=SqliteLedger(database=database),
            auditor=SqliteAuditor(database=database),
            control=SqliteControlStore(database=database),
            peer_control=SqliteControlStore(database=other),
            specs=SqliteSpecStore(database=database),
            instances=SqliteInstances(database=database),
            batch_jobs=SqliteBatchJobs(database=database),
            kept_files=SqliteKeptFiles(database=database),
            clock=clock,
            tamper=tamper,
            budgets=SqliteBudgetStore(database=database),
            peer_budgets=SqliteBudgetStore(database=other),
            let_pass=let_pass,
        )
    finally:
        await other.close()
        await database.close()


@asynccontextmanager
async def open_postgres(place: Place, *, statement_cache_size: int = 256) -> AsyncIterator[Engine]:
    clock = FakeClock()
    database = PostgresDatabase(place, clock=clock, statement_cache_size=statement_cache_size)
    other = PostgresDatabase(place, clock=clock, statement_cache_size=statement_cache_size)

    async def tamper(name: str) -> None:
        connection = await asyncpg.connect(place, statement_cache_size=0)
        await connection.execute((MENDABLE | BUDGETS_MENDABLE | LASTING)[name])
        await connection.close()

    async def let_pass(seconds: float) -> None:
        # The server's clock can't be moved: all that it has noted moves back instead.
        clock.advance(seconds)
        connection = await asyncpg.connect(place, statement_cache_size=0)
        await connection.execute(
            "UPDATE budget_leases SET expires_at = expires_at - $1::interval", timedelta(seconds=seconds)
        )
        await connection.execute("UPDATE instances SET seen_at = seen_at - $1::interval", timedelta(seconds=seconds))
        await connection.execute(
            "UPDATE budget_windows SET wanted_until = wanted_until - $1::interval, leased_at = leased_at - $1",
            timedelta(seconds=seconds),
        )
        await connection.close()

    try:
        yield Engine(
            kind="postgres",
            ledger=PostgresLedger(database=database),
            peer=PostgresLedger(database=other),
            reader=PostgresLedger(database=database),
            auditor=PostgresAuditor(database=database),
            control=PostgresControlStore(database=database),
            peer_control=PostgresControlStore(database=other),
            specs=PostgresSpecStore(database=database),
            instances=PostgresInstances(database=database),
            batch_jobs=PostgresBatchJobs(database=database),
            kept_files=PostgresKeptFiles(database=database),
            clock=clock,
            tamper=tamper,
            budgets=PostgresBudgetStore(database=database),
            peer_budgets=PostgresBudgetStore(database=other),
            let_pass=let_pass,
        )
    finally:
        await other.close()
        await database.close()


@asynccontextmanager
async def open_pgbouncer(place: Place) -> AsyncIterator[Engine]:
    """PostgreSQL by way of a pooler that gives each transaction another connection, migrated by a later release."""
    await empty_postgres(place)
    async with open_postgres(place, statement_cache_size=0) as engine:
        yield engine


async def empty_postgres(place: Place) -> None:
    """Forget everything: quicker than another database."""
    connection = await asyncpg.connect(place, statement_cache_size=0)
    await connection.execute("""
        TRUNCATE producers, commits, spend_events, dead_letters, daily_spend, daily_entity_spend, totals;
        TRUNCATE control_objects, control_search, change_feed, audit_log;
        TRUNCATE budget_windows, budget_leases, budget_aliases, instances, kept_files, batch_jobs;
        UPDATE ledger_head SET position = 0, budget_windows = 0;
        UPDATE change_feed_head SET revision = 0
    """)
    await connection.close()


ENGINES: dict[str, Callable[[Place], AbstractAsyncContextManager[Engine]]] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
    "postgres": open_postgres,
    "pgbouncer": open_pgbouncer,
}
