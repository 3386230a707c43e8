"""Migrations of a PostgreSQL database: once each, whoever runs them, and only as they were written."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tallystick.errors import MigrationFailed, StoreUnavailable
from tallystick.runtime.clock import SystemClock
from tallystick.stores.migrations import load_migrations
from tallystick.stores.postgres.database import PostgresDatabase

VERSIONS = tuple(migration.version for migration in load_migrations("tallystick.stores.postgres"))


@pytest.fixture
async def database(empty_postgres_url):
    database = PostgresDatabase(empty_postgres_url, clock=SystemClock())
    yield database
    await database.close()


async def execute(url, statement):
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def test_concurrent_runs_apply_each_migration_once(empty_postgres_url):
    databases = [PostgresDatabase(empty_postgres_url, clock=SystemClock()) for _ in range(5)]
    applied = await asyncio.gather(*(database.migrate() for database in databases))
    assert sorted(version for versions in applied for version in versions) == list(VERSIONS)
    for database in databases:
        await database.close()


async def test_a_second_run_does_nothing(database):
    assert await database.migrate() == VERSIONS
    assert await database.migrate() == ()


async def test_first_use_migrates(database):
    await database.ping()
    assert await database.migrate() == ()


async def test_many_first_uses_at_once_connect_and_migrate_once(database):
    await asyncio.gather(*(database.ping() for _ in range(20)))
    assert await database.migrate() == ()


async def test_without_auto_migrate_an_old_schema_is_refused(empty_postgres_url):
    database = PostgresDatabase(empty_postgres_url, clock=SystemClock(), auto_migrate=False)
    with pytest.raises(MigrationFailed, match="tallystick migrate"):
        await database.ping()
    await database.migrate()
    await database.ping()
    await database.close()


async def test_a_changed_migration_is_refused(database, empty_postgres_url):
    await database.migrate()
    await execute(empty_postgres_url, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 1")
    with pytest.raises(MigrationFailed, match="was changed after it was applied"):
        await database.migrate()


async def test_a_newer_schema_is_tolerated(database, empty_postgres_url):
    await database.migrate()
    await execute(empty_postgres_url, "INSERT INTO schema_migrations VALUES (9000, 'later', 'x', now())")
    assert await database.migrate() == ()
    await database.ping()


async def test_a_newer_schema_without_what_this_release_uses_is_refused(database, empty_postgres_url):
    await database.migrate()
    name = f"contract_{VERSIONS[-1] + 1:04d}_drop"
    await execute(empty_postgres_url, f"INSERT INTO schema_migrations VALUES (9000, '{name}', 'x', now())")
    with pytest.raises(MigrationFailed, match="Upgrade it"):
        await database.migrate()


async def test_a_failing_migration_is_rolled_back_and_named(database, empty_postgres_url):
    await execute(empty_postgres_url, "CREATE TABLE virtual_keys (id int)")
    with pytest.raises(MigrationFailed, match="0001_ledger_and_keys"):
        await database.migrate()
    await execute(empty_postgres_url, "DROP TABLE virtual_keys")
    assert await database.migrate() == VERSIONS


async def test_a_database_put_in_this_ones_place_is_migrated(database, empty_postgres_url):
    await database.ping()
    await execute(empty_postgres_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with pytest.raises(StoreUnavailable):
        async with database.connection() as connection:
            await connection.fetch("SELECT watermark FROM producers")
    async with database.connection() as connection:
        assert await connection.fetch("SELECT watermark FROM producers") == []


async def test_without_prepared_statements_or_session_settings(empty_postgres_url):
    database = PostgresDatabase(empty_postgres_url, clock=SystemClock(), statement_cache_size=0)
    await database.ping()
    await database.ping()
    await database.close()
