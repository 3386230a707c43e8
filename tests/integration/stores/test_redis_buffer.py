"""The buffer in Redis before PostgreSQL: whatever dies, pauses or forgets, each event is committed exactly once."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ledger_kit import make_event, value_of
from services import PostgresServer, RedisServer
from tallystick.bootstrap.shared_work import SharedWork, build_shared_work
from tallystick.bootstrap.stores import Store, open_store
from tallystick.config.load import load_settings
from tallystick.config.redis_address import parse_redis_url
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch, batch_of
from tallystick.ledger.buffer import Buffer, encode_batch
from tallystick.ledger.committer import CommitterLimits
from tallystick.ledger.drain import Drain
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import JournalLimits
from tallystick.ledger.service import LedgerService
from tallystick.ledger.store import EventFilter, LedgerStore
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.service import ServiceGroup
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.redis.buffer import RedisBuffer
from tallystick.stores.redis.connection import connect

SECONDS_MAX = 60


class Died(Exception):
    """What a process that is killed does not live to see."""


class Instance:
    """All of an instance that has to do with the ledger: journal, committer, buffer, leadership."""

    def __init__(self, home: Path, *, database_url: str, redis_url: str, **settings: Any) -> None:
        home.mkdir(parents=True)
        self.metrics = Metrics()
        overrides = {
            "home": home,
            "database_url": database_url,
            "redis_url": redis_url,
            "use_redis_transaction_buffer": True,
            "leader_lease_seconds": 2.0,
            "journal_sync": "write",
            **settings,
        }
        self.settings = load_settings(config_file=None, overrides=overrides, environ={})
        clock = SystemClock()
        self.store: Store = open_store(self.settings, clock=clock)
        self.shared_work: SharedWork = build_shared_work(
            self.settings, store=self.store, clock=clock, metrics=self.metrics
        )
        self.ledger = LedgerService(
            directory=home / "journal",
            store=self.shared_work.ledger,
            journal_limits=JournalLimits(sync=self.settings.journal.sync, segment_bytes=64 * 1024),
            committer_limits=CommitterLimits(batch_wait_seconds=0.005, retry_seconds_min=0.01, retry_seconds_max=0.1),
            drain_seconds=10,
            on_finished=self._finished,
            clock=clock,
            metrics=self.metrics,
        )
        self.services = ServiceGroup((*self.shared_work.before, self.ledger, *self.shared_work.behind))

    async def _finished(self, _producer_id: str) -> None:
        pass

    @property
    def is_leader(self) -> bool:
        return self.shared_work.is_leader

    def record(self, count: int, **fields: Any) -> list[SpendEvent]:
        events = [make_event(**fields) for _ in range(count)]
        for event in events:
            self.ledger.journal.append_intent(event)
            self.ledger.journal.append_event(event)
        return events

    def outcomes(self, name: str) -> float:
        return value_of(self.metrics.buffer_batches.labels(name))


@asynccontextmanager
async def running(count: int, home: Path, **arguments: Any) -> AsyncIterator[list[Instance]]:
    """Run instances until the block ends; then all that they have recorded has to be in the ledger."""
    instances = [Instance(home / f"instance-{number}", **arguments) for number in range(count)]
    async with AsyncExitStack() as stack:
        for instance in instances:
            stack.push_async_callback(instance.store.close)
            await instance.services.start()
            stack.push_async_callback(instance.services.stop)
        yield instances


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():
            await asyncio.sleep(0.005)


async def buffered_by_all(instances: list[Instance]) -> None:
    """Wait until every instance commits through the buffer."""
    async with asyncio.timeout(SECONDS_MAX):
        for instance in instances:
            before = instance.outcomes("buffered")
            while instance.outcomes("buffered") == before:
                if not instance.ledger.journal.pending_events:
                    instance.record(1)
                await asyncio.sleep(0.01)


def all_committed(instances: list[Instance]) -> Callable[[], bool]:
    return lambda: not any(instance.ledger.journal.pending_events for instance in instances)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def ids_of(database_url: str) -> set[str]:
    database = PostgresDatabase(database_url, clock=SystemClock())
    page = await PostgresLedger(database=database).events_after("", limit=100_000, where=EventFilter())
    await database.close()
    return {committed.event.event_id for committed in page.events}


async def assert_exactly(database_url: str, events: list[SpendEvent], *, others: bool = False) -> None:
    """The ledger has these events, each once (and others where that is said), and adds up."""
    database = PostgresDatabase(database_url, clock=SystemClock())
    ledger = PostgresLedger(database=database)
    page = await ledger.events_after("", limit=100_000, where=EventFilter())
    ids = [committed.event.event_id for committed in page.events]
    assert len(ids) == len(set(ids))
    wanted = {event.event_id for event in events}
    assert wanted <= set(ids) if others else wanted == set(ids)
    audit = await PostgresAuditor(database=database).audit()
    assert audit.differences == ()
    await database.close()


# Several instances


async def test_instances_commit_through_one_leader_and_hand_over(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    events = []
    async with running(3, tmp_path, database_url=postgres_url, redis_url=own_redis_server.url) as instances:
        await buffered_by_all(instances)
        for _ in range(20):
            for instance in instances:
                events += instance.record(20, end_user_id="e", tags=("a",))
            await asyncio.sleep(0.01)
        await until(all_committed(instances))
        assert [instance.is_leader for instance in instances].count(True) == 1
        (leader,) = (instance for instance in instances if instance.is_leader)
        others = [instance for instance in instances if instance is not leader]
        for instance in others:
            assert value_of(instance.metrics.buffer_drains.labels("committed")) == 0

        await leader.services.stop()
        for instance in others:
            events += instance.record(20)
        await until(lambda: any(instance.is_leader for instance in others))
        await buffered_by_all(others)
        await until(all_committed(others))
    await assert_exactly(postgres_url, events, others=True)


async def test_a_call_that_waits_for_the_commit_waits_for_the_database(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    arguments = {"database_url": postgres_url, "redis_url": own_redis_server.url, "journal_sync": "commit"}
    async with running(1, tmp_path, **arguments) as (instance,):
        await buffered_by_all([instance])
        for _ in range(5):
            event = make_event()
            instance.ledger.journal.append_intent(event)
            seq = instance.ledger.journal.append_event(event)
            assert seq is not None
            async with asyncio.timeout(SECONDS_MAX):
                await instance.ledger.journal.settled(seq)
            where = EventFilter(event_id=event.event_id)
            assert len(await instance.store.reader.latest_events(limit=2, where=where)) == 1
        assert instance.outcomes("buffered") >= 6


async def test_nothing_is_lost_or_doubled_when_redis_forgets_everything(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    events = []
    async with running(3, tmp_path, database_url=postgres_url, redis_url=own_redis_server.url) as instances:
        await buffered_by_all(instances)
        for number in range(60):
            for instance in instances:
                events += instance.record(10)
            if number % 15 == 7:
                own_redis_server.ask("FLUSHALL")
            await asyncio.sleep(0.01)
        await until(all_committed(instances))
        await buffered_by_all(instances)
        await until(all_committed(instances))
    await assert_exactly(postgres_url, events, others=True)


async def test_redis_may_die_and_come_back_empty(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    events = []
    async with running(2, tmp_path, database_url=postgres_url, redis_url=own_redis_server.url) as instances:
        await buffered_by_all(instances)
        for instance in instances:
            events += instance.record(50)
        own_redis_server.kill()
        for _ in range(20):
            for instance in instances:
                events += instance.record(10)
            await asyncio.sleep(0.01)
        await until(all_committed(instances))  # Directly.
        states = {instance.shared_work.health()["redis_buffer"]["state"] for instance in instances}
        assert states == {"direct"}
        own_redis_server.start()
        await buffered_by_all(instances)
        for instance in instances:
            events += instance.record(50)
        await until(all_committed(instances))
    await assert_exactly(postgres_url, events, others=True)


async def test_a_redis_that_hangs_holds_nobody_up(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    events = []
    async with running(2, tmp_path, database_url=postgres_url, redis_url=own_redis_server.url) as instances:
        await buffered_by_all(instances)
        own_redis_server.pause()
        try:
            for instance in instances:
                events += instance.record(50)
            async with asyncio.timeout(10):
                await until(all_committed(instances))
        finally:
            own_redis_server.resume()
        await buffered_by_all(instances)
    await assert_exactly(postgres_url, events, others=True)


async def test_a_copy_of_the_database_with_the_same_redis_gets_nothing_of_ours(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str, own_redis_server: RedisServer
) -> None:
    """Both have the ledger's id that was made with it."""
    redis = {"redis_url": own_redis_server.url}
    copy = f"copy_{uuid.uuid4().hex[:12]}"
    async with running(1, tmp_path / "before", database_url=postgres_url, **redis) as instances:
        events = instances[0].record(5)
        await until(all_committed(instances))
    await execute(postgres_server.url(), f"CREATE DATABASE {copy} TEMPLATE {postgres_url.rpartition('/')[2]}")
    url = postgres_server.url(copy)
    async with (
        running(2, tmp_path / "ours", database_url=postgres_url, **redis) as ours,
        running(1, tmp_path / "copy", database_url=url, **redis) as theirs,
    ):
        await buffered_by_all(ours)
        await buffered_by_all(theirs)  # Each has a leader of its own.
        assert [instance.is_leader for instance in (*ours, *theirs)].count(True) == 2
        others = []
        for _ in range(20):
            for instance in ours:
                events += instance.record(5)
            others += theirs[0].record(5)
            await asyncio.sleep(0.01)
        await until(all_committed([*ours, *theirs]))
    ours_ids, their_ids = await ids_of(postgres_url), await ids_of(url)
    assert {event.event_id for event in events} <= ours_ids
    assert {event.event_id for event in others} <= their_ids
    assert not {event.event_id for event in others} & ours_ids
    assert len({event.event_id for event in events} & their_ids) == 5, "what was there before it was copied"
    await execute(postgres_server.url(), f"DROP DATABASE {copy} WITH (FORCE)")


