"""How fast PostgreSQL takes batches, beside raw COPY of the same rows into an identical table.

    .venv/bin/python bench/commits.py [--batch-size 5000] [--rounds 10] [--committers 1] [--windows 1000] [--no-fsync]

Both are measured in turns in one run, because a machine's speed changes from minute to minute: the ratio is the result.
Raw COPY writes rows that were built beforehand; a commit starts from events, and its time includes folding, encoding
and all sums. With `--windows` there are so many windows of budgets, of the organization, teams, users and keys, and the
first committer has leases on all of them; commits that count in them and commits that are told that there are none take
turns, too.
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

from tallystick.access.budget_store import LeaseRequest
from tallystick.access.scopes import Scope, Window
from tallystick.ledger.batch import Batch, batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.budgets import PostgresBudgetStore
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.postgres.rows import EVENT_COLUMNS, records_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from services import PostgresServer

RAW_PRODUCER_NO = 1


class Rates:
    """Rows per second of each round."""

    def __init__(self) -> None:
        self.copies: list[float] = []
        self.commits: list[float] = []
        self.counting_commits: list[float] = []


class CommitBench:
    """Rounds of raw COPY and of commits, on one database."""

    def __init__(self, *, url: str, batch_size: int, committers: int, windows: int) -> None:
        self._url = url
        self._batch_size = batch_size
        self._workload = Workload()
        self._next_seq = [1] * committers
        self._windows = windows
        self._database = PostgresDatabase(url, clock=SystemClock())
        self._ledger = PostgresLedger(database=self._database)

    async def run(self, *, rounds: int, warm_up: int) -> Rates:
        """Return the rates in rows per second, one of each kind per round."""
        connection = await self._prepare()
        rates = Rates()
        for number in range(warm_up + rounds):
            if number == warm_up:
                rates = Rates()
                await self._make_windows(connection)
            batches = [self._batch(committer) for committer in range(len(self._next_seq))]
            gc.collect()
            rates.copies.append(await self._copy(connection, batches[0]))
            rates.commits.append(await self._commit(batches))
            if self._windows and number >= warm_up:
                counting = [self._batch(committer) for committer in range(len(self._next_seq))]
                gc.collect()
                await connection.execute("UPDATE ledger_head SET budget_windows = $1", self._windows)
                rates.counting_commits.append(await self._commit(counting))
                await connection.execute("UPDATE ledger_head SET budget_windows = 0")
        await connection.close()
        await self._database.close()
        return rates

    async def _make_windows(self, connection: asyncpg.Connection) -> None:
        """Lease from windows of the scopes that most events have, and hide them."""
        today = self._workload.now.replace(hour=0, minute=0, second=0, microsecond=0)
        windows = [
            Window(Scope(*scope), today, today + timedelta(days=1))
            for scope in self._workload.scopes()[: self._windows]
        ]
        budgets = PostgresBudgetStore(database=self._database)
        since_seq = self._next_seq[0] - 1
        for start in range(0, len(windows), 50):
            asked = [
                LeaseRequest(
                    window=window,
                    limit_nano_usd=10**17,
                    need_nano_usd=10**16,
                    want_nano_usd=10**16,
                    since_seq=since_seq,
                )
                for window in windows[start : start + 50]
            ]
            await budgets.lease("bench-0", asked, seconds=3600, share=1)
        await connection.execute("VACUUM ANALYZE budget_windows, budget_leases")
        await connection.execute("UPDATE ledger_head SET budget_windows = 0")

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
    parser.add_argument("--windows", type=int, default=0, help="windows of budgets in which commits count")
    parser.add_argument("--database-url", help="an empty database; without it a server is started")
    parser.add_argument("--no-fsync", action="store_true", help="start the server without fsync")
    options = parser.parse_args()
    if options.database_url:
        report(options, options.database_url)
    else:
        with PostgresServer(fsync=not options.no_fsync) as server:
            report(options, server.url())


def report(options: argparse.Namespace, url: str) -> None:
    bench = CommitBench(url=url, batch_size=options.batch_size, committers=options.committers, windows=options.windows)
    rates = uvloop.run(bench.run(rounds=options.rounds, warm_up=options.warm_up))
    print(
        f"batches of {options.batch_size} events, {options.committers} committer(s), median of {options.rounds} rounds"
    )
    show("raw COPY", rates.copies, "rows/s")
    show("commit", rates.commits, "events/s")
    print(f"ratio     {ratio(rates.commits, rates.copies):>9.2f}  (commit / raw COPY, median of the rounds' own)")
    if rates.counting_commits:
        show("counting", rates.counting_commits, "events/s")
        of_plain = ratio(rates.counting_commits, rates.commits)
        print(f"ratio     {of_plain:>9.2f}  (commit that counts in {options.windows} windows / commit)")


def show(name: str, rates: list[float], unit: str) -> None:
    print(f"{name:<9} {statistics.median(rates):>9,.0f} {unit:<9} (best {max(rates):,.0f})")


def ratio(rates: list[float], others: list[float]) -> float:
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


if __name__ == "__main__":
    main()
