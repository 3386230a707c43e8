"""Budgets on PostgreSQL when several connections race for the same windows, and when one dies in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from fault_proxy import FaultProxy
from ledger_kit import START, make_event
from tallystick.access.budget_store import LeaseRequest, WindowSum
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch, batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.budgets import PostgresBudgetStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger

PLENTY = 10**12
DAY = Window(Scope("key", "k1"), START.replace(hour=0, minute=0, second=0, microsecond=0), START + timedelta(days=1))


class Instance:
    """A ledger and a store of budgets with connections of their own, as a process has them."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.database = PostgresDatabase(url, clock=SystemClock(), **settings)
        self.ledger = PostgresLedger(database=self.database)
        self.budgets = PostgresBudgetStore(database=self.database)


@pytest.fixture
async def instances(postgres_url: str) -> AsyncIterator[list[Instance]]:
    opened = [Instance(postgres_url) for _ in range(4)]
    yield opened
    for instance in opened:
        await instance.database.close()


def lifetime_of(*scope: str) -> Window:
    return Window(Scope(*scope), LIFETIME_START, LIFETIME_END)


def request(window: Window, *, need: int = 0, limit: int = PLENTY, **fields: Any) -> LeaseRequest:
    return LeaseRequest(window=window, limit_nano_usd=limit, need_nano_usd=need, want_nano_usd=need, **fields)


async def lease(instance: Instance, holder: str, *requests: LeaseRequest, seconds: float = 600) -> bool:
    return (await instance.budgets.lease(holder, requests, seconds=seconds, share=1)).granted


async def look(instance: Instance, *windows: Window) -> tuple[WindowSum, ...]:
    return await instance.budgets.sums([(window, ()) for window in windows])


async def adds_up(instance: Instance) -> None:
    audit = await PostgresAuditor(database=instance.database).audit()
    assert audit.differences == ()


async def deadlocks(instance: Instance) -> int:
    async with instance.database.connection() as connection:
        statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(await connection.fetchval(statement))


def run_of(producer_id: str, first_seq: int, count: int, **fields: Any) -> Batch:
    return batch_of(producer_id, first_seq, [make_event(cost_nano_usd=10, **fields) for _ in range(count)])


async def waiting(connection: asyncpg.Connection[asyncpg.Record], *, count: int = 1) -> list[int]:
    """Return the processes that wait for a lock, as soon as there are so many."""
    statement = "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(60):
        while True:
            pids = [row[0] for row in await connection.fetch(statement)]
            if len(pids) >= count:
                return pids


# Windows that are made while commits go on.


async def test_a_window_made_between_look_and_head_counts_the_commit_once(postgres_url: str, instances: Any) -> None:
    """The commit has looked for windows, when there were none; the window is made before the commit takes the head."""
    instance, other, *_ = instances
    await instance.ledger.commit(run_of("p", 1, 3))
    blocker = await asyncpg.connect(postgres_url)
    async with blocker.transaction():
        # It stands in the way of the total, which a commit takes after it has looked and before it takes the head.
        await blocker.execute("SELECT 1 FROM totals WHERE entity_type = 'key' FOR UPDATE")
        commit = asyncio.get_running_loop().create_task(instance.ledger.commit(run_of("p", 4, 3)))
        await waiting(blocker)
        assert await lease(other, "q", request(DAY, need=5))
        assert (await look(other, DAY))[0].spent_nano_usd == 30
    assert await commit == 6
    assert (await look(other, DAY))[0].spent_nano_usd == 60
    await adds_up(instance)
    await blocker.close()


async def test_a_window_made_while_a_commit_holds_the_head_has_it_in(postgres_url: str, instances: Any) -> None:
    instance, other, *_ = instances
    await lease(instance, "p", request(lifetime_of("global")))
    blocker = await asyncpg.connect(postgres_url)
    async with blocker.transaction():
        # The commit has taken the head, and waits for a window.
        await blocker.execute("SELECT 1 FROM budget_windows FOR UPDATE")
        commit = asyncio.get_running_loop().create_task(instance.ledger.commit(run_of("p", 1, 3)))
        await waiting(blocker)
        making = asyncio.get_running_loop().create_task(lease(other, "q", request(DAY, need=5)))
        await waiting(blocker, count=2)
    assert await commit == 3
    assert await making
    assert (await look(other, DAY))[0].spent_nano_usd == 30
    await adds_up(instance)
    await blocker.close()


