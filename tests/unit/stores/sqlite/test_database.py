"""The SQLite file itself: how it is opened, what it does when it is away, several processes at once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import apsw
import pytest

from conformance.kit import make_batch
from tallystick.control.objects import Kind, ObjectRef
from tallystick.errors import MigrationFailed, RowRefused, StoreUnavailable
from tallystick.stores.sqlite import SqliteAuditor, SqliteControlStore, SqliteDatabase, SqliteLedger
from tallystick.stores.sqlite import database as module
from tallystick.testing import FakeClock


@pytest.fixture
async def opened(tmp_path):
    """A function that opens a database and closes it at the end."""
    databases = []

    def open_database(path: Path = tmp_path / "ledger.db", **settings) -> SqliteDatabase:
        databases.append(SqliteDatabase(path, clock=FakeClock(), **settings))
        return databases[-1]

    yield open_database
    for database in databases:
        await database.close()


async def test_it_opens_and_migrates_at_first_use(opened, tmp_path: Path) -> None:
    database = opened()
    assert not database.path.exists()
    await database.ping()
    assert database.path.exists()
    assert await database.migrate() == ()
    assert await database.pending_migrations() == ()


async def test_settings_are_the_safe_ones(opened) -> None:
    database = opened()

    def settings(connection: apsw.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.pragma(name) for name in names]

    assert await database.write(settings) == ["wal", 2, 1, 10_000]


async def test_readers_can_not_write(opened) -> None:
    database = opened()
    with pytest.raises(StoreUnavailable, match="read-only"):
        await database.read(lambda connection: connection.execute("DELETE FROM totals"))
    await database.read(lambda connection: connection.execute("SELECT count(*) FROM totals").fetchall())


async def test_without_auto_migrate_it_says_what_to_run(opened) -> None:
    database = opened(auto_migrate=False)
    with pytest.raises(MigrationFailed, match="tallystick migrate"):
        await database.ping()
    assert (await database.pending_migrations())[:2] == ("0001_ledger_and_keys", "0002_control_objects")
    assert (await database.migrate())[:2] == (1, 2)
    await database.ping()


async def test_a_migration_that_was_edited_is_refused(opened) -> None:
    first = opened()
    await first.write(lambda connection: connection.execute("UPDATE schema_migrations SET checksum = 'x'"))
    with pytest.raises(MigrationFailed, match="was changed after it was applied"):
        await opened().ping()


async def test_the_schema_of_a_newer_release_is_lived_with(opened) -> None:
    first = opened()
    await first.write(
        lambda connection: connection.execute("INSERT INTO schema_migrations VALUES (999, 'future', 'x', 0)")
    )
    assert await SqliteLedger(database=opened()).watermark("p") == 0


async def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module.apsw, "sqlitelibversion", lambda: "3.51.2")
    with pytest.raises(StoreUnavailable, match=r"3\.51\.2 can damage"):
        SqliteDatabase(tmp_path / "x.db", clock=FakeClock())
    monkeypatch.setattr(module.apsw, "sqlitelibversion", lambda: "3.52.0")
    await SqliteDatabase(tmp_path / "x.db", clock=FakeClock()).close()


async def test_a_directory_that_is_missing_is_named_and_may_appear_later(opened, tmp_path: Path) -> None:
    directory = tmp_path / "later"
    ledger = SqliteLedger(database=opened(directory / "ledger.db"))
    with pytest.raises(StoreUnavailable, match=r"the directory .*later does not exist"):
        await ledger.watermark("p")
    directory.mkdir()
    assert await ledger.commit(make_batch("p", 1, 1)) == 1


async def test_a_path_that_is_a_directory(opened, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="it is a directory"):
        await opened(tmp_path).ping()


async def test_a_file_that_is_no_database(opened, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is not a database, it is a text " * 100)
    with pytest.raises(StoreUnavailable, match="not a SQLite database"):
        await opened().ping()


async def test_a_damaged_file(opened, tmp_path: Path) -> None:
    database = opened()
    ledger = SqliteLedger(database=database)
    await ledger.commit(make_batch("p", 1, 500))
    await database.close()
    path = tmp_path / "ledger.db"
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xaa" * (len(content) - 8192))
    with pytest.raises(StoreUnavailable):
        await SqliteAuditor(database=opened()).audit()


async def test_a_full_disk_is_waited_out(opened) -> None:
    database = opened()
    ledger = SqliteLedger(database=database)
    first = make_batch("p", 1, 10)
    await ledger.commit(first)

    def fill(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", connection.pragma("page_count") + 1)

    await database.write(fill)
    second = make_batch("p", 11, 1_000)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await ledger.commit(second)
    # The limit belonged to the connection; the next call opens a new one.
    assert await ledger.watermark("p") == 10
    assert await ledger.commit(second) == 1_010


async def test_a_lock_that_is_held_too_long(opened, tmp_path: Path) -> None:
    ledger = SqliteLedger(database=opened(busy_timeout_seconds=0.01))
    await ledger.commit(make_batch("p", 1, 1))
    other = apsw.Connection(str(tmp_path / "ledger.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        await ledger.commit(make_batch("p", 2, 1))
    assert await ledger.watermark("p") == 1
    other.execute("ROLLBACK")
    other.close()
    assert await ledger.commit(make_batch("p", 2, 1)) == 2


async def test_a_file_that_was_deleted_is_not_written_to(opened, tmp_path: Path) -> None:
    ledger = SqliteLedger(database=opened())
    await ledger.commit(make_batch("p", 1, 1))
    assert await ledger.watermark("p") == 1
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink()
    with pytest.raises(StoreUnavailable, match="moved or deleted"):
        await ledger.watermark("p")
    with pytest.raises(StoreUnavailable, match="moved or deleted"):
        await ledger.commit(make_batch("p", 2, 1))
    assert await ledger.commit(make_batch("p", 2, 1)) == 0


async def test_after_closing_nothing_works(opened) -> None:
    database = opened()
    await database.ping()
    await database.close()
    await database.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await SqliteLedger(database=database).watermark("p")
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.ping()


async def test_text_that_is_not_unicode_is_refused_in_control_objects_too(opened) -> None:
    with pytest.raises(RowRefused):
        await SqliteControlStore(database=opened()).find(ObjectRef(Kind.KEY, "\ud800"))


async def test_what_was_begun_is_finished_when_the_caller_leaves(opened) -> None:
    ledger = SqliteLedger(database=opened())
    await ledger.watermark("p")
    task = asyncio.ensure_future(ledger.commit(make_batch("p", 1, 200)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await ledger.commit(make_batch("p", 201, 1)) in {0, 201}
    audit = await SqliteAuditor(database=ledger._database).audit()
    assert audit.differences == ()


async def test_many_open_a_new_file_at_once(opened) -> None:
    databases = [opened() for _ in range(8)]
    await asyncio.gather(*(database.ping() for database in databases))
    assert await databases[0].pending_migrations() == ()


WORKER = """
import asyncio, sys
from conformance.kit import make_event, START
from tallystick.ledger.batch import batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.sqlite import SqliteDatabase, SqliteLedger

async def work(path, own):
    database = SqliteDatabase(path, clock=SystemClock(), busy_timeout_seconds=60)
    ledger = SqliteLedger(database=database)
    for first in range(1, 200, 10):
        events = [make_event(key_hash=own) for _ in range(10)]
        assert await ledger.commit(batch_of(own, first, events)) == first + 9
    await database.close()

asyncio.run(work(*sys.argv[1:]))
"""


async def test_processes_share_one_file(opened, tmp_path: Path) -> None:
    """Three processes make the file, migrate it and commit to it at the same time."""
    path = tmp_path / "ledger.db"
    tests = Path(__file__).parents[3]
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, str(path), f"worker-{index}", env={"PYTHONPATH": str(tests)}
        )
        for index in range(3)
    ]
    async with asyncio.timeout(100):
        assert [await worker.wait() for worker in workers] == [0, 0, 0]
    audit = await SqliteAuditor(database=opened()).audit()
    assert (audit.events, audit.differences) == (600, ())
    assert [producer.watermark for producer in audit.producers] == [200, 200, 200]
