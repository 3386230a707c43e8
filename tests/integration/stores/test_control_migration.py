"""The second migration takes the virtual keys of the first along, deleted ones and all."""

from __future__ import annotations

from datetime import UTC, datetime

import apsw
import asyncpg
import pytest

from control_kit import apply, creation, make_key
from tallystick.control.objects import Kind
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import AlreadyExists
from tallystick.runtime.clock import SystemClock
from tallystick.stores.migrations import load_migrations
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.sqlite import SqliteControlStore, SqliteDatabase

FIRST = (
    "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (1, '{0.name}', '{0.checksum}', {1})"
)
SCHEMA = "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT, checksum TEXT, applied_at {})"
COLUMNS = """
    key_hash, key_name, key_alias, user_id, team_id, organization_id, models, tags, metadata, blocked, expires_at,
    created_by, created_at, updated_at, deleted_at
"""


async def check(store: ControlStore) -> None:
    (key,) = await store.find_key("h1")
    assert (key.name, key.user_id, key.team_id, key.organization_id) == ("Prod Key", "u", "t", "o")
    assert key.spec == {"models": ["a", "b"], "tags": ["x"], "metadata": {"deep": [1, None]}, "key_name": "sk-...abcd"}
    assert (key.blocked, key.revision, key.created_by) == (True, 2, "admin")
    assert key.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert key.updated_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert key.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    (plain,) = await store.find_key("h2")
    assert (plain.name, plain.expires_at, plain.blocked, plain.revision) == ("", None, False, 3)
    assert await store.find_key("h3") == ()
    deleted = await store.list_objects(ObjectFilter(kind=Kind.KEY, deleted=True))
    assert [held.object_id for held in deleted.objects] == ["h3"]
    with pytest.raises(AlreadyExists):
        await apply(store, creation(make_key("h3")))
    for needle in ("prod", "d k", "H1", "k"):
        page = await store.list_objects(ObjectFilter(kind=Kind.KEY, search=needle))
        assert [held.object_id for held in page.objects] == ["h1"], needle
    assert await store.revision() == 4
    assert await apply(store, creation(make_key("h4"))) == 5


async def test_postgres(empty_postgres_url) -> None:
    first = load_migrations("tallystick.stores.postgres")[0]
    connection = await asyncpg.connect(empty_postgres_url)
    await connection.execute(SCHEMA.format("timestamptz") + ";" + FIRST.format(first, "now()") + ";" + first.statements)
    await connection.execute(f"""
        INSERT INTO virtual_keys ({COLUMNS}) VALUES
        ('h1', 'sk-...abcd', 'Prod Key', 'u', 't', 'o', '{{a,b}}', '{{x}}', '{{"deep": [1, null]}}', true,
            '2030-01-01Z', 'admin', '2026-01-01Z', '2026-01-02Z', NULL),
        ('h2', 'sk-...2', '', '', '', '', '{{}}', '{{}}', '{{}}', false, NULL, '', '2026-01-01Z', '2026-01-01Z', NULL),
        ('h3', 'sk-...3', 'Prod Key', '', '', '', '{{}}', '{{}}', '{{}}', false, NULL, '', '2026-01-01Z', '2026-01-01Z',
            '2026-01-03Z');
        INSERT INTO change_feed VALUES (1, 'key', 'h1', now()), (2, 'key', 'h1', now()), (3, 'key', 'h2', now()),
            (4, 'key', 'h3', now());
        UPDATE change_feed_head SET revision = 4;
    """)
    await connection.close()
    database = PostgresDatabase(empty_postgres_url, clock=SystemClock())
    await check(PostgresControlStore(database=database))
    await database.close()


def microseconds(year: int, day: int) -> int:
    return round(datetime(year, 1, day, tzinfo=UTC).timestamp()) * 1_000_000


async def test_sqlite(tmp_path) -> None:
    first = load_migrations("tallystick.stores.sqlite")[0]
    connection = apsw.Connection(str(tmp_path / "old.db"))
    connection.execute(SCHEMA.format("INTEGER") + ";" + FIRST.format(first, "0") + ";" + first.statements)
    made, changed, deleted, ends = (
        microseconds(2026, 1), microseconds(2026, 2), microseconds(2026, 3), microseconds(2030, 1),
    )  # fmt: skip
    connection.execute(f"""
        INSERT INTO virtual_keys ({COLUMNS}) VALUES
        ('h1', 'sk-...abcd', 'Prod Key', 'u', 't', 'o', '["a","b"]', '["x"]', '{{"deep": [1, null]}}', 1, {ends},
            'admin', {made}, {changed}, NULL),
        ('h2', 'sk-...2', '', '', '', '', '[]', '[]', '{{}}', 0, NULL, '', {made}, {made}, NULL),
        ('h3', 'sk-...3', 'Prod Key', '', '', '', '[]', '[]', '{{}}', 0, NULL, '', {made}, {made}, {deleted});
        INSERT INTO change_feed (kind, object_id, changed_at) VALUES
            ('key', 'h1', 0), ('key', 'h1', 0), ('key', 'h2', 0), ('key', 'h3', 0);
    """)
    connection.close()
    database = SqliteDatabase(tmp_path / "old.db", clock=SystemClock())
    await check(SqliteControlStore(database=database))
    await database.close()
