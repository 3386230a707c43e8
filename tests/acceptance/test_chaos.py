"""Whatever dies, pauses or forgets, and when: every answered call is in the ledger once (DESIGN I1, section 9).

pytest tests/acceptance/test_chaos.py --rounds 100 --seed 1 -s    makes 100 rounds and prints each
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from acceptance.chaos import LEASE_SECONDS, WEIGHTS, Follower, Ground
from acceptance.fault_points import sitecustomize as points
from acceptance.kit import make_team_keys, proxied
from acceptance.load import MODELS, Load, assert_nothing_missing_or_double
from server_kit import ServerProcess, UpstreamProcess, eventually, serving
from services import PostgresServer, RedisServer

_WORKERS = (2, 1, 1)
_CLIENTS = 9
_KEYS = 5
_PAUSE = 0.05


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds", 6))


@pytest.fixture
async def ground(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    own_postgres_server: PostgresServer,
    own_redis_server: RedisServer,
    rounds: int,
    seed: int,
) -> AsyncIterator[Ground]:
    faults = tmp_path / "faults"
    faults.mkdir()
    variables = {points.FAULTS: str(faults), "PYTHONPATH": str(Path(points.__file__).parent)}
    async with proxied(own_postgres_server.url()) as (proxy, url):
        servers = [
            ServerProcess(
                tmp_path / f"home-{number}",
                upstream_url=upstream.url,
                models=MODELS,
                database_url=url,
                workers=workers,
                general={
                    "database_connect_timeout_seconds": 1,
                    "database_statement_timeout_seconds": 3,
                    "redis_url": own_redis_server.url,
                    "use_redis_transaction_buffer": True,
                    "redis_buffer_wait_seconds": 5,
                    "leader_lease_seconds": LEASE_SECONDS,
                    "batch_wait_seconds": 0.02,
                    "journal_segment_bytes": 64 * 1024,
                    "journal_sync": "write",
                    "budget_lease_seconds": 5,
                    "budget_idle_seconds": 1,
                },
                variables=variables,
            )
            for number, workers in enumerate(_WORKERS)
        ]
        with ExitStack() as stack:
            stack.enter_context(serving(servers[0]))
            await servers[0].ready(session)  # It makes the tables.
            for server in servers[1:]:
                stack.enter_context(serving(server))
            async with Load(servers[0].url, seed, others=tuple(server.url for server in servers[1:])) as load:
                yield Ground(
                    servers=servers,
                    faults=faults,
                    postgres=own_postgres_server,
                    redis=own_redis_server,
                    proxy=proxy,
                    load=load,
                    session=session,
                    pause_seconds=10.0 if rounds >= 20 else 3.0,
                )


async def test_every_answered_call_is_in_the_ledger_once(
    ground: Ground, upstream: UpstreamProcess, rounds: int, seed: int
) -> None:
    print(f"\nseed {seed}")
    load, session = ground.load, ground.session
    load.keys = tuple(await make_team_keys(ground.servers[0], session, _KEYS))
    load.start(session, clients=_CLIENTS, pause=_PAUSE)
    follower = Follower()
    for number in range(rounds):
        draw = random.Random(f"{seed}/{number}")
        fault = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        begun, before = time.monotonic(), len(load.whole)
        happened = await fault(ground, draw)
        took = time.monotonic() - begun
        await _assert_round(ground, follower)
        ground.happened[happened] += 1
        print(
            f"round {number}: {happened}; {len(load.whole) - before} calls answered, fault {took:.1f} s, "
            f"all {time.monotonic() - begun:.1f} s"
        )
    await _finish(ground, upstream, follower)


async def _assert_round(ground: Ground, follower: Follower) -> None:
    """Everything serves again; what was answered until now is in the ledger once, and the ledger adds up."""
    for server in ground.servers:
        await server.ready(ground.session)
    answered = len(ground.load.whole)
    await eventually(
        lambda: len(ground.load.whole) >= answered + 2 * _CLIENTS, seconds=60, what="calls are answered again"
    )
    wanted = {call.call_id for call in ground.load.whole}
    try:
        await eventually(lambda: follower.has(ground, wanted), seconds=60, what="every call is committed", pause=0.1)
    except AssertionError as error:
        missing = sorted(wanted - follower.found.keys())
        raise AssertionError(f"{error}: {len(missing)} are missing, e.g. {missing[:5]}") from None
    verified = await ground.servers[0].verify()
    assert verified["ok"], verified["differences"]
    assert verified["dead_letters"] == 0


async def _finish(ground: Ground, upstream: UpstreamProcess, follower: Follower) -> None:
    """Stop everything and compare the ledger with all that was answered, and all that was dispatched."""
    load = ground.load
    await load.stop()
    seen = await upstream.seen(ground.session)
    await eventually(
        lambda: follower.has(ground, {*seen, *(call.call_id for call in load.whole)}),
        seconds=60,
        what="every call is committed",
        pause=0.1,
    )
    for server in ground.servers:
        await eventually(
            lambda server=server: server.all_serve() and not server.unfinished_slots(),
            seconds=30,
            what="all workers serve and no slot is left alone",
        )
    for server in ground.servers:
        assert await server.stop() == 0, server.log_tail()
        assert server.segments() == [], "the journal is not empty after a clean stop"
    # Some points are of leaders only, or rare; were none ever reached, the points would not be where they are named.
    assert ground.reached * 4 >= ground.armed - 4, f"{ground.reached} of {ground.armed} points were reached"
    print(await assert_nothing_missing_or_double(ground.servers[0], load, seen))
    for happened, count in sorted(ground.happened.items()):
        print(f"{count:4} {happened}")


def test_the_points_are_there() -> None:
    """A point that is named after nothing would make every process of the chaos run end at its start."""
    assert set(points.OF_LEADERS) <= points.POINTS.keys()
    for module, class_name, method in points.POINTS.values():
        owner = getattr(__import__(module, fromlist=[class_name]), class_name)
        assert callable(getattr(owner, method))
