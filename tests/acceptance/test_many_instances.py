"""Many instances on one PostgreSQL, with five keys that all of them use: nobody waits for anybody in a circle.

pytest tests/acceptance/test_many_instances.py --hot-calls 20000 -s    makes so many calls and prints the connections
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from acceptance.kit import enough, finish, make_team_keys, metric, server_of
from acceptance.load import MODELS, Load, assert_nothing_missing_or_double, committed_calls
from server_kit import ServerProcess, UpstreamProcess, eventually, serving
from services import PostgresServer, RedisServer

_INSTANCES = 4
_WORKERS = 2
_KEYS = 5
_CLIENTS = 40
_TROUBLE = ("deadlock detected", "could not serialize access")


@pytest.fixture
def hot_calls(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--hot-calls", 600))


@pytest.fixture(params=[False, True], ids=["direct", "buffered"])
def redis_buffer(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_hot_keys_on_many_instances(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    own_postgres_server: PostgresServer,
    own_redis_server: RedisServer,
    hot_calls: int,
    redis_buffer: bool,
) -> None:
    servers = [
        ServerProcess(
            tmp_path / f"home-{number}",
            upstream_url=upstream.url,
            models=MODELS,
            database_url=own_postgres_server.url(),
            workers=_WORKERS,
            general={
                "redis_url": own_redis_server.url,
                "use_redis_transaction_buffer": redis_buffer,
                "journal_sync": "write",
                "batch_wait_seconds": 0.02,  # Many small commits: they are what meets.
                "budget_wait_seconds": 20,  # Ten processes share two cores, perhaps with another test.
            },
        )
        for number in range(_INSTANCES)
    ]
    with ExitStack() as stack:
        stack.enter_context(serving(servers[0]))
        await servers[0].ready(session)  # It makes the tables.
        for server in servers[1:]:
            stack.enter_context(serving(server))
        for server in servers:
            await server.ready(session)
            await eventually(server.all_serve, seconds=60, what="both workers serve")
        async with (
            counted_connections(own_postgres_server) as counts,
            Load(servers[0].url, random.randrange(1 << 32), others=tuple(server.url for server in servers[1:])) as load,
        ):
            load.keys = tuple(await make_team_keys(servers[0], session, _KEYS))
            load.start(session, clients=_CLIENTS)
            while len(load.whole) < hot_calls:
                await enough(load, min(200, hot_calls - len(load.whole)))
            await load.stop()
            seen = await upstream.seen(session)
            await committed_calls(servers[0], session, {*seen, *(call.call_id for call in load.whole)})
            if redis_buffer:
                outcome = 'buffer_batches_total{outcome="buffered"}'
                assert sum([await metric(server, session, outcome) for server in servers]) > _INSTANCES
        for server in servers:
            assert await server.stop() == 0, server.log_tail()
            assert server.segments() == [], "the journal is not empty after a clean stop"
    outcome = await assert_nothing_missing_or_double(servers[0], load, seen)
    failed = [call for call in load.calls if not call.whole and not call.left]
    assert failed == [], f"{len(failed)} of {len(load.calls)} calls failed"
    log = own_postgres_server.log()
    assert [line for line in log.splitlines() if any(trouble in line for trouble in _TROUBLE)] == []
    print(
        f"\n{'buffered' if redis_buffer else 'direct'}: {outcome}\nconnections: at most {max(counts['open'])}; busy "
        f"at most {max(counts['busy'])}, {sum(counts['busy']) / len(counts['busy']):.2f} on average of "
        f"{len(counts['busy'])} looks"
    )


@asynccontextmanager
async def counted_connections(server: PostgresServer) -> AsyncIterator[dict[str, list[int]]]:
    """Look again and again how many connections there are, and how many are in a transaction or a statement."""
    counts: dict[str, list[int]] = {"open": [], "busy": []}
    connection = await asyncpg.connect(server.url())

    async def look() -> None:
        while True:
            row = await connection.fetchrow(
                "SELECT count(*) AS open, count(*) FILTER (WHERE state <> 'idle') AS busy FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            for name, numbers in counts.items():
                numbers.append(row[name])
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield counts
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await connection.close()


async def test_an_instance_commits_what_a_dead_one_left_on_a_shared_volume(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, own_postgres_server: PostgresServer
) -> None:
    shared = {"journal_directory": str(tmp_path / "journal"), "journal_sync": "write"}
    lost, other = (
        server_of(tmp_path / name, upstream, own_postgres_server.url(), **shared) for name in ("lost", "other")
    )
    with serving(lost), serving(other):
        for server in (lost, other):
            await server.ready(session)
        async with Load(lost.url, 4) as load:
            await asyncio.to_thread(own_postgres_server.stop)  # What it answers now can be nowhere but in its journal.
            load.start(session, clients=4)
            await enough(load, 100)
            lost.kill()
            await load.stop()
            await asyncio.to_thread(own_postgres_server.start)
            await finish(other, load, upstream, session)
    assert len(load.whole) >= 100
    assert not list((tmp_path / "journal").glob("slot-*/*.journal"))
