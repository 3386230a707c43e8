"""kill -9 of a serving process at random moments under load: every call is in the ledger exactly once (DESIGN I1).

pytest tests/acceptance/test_crash.py --kills 200 -s    makes 200 kills for each engine and prints what they came to
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.load import MODELS, Load, Outcome, assert_nothing_missing_or_double, committed_calls
from server_kit import ServerProcess, UpstreamProcess, eventually, kill, serving

_CLIENTS = 12
_KILLS_OF_ONE_SUPERVISOR = 8
# Small segments, so that kills also come while one ends and the next begins.
_JOURNAL = {"journal_segment_bytes": 64 * 1024}


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where the server keeps its ledger; None for the file in its home."""
    return request.getfixturevalue("empty_postgres_url") if request.param == "postgres" else None


async def test_one_worker_killed_and_started_again(
    tmp_path: Path,
    database_url: str | None,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    kills: int,
    seed: int,
) -> None:
    begun, draw = time.monotonic(), random.Random(seed)
    print(f"\nseed {seed}")
    server = ServerProcess(tmp_path / "home", **_options(upstream, database_url, workers=1, sync="fsync"))
    count = (kills + 1) // 2 if kills < 20 else kills * 3 // 4
    with serving(server):
        async with Load(server.url, seed) as load:
            load.start(session, clients=_CLIENTS)
            for _ in range(count):
                if draw.random() < 0.15:
                    await asyncio.sleep(draw.uniform(0.2, 1.5))  # While it starts, and recovers what the last one left.
                else:
                    await server.ready(session)
                    await asyncio.sleep(draw.uniform(0.0, 0.8))
                server.kill()
                server.start()
            outcome = await _finish(server, load, upstream, session)
    _tell("one worker", database_url, count, seed, outcome, begun)


async def test_one_of_two_workers_killed_while_the_other_serves(
    tmp_path: Path,
    database_url: str | None,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    kills: int,
    seed: int,
) -> None:
    begun, draw = time.monotonic(), random.Random(seed)
    print(f"\nseed {seed}")
    server = ServerProcess(tmp_path / "home", **_options(upstream, database_url, workers=2, sync="write"))
    count = kills // 2 if kills < 20 else kills - kills * 3 // 4
    with serving(server):
        async with Load(server.url, seed) as load:
            load.start(session, clients=_CLIENTS)
            for number in range(1, count + 1):
                await server.ready(session)
                await asyncio.sleep(draw.uniform(0.0, 1.0))
                victims = await eventually(server.worker_pids, seconds=60, what="a worker runs")
                if number % _KILLS_OF_ONE_SUPERVISOR == 0:  # All at once: a supervisor waits longer after each death.
                    server.kill()
                    server.start()
                else:
                    kill(draw.choice(victims))
            outcome = await _finish(server, load, upstream, session)
    _tell("two workers", database_url, count, seed, outcome, begun)


def _options(upstream: UpstreamProcess, database_url: str | None, *, workers: int, sync: str) -> dict[str, Any]:
    return {
        "upstream_url": upstream.url,
        "models": MODELS,
        "database_url": database_url,
        "workers": workers,
        "general": {**_JOURNAL, "journal_sync": sync},
    }


async def _finish(
    server: ServerProcess, load: Load, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> Outcome:
    """Let the last server catch up with what all the others left, stop it, and compare."""
    await server.ready(session)
    await load.stop()
    seen = await upstream.seen(session)
    await committed_calls(server, session, {*seen, *(call.call_id for call in load.whole)})
    await eventually(
        lambda: server.all_serve() and not server.unfinished_slots(),
        seconds=30,
        what="all workers serve and no slot is left alone",
    )
    assert await server.stop() == 0, server.log_tail()
    assert server.segments() == [], "the journal is not empty after a clean stop"
    outcome = await assert_nothing_missing_or_double(server, load, seen)
    assert outcome.answered > 0
    return outcome


def _tell(shape: str, database_url: str | None, kills: int, seed: int, outcome: Outcome, begun: float) -> None:
    engine = "postgres" if database_url else "sqlite"
    seconds = time.monotonic() - begun
    print(f"\n{engine}, {shape}: {kills} kills in {seconds:.0f} s (seed {seed}): {outcome}")
