"""No secret is in a database, in whatever table, and no column was forgotten."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import apsw
import asyncpg
import msgspec
import pytest

from tallystick.bootstrap import Store, open_store
from tallystick.config.load import load_settings
from tallystick.config.secret_keys import SecretKey
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.rotation import rotate, take_census
from tallystick.control.sealer import Sealer
from tallystick.control.secret_columns import SEALED, WITHOUT_SECRETS, is_classified
from tallystick.control.store import Author
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.clock import SystemClock
from unit.control.specs import MARKER, SPECS_BY_KIND

OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
ADA = Author(key_hash="hash", user_id="ada", changed_by="terraform")
_HOLDS_TEXT = re.compile(r"(?i)text|json|char|blob|bytea|any|xml|tsvector|^$")
_PARTITION = re.compile(r"^spend_events_\w+$")


class Database:
    """One engine, and ways to look behind it."""

    def __init__(
        self, store: Store, dump: Callable[[], Awaitable[bytes]], columns: Callable[[], Awaitable[set[tuple[str, str]]]]
    ) -> None:
        self.store = store
        self.dump = dump
        self.columns = columns


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    file = tmp_path / "ledger.db"
    is_file = request.param == "sqlite"
    url = f"sqlite:///{file}" if is_file else str(request.getfixturevalue("postgres_url"))
    settings = load_settings(config_file=None, overrides={"database_url": url}, environ={"HOME": str(tmp_path)})
    store = open_store(settings, clock=SystemClock())

    async def dump() -> bytes:
        return _files(tmp_path) if is_file else await _copied(url)

    async def columns() -> set[tuple[str, str]]:
        return _sqlite_columns(file) if is_file else await _postgres_columns(url)

    await store.migrate()
    yield Database(store, dump, columns)
    await store.close()


async def test_a_dump_of_the_database_has_no_secret(database: Database) -> None:
    sealer, clock = Sealer(KeyRing([NEW, OLD])), SystemClock()
    before_rotation = ObjectWriter(database.store.control, sealer=Sealer(KeyRing([OLD])), clock=clock)
    writer = ObjectWriter(database.store.control, sealer=sealer, clock=clock)
    now = clock.now()
    for kind, (object_id, spec) in SPECS_BY_KIND.items():
        for number in range(2):
            made = ControlObject(
                kind=kind, object_id=f"{object_id}-{number}", spec=spec, created_at=now, updated_at=now
            )
            made = await before_rotation.create(made, author=ADA)
            _, after = await writer.update(made.ref, _with(note="changed"), author=ADA)
            assert sealer.open(kind, made.object_id, after.spec) == {**spec, "note": "changed"}
        await writer.delete([made.ref], author=ADA)
    await rotate(database.store.specs, sealer, page_size=3)

    dump = await database.dump()

    assert b"terraform" in dump, "the dump has what was written"
    assert b"sealed:v1:new:" in dump
    assert MARKER.encode() not in dump
    assert MARKER[5:].encode() not in dump
    census = await take_census(database.store.specs, Sealer(KeyRing([NEW])))
    assert census.is_good
    assert census.objects == 2 * len(Kind)


async def test_every_column_that_can_hold_text_is_classified(database: Database) -> None:
    """A new column: say in `control/secret_columns.py` what it holds, and if secrets, make a rotation go there."""
    columns = await database.columns()

    assert {column for column in columns if not is_classified(*column)} == set()
    assert columns >= SEALED
    assert len(columns) > 50, "the schema was read"


async def test_no_column_is_classified_that_is_not_there(database: Database) -> None:
    columns = await database.columns()
    named = {(table, name) for table, lines in WITHOUT_SECRETS.items() for names in lines for name in names.split()}
    # Of SQLite's full-text tables, and of PostgreSQL's ledger, which others than one machine can use.
    elsewhere = {("control_search", "control_search"), ("control_search", "rank"), ("ledger_head", "ledger_id")}

    assert named - columns - elsewhere - _not_text_everywhere(named) == set()
    assert named & SEALED == set()


def _not_text_everywhere(named: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Columns that are text in one engine, and a date or a uuid in the other."""
    return {column for column in named if column[1] in {"event_id", "audit_id", "day", "tags"}}


def _with(**fields: str):
    return lambda held: msgspec.structs.replace(held, spec={**held.spec, **fields})


def _files(directory: Path) -> bytes:
    """Return the database as it lies on disk, with its write-ahead log."""
    return b"".join(file.read_bytes() for file in sorted(directory.glob("ledger.db*")))


def _sqlite_columns(file: Path) -> set[tuple[str, str]]:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return {
            (table, name)
            for _, table, kind, *_ in connection.execute("PRAGMA table_list").fetchall()
            if kind in {"table", "virtual"} and not table.startswith("sqlite_")
            for _, name, declared, *_ in connection.execute(f"PRAGMA table_xinfo('{table}')").fetchall()
            if _HOLDS_TEXT.search(declared)
        }
    finally:
        connection.close()


async def _postgres_columns(url: str) -> set[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, udt_name FROM information_schema.columns "
            "JOIN information_schema.tables USING (table_schema, table_name) "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"  # Views keep nothing.
        )
    finally:
        await connection.close()
    return {
        (table, column)
        for table, column, declared in rows
        if _HOLDS_TEXT.search(declared) and not _PARTITION.match(table)
    }


async def _copied(url: str) -> bytes:
    """Return every table of every schema that is ours, as COPY writes it."""
    connection = await asyncpg.connect(url)
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)
        await asyncio.sleep(0)

    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert len(tables) > 10
        for (table,) in tables:
            await connection.copy_from_query(f'SELECT * FROM "{table}"', output=keep, format="text")
    finally:
        await connection.close()
    return b"".join(chunks)
