"""How fast PostgreSQL takes batches, beside raw COPY of the same rows into an identical table.

    .venv/bin/python bench/commits.py [--batch-size 5000] [--rounds 10] [--committers 1] [--no-fsync]

Both are measured in turns in one run, because a machine's speed changes from minute to minute: the ratio is the result.
Raw COPY writes rows that were built beforehand; a commit starts from events, and its time includes folding, encoding
and all sums.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import uvloop
from workload import Workload

from tallystick.ledger.batch import Batch, batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.postgres.rows import EVENT_COLUMNS, records_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from services import PostgresServer

RAW_PRODUCER_NO = 1


class CommitBench:
    """Rounds of raw COPY and of commits, on one database."""

    def __init__(self, *, url: str, batch_size: int, committers: int) -> None:
        self._url = url
        self._batch_size = batch_size
        self._workload = Workload()
        self._next_seq = [1] * committers
        self._database = PostgresDatabase(url, clock=SystemClock())
        self._ledger = PostgresLedger(database=self._database)

    async def run(self, *, rounds: int, warm_up: int) -> tuple[list[float], list[float]]:
        """Return the rates of raw COPY and of commits, in rows per second, one of each per round."""
        connection = await self._prepare()
        copies: list[float] = []
        commits: list[float] = []
        for number in range(warm_up + rounds):
            batches = [self._batch(committer) for committer in range(len(self._next_seq))]
            gc.collect()
            copied, committed = await self._copy(connection, batches[0]), await self._commit(batches)
            if number >= warm_up:
                copies.append(copied)
                commits.append(committed)
        await connection.close()
        await self._database.close()
        return copies, commits

    async def _prepare(self) -> asyncpg.Connection:
        await self._database.migrate()
        connection = await asyncpg.connect(self._url)
        await connection.execute("DROP TABLE IF EXISTS raw_events")
        await connection.execute(
            "CREATE TABLE raw_events (LIKE spend_events INCLUDING ALL) PARTITION BY RANGE (event_time)"
        )
        await connection.execute("CREATE TABLE raw_events_default PARTITION OF raw_events DEFAULT")
        for ahead in range(4):
            day = datetime.now(UTC).date() + timedelta(days=ahead)
            await connection.execute(
                f"CREATE TABLE raw_events_{day:%Y%m%d} PARTITION OF raw_events "
                f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')"
            )
        return connection

    def _batch(self, committer: int) -> Batch:
        first_seq = self._next_seq[committer]
        self._next_seq[committer] += self._batch_size
        return batch_of(f"bench-{committer}", first_seq, self._workload.events(self._batch_size))

    async def _copy(self, connection: asyncpg.Connection, batch: Batch) -> float:
        records = records_of(RAW_PRODUCER_NO, batch.numbers, batch.events)
        started = time.perf_counter()
        async with connection.transaction():
            await connection.copy_records_to_table("raw_events", records=records, columns=EVENT_COLUMNS)
        return len(records) / (time.perf_counter() - started)

    async def _commit(self, batches: list[Batch]) -> float:
        started = time.perf_counter()
        watermarks = await asyncio.gather(*(self._ledger.commit(batch) for batch in batches))
        seconds = time.perf_counter() - started
        assert watermarks == [batch.last_seq for batch in batches]
        return sum(len(batch.events) for batch in batches) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--warm-up", type=int, default=10, help="rounds before, in which the day's sums come into being"
    )
    parser.add_argument("--committers", type=int, default=1, help="producers that commit at the same time")
    parser.add_argument("--database-url", help="an empty database; without it a server is started")
    parser.add_argument("--no-fsync", action="store_true", help="start the server without fsync")
    options = parser.parse_args()
    if options.database_url:
        report(options, options.database_url)
    else:
        with PostgresServer(fsync=not options.no_fsync) as server:
            report(options, server.url())


def report(options: argparse.Namespace, url: str) -> None:
    bench = CommitBench(url=url, batch_size=options.batch_size, committers=options.committers)
    copies, commits = uvloop.run(bench.run(rounds=options.rounds, warm_up=options.warm_up))
    ratio = statistics.median(committed / copied for copied, committed in zip(copies, commits, strict=True))
    print(
        f"batches of {options.batch_size} events, {options.committers} committer(s), median of {options.rounds} rounds"
    )
    print(f"raw COPY  {statistics.median(copies):>9,.0f} rows/s    (best {max(copies):,.0f})")
    print(f"commit    {statistics.median(commits):>9,.0f} events/s  (best {max(commits):,.0f})")
    print(f"ratio     {ratio:>9.2f}  (commit / raw COPY, median of the rounds' own)")


if __name__ == "__main__":
    main()
