"""How fast producers commit at the same time, each by itself, and through the buffer in Redis.

    .venv/bin/python bench/buffer.py [--producers 1,2,4,8] [--batch-size 200] [--batches 60] [--rounds 3] [--no-fsync]

Each producer is a process that commits one batch after the other, as a worker does; with the buffer another process
drains it, as the leader does. Both ways take turns in one run. Shown are events per second over all producers, and how
many connections the database was busy with at most: the ratio is the result.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop
from workload import Workload

from tallystick.config.redis_address import parse_redis_url
from tallystick.ledger.batch import batch_of
from tallystick.ledger.buffered import BufferedLedger
from tallystick.ledger.drain import Drain
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.redis.buffer import RedisBuffer
from tallystick.stores.redis.connection import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from services import PostgresServer, RedisServer

_BYTES_MAX = 256 * 1024 * 1024
_SECONDS = 5.0
_WAIT_SECONDS = 30.0


class Plan(NamedTuple):
    """What a process is to do."""

    database_url: str
    redis_url: str
    batch_size: int
    batches: int


class Result(NamedTuple):
    """One round."""

    events_per_second: float
    connections_max: int


async def with_ledger(plan: Plan, work: Callable[[PostgresLedger, RedisBuffer], Awaitable[None]]) -> None:
    database = PostgresDatabase(plan.database_url, clock=SystemClock(), pool_size_max=2)
    ledger = PostgresLedger(database=database)
    client = connect(parse_redis_url(plan.redis_url), timeout_seconds=_SECONDS)
    buffer = RedisBuffer(
        client,
        ledger_id=ledger.ledger_id,
        where="bench",
        key_prefix="bench",
        bytes_max=_BYTES_MAX,
        timeout_seconds=_SECONDS,
    )
    await work(ledger, buffer)
    await client.aclose()
    await database.close()


def produce(plan: Plan, name: str, *, buffered: bool, begin: Barrier, end: Barrier) -> None:
    """Commit batches of one producer. The last one to come to a barrier starts the clock, or stops it."""

    async def work(ledger: PostgresLedger, buffer: RedisBuffer) -> None:
        workload = Workload(seed=hash(name))
        batches = [
            batch_of(name, 1 + number * plan.batch_size, workload.events(plan.batch_size))
            for number in range(plan.batches)
        ]
        store = BufferedLedger(
            store=ledger,
            buffer=buffer,
            wait_seconds=_WAIT_SECONDS,
            reads_standby=False,
            clock=SystemClock(),
            metrics=Metrics(),
        )
        if buffered:
            await store.start()
            while store.status().state != "buffered":  # noqa: ASYNC110  # It tells nobody when that changes.
                await asyncio.sleep(0.01)
        else:
            await ledger.watermark(name)
        await asyncio.to_thread(begin.wait)
        for batch in batches:
            assert await store.commit(batch) == batch.last_seq
        await asyncio.to_thread(end.wait)
        await store.stop()

    uvloop.run(with_ledger(plan, work))


def lead(plan: Plan, ready: Event, done: Event) -> None:
    """Drain the buffer until told."""

    async def work(ledger: PostgresLedger, buffer: RedisBuffer) -> None:
        drain = Drain(buffer=buffer, store=ledger, clock=SystemClock(), metrics=Metrics())
        draining = asyncio.create_task(drain.run())
        await buffer.settle((), {})
        ready.set()
        await asyncio.to_thread(done.wait)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)

    uvloop.run(with_ledger(plan, work))


def one_round(plan: Plan, producers: int, *, buffered: bool, number: int) -> Result:
    spawn = multiprocessing.get_context("spawn")
    begin, end = spawn.Barrier(producers + 1), spawn.Barrier(producers + 1)
    ready, done = spawn.Event(), spawn.Event()
    leader = spawn.Process(target=lead, args=(plan, ready, done))
    if buffered:
        leader.start()
        ready.wait()
    workers = [
        spawn.Process(
            target=produce,
            args=(plan, f"{number}-{producers}-{buffered}-{each}"),
            kwargs={"buffered": buffered, "begin": begin, "end": end},
        )
        for each in range(producers)
    ]
    for worker in workers:
        worker.start()
    begin.wait()
    started = time.perf_counter()
    connections = asyncio.run(count_connections(plan.database_url, end))
    seconds = time.perf_counter() - started
    done.set()
    for process in (*workers, *([leader] if buffered else [])):
        process.join()
        assert process.exitcode == 0, "a process of the bench failed"
    return Result(producers * plan.batches * plan.batch_size / seconds, connections)


async def count_connections(url: str, end: Barrier) -> int:
    """Return how many connections were in use at most until all producers were done, our own not counted."""
    connection = await asyncpg.connect(url)
    ended = asyncio.create_task(asyncio.to_thread(end.wait))
    most = 0
    while not ended.done():
        most = max(
            most,
            await connection.fetchval(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
                """
            ),
        )
        await asyncio.wait((ended,), timeout=0.05)
    await connection.close()
    return most


async def migrate(url: str) -> None:
    database = PostgresDatabase(url, clock=SystemClock())
    await database.migrate()
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--producers", default="1,2,4,8", help="how many at the same time")
    parser.add_argument("--batch-size", type=int, default=200, help="events of one batch")
    parser.add_argument("--batches", type=int, default=60, help="batches of each producer in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-fsync", action="store_true", help="start the server without fsync")
    options = parser.parse_args()
    with PostgresServer(fsync=not options.no_fsync) as postgres, RedisServer() as redis:
        plan = Plan(postgres.url(), redis.url, options.batch_size, options.batches)
        asyncio.run(migrate(plan.database_url))
        one_round(plan, 2, buffered=False, number=0)  # The day's sums come into being.
        print(f"batches of {plan.batch_size} events, median of {options.rounds} rounds; connections in use at most")
        print(f"{'producers':>9} {'direct':>20} {'through Redis':>20} {'ratio':>6}")
        for producers in map(int, options.producers.split(",")):
            direct, buffered = [], []
            for number in range(1, options.rounds + 1):
                direct.append(one_round(plan, producers, buffered=False, number=number))
                buffered.append(one_round(plan, producers, buffered=True, number=number))
            print(f"{producers:>9} {shown(direct)} {shown(buffered)} {ratio(buffered, direct):>6.2f}")


def shown(results: list[Result]) -> str:
    rate = statistics.median(result.events_per_second for result in results)
    return f"{rate:>9,.0f}/s, {max(result.connections_max for result in results):>2} conn."


def ratio(results: list[Result], others: list[Result]) -> float:
    return statistics.median(
        one.events_per_second / other.events_per_second for one, other in zip(results, others, strict=True)
    )


if __name__ == "__main__":
    main()
