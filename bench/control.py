"""How fast control objects are made, listed, searched and deleted, on both engines.

    python bench/control.py [--keys 100000] [--engine sqlite|postgres] [--no-fsync]

Keys are made in batches of 5,000. Then: all of them page by page, as a client does that lists everything; one page by
team; searches; and the deletion of a team with 1,000 keys, in one transaction with its audit and its feed. Each figure
stands beside the time of the plainest round trip to the same store, the revision of the feed.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import uvloop

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import Author, Change, ControlStore, NoneLeft, ObjectFilter, ObjectPage
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.sqlite import SqliteControlStore, SqliteDatabase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from services import PostgresServer

NOW = datetime.now(UTC)
AUTHOR = Author(key_hash="bench")
BATCH = 5_000
PAGE = 100
TEAM_KEYS = 1_000
SPEC = {"key_name": "sk-...abcd", "models": ["small", "large"], "metadata": {"cost_center": "42"}, "rpm_limit": 100}


def key(number: int, team_id: str) -> ControlObject:
    return ControlObject(
        kind=Kind.KEY,
        object_id=hashlib.sha256(str(number).encode()).hexdigest(),
        name=f"service-{number:06}-{('production', 'staging', 'development')[number % 3]}",
        team_id=team_id,
        user_id=f"user-{number % 5_000}",
        spec=SPEC,
        created_at=NOW,
        updated_at=NOW,
    )


def creation(made: ControlObject) -> Change:
    return Change(action="created", before=None, after=made, shown_after=made.spec)


def deletion(held: ControlObject) -> Change:
    return Change(action="deleted", before=held, after=None, shown_before=held.spec)


async def make_keys(store: ControlStore, count: int) -> None:
    team = ControlObject(kind=Kind.TEAM, object_id="team-large", created_at=NOW, updated_at=NOW)
    await store.apply([creation(team)], author=AUTHOR, now=NOW)
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        changes = [
            creation(key(number, "team-large" if number < TEAM_KEYS else f"team-{number % 200}")) for number in numbers
        ]
        await store.apply(changes, author=AUTHOR, now=NOW)


async def walk(store: ControlStore, count: int) -> None:
    where = ObjectFilter(kind=Kind.KEY)
    seen = 0
    while True:
        page = await store.list_objects(where, offset=seen, limit=PAGE)
        seen += len(page.objects)
        if not page.objects:
            assert seen == page.total_count == count
            return


async def delete_team(store: ControlStore) -> None:
    """As `/team/delete` does."""
    ref = ObjectRef(Kind.TEAM, "team-large")
    team = await store.find(ref)
    keys = await store.list_objects(ObjectFilter(kind=Kind.KEY, team_ids=(ref.object_id,)), limit=TEAM_KEYS)
    assert team is not None
    assert len(keys.objects) == TEAM_KEYS
    none_left = [NoneLeft(kind=Kind.KEY, relation="team_id", value=ref.object_id)]
    await store.apply([deletion(team), *map(deletion, keys.objects)], author=AUTHOR, now=NOW, none_left=none_left)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def median(work: Callable[[], Awaitable[object]], times: int = 9) -> float:
    return statistics.median([await seconds(work) for _ in range(times)])


@asynccontextmanager
async def sqlite(*, fsync: bool) -> AsyncIterator[tuple[ControlStore, Callable[[], Awaitable[None]]]]:
    async def settle() -> None:
        return

    with tempfile.TemporaryDirectory() as directory:
        database = SqliteDatabase(Path(directory) / "control.db", clock=SystemClock())
        yield SqliteControlStore(database=database), settle
        await database.close()


@asynccontextmanager
async def postgres(*, fsync: bool) -> AsyncIterator[tuple[ControlStore, Callable[[], Awaitable[None]]]]:
    with PostgresServer(fsync=fsync) as server:

        async def settle() -> None:
            """Do what autovacuum does within a minute."""
            connection = await asyncpg.connect(server.url())
            await connection.execute("VACUUM ANALYZE")
            await connection.close()

        database = PostgresDatabase(server.url(), clock=SystemClock())
        yield PostgresControlStore(database=database), settle
        await database.close()


ENGINES = {"sqlite": sqlite, "postgres": postgres}


async def measure(engine: str, count: int, *, fsync: bool) -> None:
    def page(**filters: object) -> Callable[[], Awaitable[ObjectPage]]:
        return lambda: store.list_objects(ObjectFilter(kind=Kind.KEY, **filters), limit=PAGE)

    async with ENGINES[engine](fsync=fsync) as (store, settle):
        await store.revision()
        made = await seconds(lambda: make_keys(store, count))
        await settle()
        print(f"\n{engine}, {count:,} keys", flush=True)
        show(f"make them, {BATCH:,} in a batch", made, f"{count / made:,.0f} keys/s")
        show("plainest round trip", await median(store.revision))
        walked = await seconds(lambda: walk(store, count))
        show(f"all pages of {PAGE}", walked, f"{walked / (count / PAGE) * 1e3:.1f} ms a page")
        show("first page", await median(page()))
        show("first page of a team", await median(page(team_ids=("team-7",))))
        show("search, finds 1", await median(page(search=f"SERVICE-{count // 2:06}")))
        show("search, a part of a hash", await median(page(search=key(7, "").object_id[20:30])))
        show("search, finds a third", await median(page(search="staging")))
        show("search, 2 letters", await median(page(search="42")))
        deleted = await seconds(lambda: delete_team(store))
        show(f"delete a team with {TEAM_KEYS:,} keys", deleted)


def show(what: str, took: float, rate: str = "") -> None:
    print(f"  {what:<34} {took * 1e3:>10,.1f} ms   {rate}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--engine", choices=sorted(ENGINES), help="only this one")
    parser.add_argument("--no-fsync", action="store_true", help="start PostgreSQL without fsync")
    options = parser.parse_args()
    for engine in [options.engine] if options.engine else ENGINES:
        uvloop.run(measure(engine, options.keys, fsync=not options.no_fsync))


if __name__ == "__main__":
    main()