# The leader dies between two steps, or is two


class Faulty:
    """The leader's way to the buffer and to the database; it may die, or be held, before or behind a named step."""

    def __init__(self, buffer: Buffer, store: LedgerStore) -> None:
        self._ports = {"read": buffer, "settle": buffer, "size": buffer, "commit_many": store}
        self.fault: Callable[[str], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        async def step(*arguments: Any, **named: Any) -> Any:
            await self._reach(f"before {name}")
            result = await getattr(self._ports[name], name)(*arguments, **named)
            await self._reach(f"behind {name}")
            return result

        return step

    async def _reach(self, point: str) -> None:
        if self.fault is not None:
            await self.fault(point)


class Ground:
    """One buffer in Redis and one ledger in PostgreSQL, with any number of leaders on it."""

    def __init__(self, postgres_url: str, redis_url: str, prefix: str) -> None:
        self._client = connect(parse_redis_url(redis_url), timeout_seconds=5)
        self._postgres_url = postgres_url
        self._databases: list[PostgresDatabase] = []
        self.ledger = self.another_ledger()
        self.buffer = RedisBuffer(
            self._client,
            ledger_id=self.ledger.ledger_id,
            where="tests",
            key_prefix=prefix,
            bytes_max=1 << 30,
            timeout_seconds=5,
        )

    def another_ledger(self) -> PostgresLedger:
        database = PostgresDatabase(self._postgres_url, clock=SystemClock())
        self._databases.append(database)
        return PostgresLedger(database=database)

    def leader(self) -> tuple[Drain, Faulty]:
        faulty = Faulty(self.buffer, self.another_ledger())
        drain = Drain(buffer=faulty, store=faulty, clock=SystemClock(), metrics=Metrics())  # type: ignore[arg-type]
        return drain, faulty

    async def fill(self, *batches: Batch) -> None:
        await self.buffer.settle((), {})
        for number, batch in enumerate(batches):
            taken = await self.buffer.append(batch.producer_id, f"n{number}", encode_batch(batch))
            assert taken not in ("full", "undrained")

    async def close(self) -> None:
        await self._client.aclose()
        for database in self._databases:
            await database.close()


@pytest.fixture
async def ground(postgres_url: str, redis_url: str, redis_prefix: str) -> AsyncIterator[Ground]:
    each = Ground(postgres_url, redis_url, redis_prefix)
    yield each
    await each.close()


POINTS = [f"{place} {step}" for step in ("read", "commit_many", "settle") for place in ("before", "behind")]


@pytest.mark.parametrize("point", POINTS)
async def test_a_leader_that_dies_between_two_steps_leaves_all_to_the_next(
    ground: Ground, postgres_url: str, point: str
) -> None:
    events = {name: [make_event() for _ in range(6)] for name in ("p", "q")}
    batches = [batch_of(name, first, events[name][first - 1 : first + 1]) for first in (1, 3, 5) for name in events]
    await ground.fill(*batches)
    dying, faulty = ground.leader()

    async def die(reached: str) -> None:
        if reached == point:
            raise Died

    faulty.fault = die
    with pytest.raises(Died):
        await dying.drain_once()
    following, _ = ground.leader()
    while await following.drain_once():
        pass
    assert (await ground.buffer.size()).entries == 0
    for name in events:
        look = await ground.buffer.look(name, "0-1")
        assert look.answer is not None
        assert (look.answer.watermark, look.answer.is_refused) == (6, False)
    await assert_exactly(postgres_url, [event for run in events.values() for event in run])


@pytest.mark.parametrize("point", POINTS)
async def test_a_leader_that_was_paused_past_its_lease_commits_nothing_twice(
    ground: Ground, postgres_url: str, point: str
) -> None:
    events = [make_event() for _ in range(9)]
    await ground.fill(batch_of("p", 1, events[:3]), batch_of("p", 4, events[3:6]))
    paused, faulty = ground.leader()
    reached, resumed = asyncio.Event(), asyncio.Event()

    async def pause(at: str) -> None:
        if at == point:
            reached.set()
            await resumed.wait()

    faulty.fault = pause
    pausing = asyncio.ensure_future(paused.drain_once())
    await reached.wait()
    following, _ = ground.leader()
    while await following.drain_once():
        pass
    await ground.fill(batch_of("p", 7, events[6:]))
    await following.drain_once()
    resumed.set()
    await pausing  # It goes on as if nothing had happened.
    look = await ground.buffer.look("p", "0-1")
    assert look.answer is not None
    assert not look.answer.is_refused, "the watermark, not the index of events, keeps what is late out"
    assert look.answer.watermark in (6, 9)
    assert await ground.ledger.watermark("p") == 9
    await assert_exactly(postgres_url, events)


async def test_two_leaders_that_drain_at_once_commit_each_event_once(ground: Ground, postgres_url: str) -> None:
    events = {f"p{number}": [make_event() for _ in range(60)] for number in range(5)}
    batches = [
        batch_of(name, first + 1, run[first : first + 4]) for first in range(0, 60, 4) for name, run in events.items()
    ]
    await ground.fill(*batches, *itertools.islice(batches, 0, None, 3))
    leaders = [ground.leader()[0] for _ in range(3)]

    async def drain(leader: Drain) -> None:
        while await leader.drain_once():
            pass

    await asyncio.gather(*map(drain, leaders))
    await assert_exactly(postgres_url, [event for run in events.values() for event in run])
    assert (await ground.buffer.size()).bytes == 0


async def test_a_database_that_is_away_keeps_everything_in_the_buffer(ground: Ground, postgres_url: str) -> None:
    events = [make_event() for _ in range(3)]
    await ground.fill(batch_of("p", 1, events))
    leader, faulty = ground.leader()

    async def go_away(point: str) -> None:
        if point == "before commit_many":
            raise StoreUnavailable

    faulty.fault = go_away
    with pytest.raises(StoreUnavailable):
        await leader.drain_once()
    assert (await ground.buffer.size()).entries == 1
    faulty.fault = None
    assert await leader.drain_once() == 1
    await assert_exactly(postgres_url, events)


async def test_a_redis_that_is_full_takes_nothing_and_is_emptied(
    postgres_url: str, own_redis_server: RedisServer, redis_prefix: str
) -> None:
    """It refuses a script that begins with something that needs room; one that begins with giving back it lets end."""
    ground = Ground(postgres_url, own_redis_server.url, redis_prefix)
    events = [make_event() for _ in range(3)]
    await ground.fill(batch_of("p", 1, events))
    assert own_redis_server.ask("CONFIG", "SET", "maxmemory", "1") == "+OK"
    with pytest.raises(StoreUnavailable, match="OOM"):
        await ground.buffer.append("q", "n", b"more")
    leader, _ = ground.leader()
    assert await leader.drain_once() == 1
    look = await ground.buffer.look("p", "0-1")
    assert look.answer is not None
    assert look.answer.watermark == 3
    assert (await ground.buffer.size()).bytes == 0
    await ground.close()
    await assert_exactly(postgres_url, events)