async def test_windows_and_aliases_made_while_three_commit_are_exact(instances: Any) -> None:
    *committers, maker = instances
    scopes = [("global",), ("key", "k1"), ("user", "u1"), ("team", "t1"), ("team_member", "t1", "u1"), ("tag", "a")]
    windows = [lifetime_of(*scope) for scope in scopes]
    days = [window._replace(starts_at=DAY.starts_at, ends_at=DAY.ends_at) for window in windows]

    async def commit(number: int, instance: Instance) -> None:
        for run in range(20):
            key = ("k1", "k2")[run % 2]
            await instance.ledger.commit(run_of(f"p{number}", run * 5 + 1, 5, tags=("a", "b"), key_hash=key))

    async def make() -> None:
        for window in [*windows, *days]:
            await lease(maker, "q", request(window))
        await lease(maker, "q", request(DAY, entity_ids=("k2",)))

    await asyncio.gather(make(), *(commit(number, instance) for number, instance in enumerate(committers)))
    assert {found.spent_nano_usd for found in await look(maker, *windows, *days)} == {3 * 20 * 5 * 10}
    await adds_up(maker)


# Locks.


async def test_leases_and_commits_in_opposite_orders_never_lock_each_other_out(instances: Any) -> None:
    """200 rounds in which two instances lease, renew, give back and commit on the same windows, one in reverse."""
    windows = [lifetime_of("key", f"k{number}") for number in range(8)] + [lifetime_of("global")]

    async def spend(number: int, instance: Instance) -> None:
        names = [f"k{index}" for index in range(8)]
        order = -1 if number % 2 else 1
        holder = f"p{number}"
        for run in range(50):
            events = [make_event(key_hash=name, cost_nano_usd=10) for name in names[::order]]
            async with asyncio.TaskGroup() as group:
                group.create_task(lease(instance, holder, *(request(each, need=50) for each in windows[::order])))
                group.create_task(instance.ledger.commit(batch_of(holder, run * 8 + 1, events)))
                group.create_task(instance.budgets.renew(holder, seconds=600))
                group.create_task(instance.budgets.give_back(holder, [(each, 7) for each in windows[::-order]]))

    await asyncio.gather(*(spend(number, instance) for number, instance in enumerate(instances)))
    instance = instances[0]
    assert await deadlocks(instance) == 0
    assert [found.spent_nano_usd for found in await look(instance, *windows)] == [4 * 50 * 10] * 8 + [4 * 50 * 80]
    await adds_up(instance)


async def test_a_lapsed_lease_is_freed_once_by_two_at_once(postgres_url: str, instances: Any) -> None:
    instance, other, *_ = instances
    assert await lease(instance, "dead", request(DAY, need=100, limit=100), seconds=0)
    assert not await lease(instance, "q", request(DAY, need=60, limit=100), seconds=0), "it is only noticed"
    blocker = await asyncpg.connect(postgres_url)
    await blocker.execute("UPDATE budget_leases SET expires_at = now() - interval '1 s'")
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM budget_windows FOR UPDATE")
        asks = [
            asyncio.get_running_loop().create_task(lease(each, holder, request(DAY, need=60, limit=100)))
            for each, holder in ((instance, "q"), (other, "r"))
        ]
        await waiting(blocker, count=2)
    assert sorted(await asyncio.gather(*asks)) == [False, True]
    assert (await look(instance, DAY))[0].leased_nano_usd == 60
    await adds_up(instance)
    await blocker.close()


async def test_a_window_trimmed_under_a_commit_is_passed_over(postgres_url: str, instances: Any) -> None:
    instance, other, *_ = instances
    past = datetime.now(UTC) - timedelta(days=40)
    window = Window(Scope("key", "k1"), past, past + timedelta(days=1))
    await lease(instance, "p", request(window), request(lifetime_of("global")))
    blocker = await asyncpg.connect(postgres_url)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM totals FOR UPDATE; SELECT 1 FROM ledger_head FOR UPDATE")
        late = run_of("p", 1, 3, started_at=past + timedelta(hours=1))
        commit = asyncio.get_running_loop().create_task(instance.ledger.commit(late))
        await waiting(blocker)
        assert await other.budgets.trim(ended_days=30) == 1
    assert await commit == 3
    assert [found.spent_nano_usd for found in await look(other, window, lifetime_of("global"))] == [30, 30]
    await adds_up(instance)
    await blocker.close()


# Connections that break.


