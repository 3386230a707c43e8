"""Instances that share a PostgreSQL and a Redis, and all that can happen to them, by name.

A fault is drawn by the round's own generator, so that a seed brings the same ones at the same steps; when calls come
is the machine's affair.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from acceptance.fault_points import sitecustomize as points
from acceptance.load import Load
from fault_proxy import FaultProxy
from server_kit import AUTHORIZATION, ServerProcess, eventually, kill
from services import PostgresServer, RedisServer

LEASE_SECONDS = 2.0
_ARMED_SECONDS = 4.0
"""So long a process may take to reach its point; then it is killed where it is."""


@dataclass(kw_only=True)
class Ground:
    """The instances, what they share, and what has happened."""

    servers: list[ServerProcess]
    faults: Path
    """Where processes look for what is to happen to them."""
    postgres: PostgresServer
    redis: RedisServer
    proxy: FaultProxy
    """Between all instances and PostgreSQL."""
    load: Load
    session: aiohttp.ClientSession
    pause_seconds: float
    happened: Counter[str] = field(default_factory=Counter)
    armed: int = 0
    reached: int = 0
    """How often a process was to be killed or stopped at a point, and was."""

    async def processes(self) -> list[tuple[ServerProcess, int]]:
        """Return all that serve, with their ids."""
        found = []
        for server in self.servers:
            assert server.process is not None
            pids = [server.process.pid] if server.workers == 1 else server.worker_pids()
            found += [(server, pid) for pid in pids]
        return found

    async def leader(self) -> tuple[ServerProcess, int] | None:
        """Return who leads, as Redis has it."""
        found = self.redis.ask("KEYS", "{tallystick}:leader:*:jobs").split("\r\n")
        holder = self.redis.ask("GET", found[-1]).partition("\r\n")[2].split(":") if len(found) > 1 else []
        processes = await self.processes()
        return next((each for each in processes if len(holder) > 1 and str(each[1]) == holder[1]), None)

    async def victim(self, draw: random.Random, *, leads: bool) -> tuple[ServerProcess, int]:
        """Choose a process: the leader, if there is one and it is asked for."""
        chosen = draw.random()
        leader = await self.leader() if leads else None
        if leader is not None:
            return leader
        processes = await eventually(self.processes, seconds=60, what="a process serves")
        return processes[int(chosen * len(processes))]

    async def start_again(self, server: ServerProcess) -> None:
        """Start an instance that is no more; a worker's supervisor does so by itself."""
        assert server.process is not None
        if server.workers == 1:
            await eventually(lambda: server.process.poll() is not None, seconds=30, what="the process has ended")
            server.start()

    async def is_reached(self, pid: int, order: str) -> bool:
        """Arm a process, and tell whether it has reached its point in time."""
        file = self.faults / str(pid)
        file.with_suffix(".reached").unlink(missing_ok=True)  # It may have been stopped before.
        part = file.with_suffix(".new")
        part.write_text(order)
        part.rename(file)
        self.armed += 1
        deadline = time.monotonic() + _ARMED_SECONDS
        while not (reached := file.with_suffix(".reached").exists()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        file.unlink(missing_ok=True)
        reached = reached or file.with_suffix(".reached").exists()
        self.reached += reached
        return reached


Fault = Callable[[Ground, random.Random], Awaitable[str]]
"""Lets it happen and makes it good again; returns what happened, in a few words."""


async def killed_at_a_point(ground: Ground, draw: random.Random) -> str:
    """kill -9 of any process, or of the leader, before or behind a step."""
    leads = draw.random() < 0.5
    name = draw.choice(points.OF_LEADERS if leads else sorted(points.POINTS))
    order = f"kill {draw.choice(('before', 'behind'))} {name}"
    server, pid = await ground.victim(draw, leads=leads)
    reached = await ground.is_reached(pid, order)
    if not reached:
        kill(pid)
    await ground.start_again(server)
    return f"{'the leader' if leads else 'a process'}: {order if reached else 'kill anywhere'}"


async def whole_instance_killed(ground: Ground, draw: random.Random) -> str:
    """kill -9 of an instance with all its workers, while calls run."""
    server = draw.choice(ground.servers)
    await asyncio.sleep(draw.uniform(0.0, 0.5))
    server.kill()
    await asyncio.sleep(draw.uniform(0.0, 1.0))
    server.start()
    return "a whole instance killed"


async def instance_restarted(ground: Ground, draw: random.Random) -> str:
    """An instance is stopped as an operator does it, and started again."""
    server = draw.choice(ground.servers)
    code = await server.stop()
    assert code == 0, server.log_tail()
    server.start()
    return "an instance restarted"


async def leader_paused(ground: Ground, draw: random.Random) -> str:
    """The leader is stopped before or behind a step, for longer than its lease, and goes on beside its successor."""
    order = f"stop {draw.choice(('before', 'behind'))} {draw.choice(points.OF_LEADERS)}"
    _, pid = await ground.victim(draw, leads=True)
    reached = await ground.is_reached(pid, order)
    if not reached:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(2 * LEASE_SECONDS + draw.uniform(0.0, 1.0))
    os.kill(pid, signal.SIGCONT)
    return f"the leader: {order if reached else 'stop anywhere'}"


async def redis_emptied(ground: Ground, draw: random.Random) -> str:
    """FLUSHALL, some times."""
    for _ in range(draw.randrange(1, 5)):
        await asyncio.sleep(draw.uniform(0.0, 0.5))
        ground.redis.ask("FLUSHALL")
    return "FLUSHALL"


async def redis_killed(ground: Ground, draw: random.Random) -> str:
    """Redis dies and comes back empty."""
    await asyncio.to_thread(ground.redis.kill)
    await asyncio.sleep(draw.uniform(0.0, 3.0))
    await asyncio.to_thread(ground.redis.start)
    return "Redis killed, back empty"


async def redis_paused(ground: Ground, draw: random.Random) -> str:
    """Redis hangs."""
    ground.redis.pause()
    await asyncio.sleep(ground.pause_seconds * draw.uniform(0.8, 1.0))
    ground.redis.resume()
    return "Redis paused"


async def postgres_stopped(ground: Ground, draw: random.Random) -> str:
    """PostgreSQL is stopped properly, at once, or killed, and comes back."""
    how = draw.choice(("fast", "immediate", "kill"))
    await asyncio.to_thread(ground.postgres.kill if how == "kill" else lambda: ground.postgres.stop(how))
    await asyncio.sleep(draw.uniform(0.0, 2.0))
    await asyncio.to_thread(ground.postgres.start)
    return f"PostgreSQL stopped: {how}"


async def commit_cut(ground: Ground, draw: random.Random) -> str:
    """Connections are cut at COMMIT: before it arrives, or in place of its reply; or anywhere in the bytes."""
    how = draw.choice(("COMMIT lost", "reply to COMMIT lost", "cut on the way in", "cut on the way out"))
    for _ in range(3):
        cuts = ground.proxy.cuts
        if "COMMIT" in how:
            ground.proxy.cut_at(b"COMMIT;", passed="reply" in how)
        else:
            ground.proxy.cut_after(draw.randrange(6000), "to_server" if "in" in how.split() else "to_client")
        await eventually(lambda cuts=cuts: ground.proxy.cuts > cuts, seconds=30, what=f"a connection was cut: {how}")
    return how


async def database_unreachable(ground: Ground, draw: random.Random) -> str:
    """The network to the database takes everything and answers nothing, or is refused."""
    if draw.random() < 0.5:
        ground.proxy.blackhole = True
        await asyncio.sleep(draw.uniform(1.0, 5.0))
        ground.proxy.blackhole = False
        ground.proxy.cut()  # What was swallowed never comes.
        return "the database's network swallowed everything"
    await ground.proxy.refuse()
    await asyncio.sleep(draw.uniform(0.5, 3.0))
    await ground.proxy.accept()
    return "the database's network refused"


async def leader_killed_without_redis(ground: Ground, draw: random.Random) -> str:
    """Two things at once: Redis forgets everything, and who led is killed."""
    server, pid = await ground.victim(draw, leads=True)
    ground.redis.ask("FLUSHALL")
    await asyncio.sleep(draw.uniform(0.0, 0.2))
    kill(pid)
    await ground.start_again(server)
    return "FLUSHALL, and the leader killed"


WEIGHTS: dict[Fault, int] = {
    killed_at_a_point: 12,
    whole_instance_killed: 2,
    instance_restarted: 1,
    leader_paused: 4,
    redis_emptied: 2,
    redis_killed: 2,
    redis_paused: 1,
    postgres_stopped: 3,
    commit_cut: 4,
    database_unreachable: 2,
    leader_killed_without_redis: 2,
}


class Follower:
    """Reads the feed of committed events as it grows: no call may come twice, each that was answered has to come."""

    def __init__(self) -> None:
        self._cursor = ""
        self.found: Counter[str] = Counter()

    async def has(self, ground: Ground, wanted: set[str]) -> bool:
        """Read on; tell whether all that is wanted has come."""
        server = ground.servers[0]
        url = f"{server.url}/ledger/events?limit=1000&after={self._cursor}"
        try:
            async with ground.session.get(url, headers={**AUTHORIZATION, "connection": "close"}) as response:
                page: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, OSError):
            return False
        if response.status != 200:
            assert response.status == 503, page
            return False
        self._cursor = page["next"]
        self.found.update(event["metadata"]["call"] for event in page["events"])
        twice = [call for call, count in self.found.items() if count > 1]
        assert twice == [], f"calls that are in the ledger twice: {twice[:5]}"
        return self.found.keys() >= wanted
