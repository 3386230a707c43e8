"""kill -9 of instances that have leased from a budget: what they did not spend comes back, and nothing is spent twice.

pytest tests/acceptance/test_budget_kills.py --kills 50 -s    makes 50 kills on each engine and prints what they came to
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from acceptance.budget_fleet import started
from acceptance.budget_kit import CALL_NANO_USD, ESTIMATE_NANO_USD_MAX, MAX_TOKENS, Headers, Instances, answered, usd
from acceptance.load import Call
from server_kit import UpstreamProcess, eventually

_CLIENTS = 12
_BUDGET = 60
_CALL: dict[str, Any] = {"model": "fixed:30", "max_tokens": MAX_TOKENS}
_BACK_SECONDS = 30.0
_LONG_LEASE_SECONDS = 600


@dataclass(kw_only=True)
class Round:
    """One kill: the key whose budget was being spent, and its calls."""

    headers: Headers
    calls: list[Call]
    killed: int = 0
    ready_seconds: float = 0.0
    """From the kill until the instance was there again."""
    seconds: float = 0.0
    """From the kill, or the end of the lease's time, until there was no room left."""


async def test_an_instance_that_comes_back_brings_back_what_it_had_leased(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, kills: int, seed: int
) -> None:
    with started(tmp_path, upstream, None, budget_lease_seconds=_LONG_LEASE_SECONDS) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        draw = random.Random(seed)
        rounds = [await _killed_and_started(instances, draw) for _ in range(_rounds(kills))]
        await _tell("SQLite, started again", instances, rounds, seed)
        await instances.stop_and_verify()


async def test_leases_of_one_of_three_instances_come_back_with_it_or_end(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    postgres_url: str,
    kills: int,
    seed: int,
) -> None:
    short = {0: {"budget_lease_seconds": 2}}  # Leases of the others outlast the test.
    with started(
        tmp_path, upstream, postgres_url, instances=3, of_instance=short, budget_lease_seconds=_LONG_LEASE_SECONDS
    ) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        draw = random.Random(seed)
        count = _rounds(kills)
        rounds = [await _killed_and_started(instances, draw) for _ in range(-(-count // 2))]
        await _tell("PostgreSQL, started again", instances, rounds, seed)
        rounds = [await _killed_and_away(instances, draw) for _ in range(max(1, count // 2))]
        await _tell("PostgreSQL, away", instances, rounds, seed)
        await instances.stop_and_verify()


async def _killed_and_started(instances: Instances, draw: random.Random) -> Round:
    """One round: an instance is killed whose leases last long, and started again."""
    async with _spending(instances) as current:
        await _kill_one(instances, current, draw, draw.choice(range(len(instances.servers))[-2:]))
        instances.servers[current.killed].start()
        await instances.ready()
        current.ready_seconds = time.monotonic() - current.seconds
        await _no_room_is_left(instances, current)
    assert await _spent(instances, current) <= _BUDGET * CALL_NANO_USD
    return current


async def _killed_and_away(instances: Instances, draw: random.Random) -> Round:
    """One round: the first instance stays away until the others have spent the rest, also what it had leased.

    What it had not delivered is counted late, but it is counted: that much may have been spent above the limit.
    """
    async with _spending(instances) as current:
        await _kill_one(instances, current, draw, 0)
        await _no_room_is_left(instances, current)
    in_time = {event.event_id for event in await instances.events_now(current.calls, server=instances.servers[1])}
    assert await _spent(instances, current) <= _BUDGET * CALL_NANO_USD
    instances.servers[0].start()
    await instances.ready()
    for event in await instances.events_of(current.calls):
        if event.event_id not in in_time:
            assert instances.instance_of(event.metadata["call"]) == 0, event
    return current


def _rounds(kills: int) -> int:
    """Few kills are for all tests of this module together."""
    return kills if kills >= 20 else max(1, kills // 4)


@asynccontextmanager
async def _spending(instances: Instances) -> AsyncIterator[Round]:
    """Make a key with a budget, and let clients spend it on all instances that answer."""
    headers = await instances.known_key(max_budget=usd(_BUDGET))
    async with instances.spending(headers, clients=_CLIENTS, **_CALL) as calls:
        yield Round(headers=headers, calls=calls)


async def _kill_one(instances: Instances, current: Round, draw: random.Random, victim: int) -> None:
    """Kill an instance when calls run on it and a good part of the budget is left."""
    wanted = draw.randrange(1, _BUDGET // 3)
    await eventually(lambda: len(answered(current.calls)) >= wanted, seconds=20, what=f"{wanted} calls are answered")
    current.killed = victim
    instances.servers[current.killed].kill()
    current.seconds = time.monotonic()


async def _no_room_is_left(instances: Instances, current: Round) -> None:
    """Wait until the ledger says that there is no room: as long as there is, calls must be admitted again."""
    alive = next(number for number in range(len(instances.servers)) if number != current.killed or _is_only(instances))

    async def is_used_up() -> bool:
        spend = (await instances.info(current.headers, instance=alive))["spend"]
        return bool(_BUDGET * CALL_NANO_USD - round(spend * 1e9) < ESTIMATE_NANO_USD_MAX)

    await eventually(is_used_up, seconds=_BACK_SECONDS, what="the whole budget can be used", pause=0.1)
    current.seconds = time.monotonic() - current.seconds


def _is_only(instances: Instances) -> bool:
    return len(instances.servers) == 1


async def _spent(instances: Instances, current: Round) -> int:
    """What the ledger has of a key now."""
    server = next(server for server in instances.servers if server.process and server.process.poll() is None)
    events = await instances.events_now(current.calls, server=server)
    assert len({event.metadata["call"] for event in events}) == len(events)
    return sum(event.cost_nano_usd for event in events)


async def _tell(shape: str, instances: Instances, rounds: list[Round], seed: int) -> None:
    spent = [await _spent(instances, current) / CALL_NANO_USD for current in rounds]
    unanswered = sum(call.status == 0 for current in rounds for call in current.calls)
    slowest = max(rounds, key=lambda current: current.seconds)
    median = statistics.median(current.seconds for current in rounds)
    start = f", {slowest.ready_seconds:.1f} s of them for its start" if slowest.ready_seconds else ""
    print(
        f"\n{shape} (seed {seed}): {len(rounds)} kills, {unanswered} calls broken off; of {_BUDGET} calls' money "
        f"{min(spent):.2f} to {max(spent):.2f} spent; all of it used {median:.1f} s after a kill (median), "
        f"{slowest.seconds:.1f} s at the latest{start}"
    )