@pytest.mark.parametrize("passed", [False, True])
async def test_a_commit_that_breaks_at_its_end_counts_windows_once(
    postgres_server: Any, postgres_url: str, instances: Any, passed: bool
) -> None:
    """The COMMIT does not arrive, or arrives and its answer does not."""
    direct = instances[0]
    await lease(direct, "p", request(DAY, need=1_000))
    async with FaultProxy(postgres_server.port) as proxy:
        url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        behind = Instance(url)
        batch = run_of("p", 1, 5)
        await behind.ledger.watermark("p")
        proxy.cut_at(b"COMMIT;", passed=passed)
        # The partition of the day is made first, in a transaction of its own, which may be the one that breaks.
        watermark = None
        for _ in range(10):
            try:
                watermark = await behind.ledger.commit(batch)
                break
            except StoreUnavailable:
                continue
        assert proxy.cuts == 1
        assert watermark == 5
        await behind.database.close()
    (found,) = await look(direct, DAY)
    assert (found.spent_nano_usd, found.leased_nano_usd) == (50, 950)
    await adds_up(direct)


async def test_a_commit_that_is_killed_while_it_counts_leaves_nothing(postgres_url: str, instances: Any) -> None:
    instance, other, *_ = instances
    await lease(instance, "p", request(DAY, need=1_000))
    batch = run_of("p", 1, 5)
    blocker = await asyncpg.connect(postgres_url)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM budget_windows FOR UPDATE")
        commit = asyncio.get_running_loop().create_task(instance.ledger.commit(batch))
        (victim,) = await waiting(blocker)
        await blocker.execute("SELECT pg_terminate_backend($1)", victim)
        with pytest.raises(StoreUnavailable):
            await commit
    found = (await look(other, DAY))[0]
    assert (found.spent_nano_usd, found.leased_nano_usd) == (0, 1_000)
    assert await other.ledger.commit(batch) == 5
    assert await instance.ledger.commit(batch) == 5
    found = (await look(other, DAY))[0]
    assert (found.spent_nano_usd, found.leased_nano_usd) == (50, 950)
    await adds_up(instance)
    await blocker.close()


async def test_without_session_state_all_of_it_works(postgres_url: str) -> None:
    """As behind PgBouncer in transaction mode: no prepared statement is kept."""
    instance = Instance(postgres_url, statement_cache_size=0)
    assert await lease(instance, "p", request(DAY, need=100, entity_ids=("k2",)))
    await instance.ledger.commit(run_of("p", 1, 2))
    (state,) = await instance.budgets.renew("p", seconds=60)
    assert (state.spent_nano_usd, state.amount_nano_usd, state.settled_seq) == (20, 80, 2)
    await instance.budgets.give_back("p", [(DAY, 10)])
    assert await instance.budgets.claim_alert(DAY, level=50)
    assert await instance.budgets.wanted("p") == ()
    assert await instance.budgets.release("p") == 1
    await adds_up(instance)
    await instance.database.close()


async def test_the_end_of_time_comes_back(instances: Any) -> None:
    instance = instances[0]
    await lease(instance, "p", request(lifetime_of("global"), need=5))
    (state,) = await instance.budgets.renew("p", seconds=60)
    assert state.window == lifetime_of("global")
    assert (state.window.starts_at, state.window.ends_at) == (LIFETIME_START, LIFETIME_END)
    assert [each.window for each in await instance.budgets.open_windows(after=None, limit=5)] == [state.window]


async def test_a_count_of_windows_that_is_too_low_is_found_and_mended(postgres_url: str, instances: Any) -> None:
    """With it commits would pass windows over."""
    instance = instances[0]
    await lease(instance, "p", request(DAY))
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("UPDATE ledger_head SET budget_windows = 0")
    await instance.ledger.commit(run_of("p", 1, 3))
    auditor = PostgresAuditor(database=instance.database)
    found = {(each.table, each.column, each.found, each.expected) for each in (await auditor.audit()).differences}
    assert found == {("ledger_head", "budget_windows", 0, 1), ("budget_windows", "spent_nano_usd", 0, 30)}
    assert await auditor.repair() == 2
    await instance.ledger.commit(run_of("p", 4, 3))
    assert (await look(instance, DAY))[0].spent_nano_usd == 60
    await adds_up(instance)
    await connection.close()


async def test_a_large_batch_that_counts_in_windows_lets_the_event_loop_go_on(instances: Any) -> None:
    instance = instances[0]
    await lease(instance, "p", *(request(lifetime_of("key", f"k{number}")) for number in range(500)))
    events = [make_event(key_hash=f"k{number % 500}") for number in range(5_000)]
    commit = asyncio.get_running_loop().create_task(instance.ledger.commit(batch_of("p", 1, events)))
    turns = 0
    while not commit.done():
        turns += 1
        await asyncio.sleep(0)
    assert await commit == 5_000
    # As many slices as there are, three times (encoding, folding, gathering), whatever the machine's speed.
    assert turns >= 60
    await adds_up(instance)
