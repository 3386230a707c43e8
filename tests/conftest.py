"""What every test may ask for."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from pgbouncer import PgBouncer
from services import ExternalPostgres, PostgresServer, RedisServer, ServiceMissing, postgres, redis_url_of_session
from sink_services import HTTPProcess, moto_server, postgrest_server, table_definition
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.database import PostgresDatabase


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer | ExternalPostgres]:
    """The session's PostgreSQL, shared by all tests of a worker: do not stop it; `own_postgres_server` may be."""
    with postgres() as server:
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, to be stopped, killed and started."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer | ExternalPostgres) -> Iterator[str]:
    """The name of a migrated database, which the tests' own ones are copied from."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _run(_execute(postgres_server.url(), f"CREATE DATABASE {name}"))
    _run(_migrate(postgres_server.url(name)))
    yield name
    _run(_execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer | ExternalPostgres) -> Iterator[str]:
    """The URL of a fresh database without any table."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _run(_execute(postgres_server.url(), f"CREATE DATABASE {name}"))
    yield postgres_server.url(name)
    _run(_execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgres_url(postgres_server: PostgresServer | ExternalPostgres, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _run(_execute(postgres_server.url(), f"CREATE DATABASE {name} TEMPLATE {postgres_template}"))
    yield postgres_server.url(name)
    _run(_execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def pooled_postgres_url(postgres_server: PostgresServer | ExternalPostgres, postgres_template: str) -> Iterator[str]:
    """The URL of a database behind a PgBouncer in transaction mode. Tests share it: empty it first.

    Its schema is that of a release to come, on which this one has to run while instances are upgraded one by one.
    """
    name = f"pooled_{uuid.uuid4().hex[:12]}"
    try:
        pooler = PgBouncer(postgres_server.url())
    except ServiceMissing as error:
        # Continuous integration installs it; elsewhere the reason is shown, and the rest goes on.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    _run(_execute(postgres_server.url(), f"CREATE DATABASE {name} TEMPLATE {postgres_template}"))
    _run(_expand(postgres_server.url(name)))
    with pooler:
        yield pooler.url(name)
    _run(_execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A fresh, migrated database, connected."""
    database = PostgresDatabase(postgres_url, clock=SystemClock())
    yield database
    await database.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of the session's Redis, shared by all tests of a worker: take a `redis_prefix` and flush nothing."""
    with redis_url_of_session() as url:
        yield url


@pytest.fixture
def redis_prefix() -> str:
    """How the test's own keys begin in the shared Redis."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed, emptied and started."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[HTTPProcess]:
    """The session's S3 and DynamoDB: take names of your own."""
    with moto_server() as server:
        yield server


@pytest.fixture
def supabase(empty_postgres_url: str) -> Iterator[HTTPProcess]:
    """PostgREST on a fresh database that has the documented table."""
    _run(_execute(empty_postgres_url, table_definition()))
    with postgrest_server(empty_postgres_url) as server:
        yield server


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread of its own: a test's event loop must not meet another one."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        executor.submit(asyncio.run, work).result()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _expand(url: str) -> None:
    """Add to a schema what migrations of later releases may: columns that are empty or have a default, and a table."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'schema_migrations'"
        )
        for table in tables:
            await connection.execute(
                f"ALTER TABLE {table['name']} ADD COLUMN later_text text, "
                "ADD COLUMN later_number bigint NOT NULL DEFAULT 7"
            )
        await connection.execute("CREATE TABLE later (id bigint PRIMARY KEY)")
        await connection.execute("INSERT INTO schema_migrations VALUES (9001, 'later', 'x', now())")
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    database = PostgresDatabase(url, clock=SystemClock())
    try:
        await database.migrate()
    finally:
        await database.close()
