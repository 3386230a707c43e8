"""What rate limits cost a call: in memory and in Redis, without limits and with six scopes.

    .venv/bin/python bench/rates.py [--calls 20000] [--redis redis://…]

One admission and its settlement. Six scopes (key, user, team, team member, organization, end user) have requests and
tokens a minute, tokens a day, and parallel calls: 24 counters. In Redis also from 64 calls at once, which go together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path

import uvloop

from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.shared import SharedRates
from tallystick.access.scoped_limits import RateLimits, ScopedLimits
from tallystick.access.scopes import Scope
from tallystick.config.redis_address import parse_redis_url
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.redis.connection import connect
from tallystick.stores.redis.rates import RedisRateStore

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from services import RedisServer

SCOPES = (
    Scope("key", "k"),
    Scope("user", "u"),
    Scope("team", "t"),
    Scope("team_member", "t", "u"),
    Scope("organization", "o"),
    Scope("end_user", "e"),
)
PLENTY = 1_000_000_000
NOTHING = tuple(ScopedLimits(scope=scope) for scope in SCOPES)
REQUESTS = tuple(ScopedLimits(scope=scope, rates=RateLimits(requests_per_minute=PLENTY)) for scope in SCOPES)
EVERYTHING = tuple(
    ScopedLimits(
        scope=scope,
        rates=RateLimits(
            requests_per_minute=PLENTY, tokens_per_minute=PLENTY, tokens_per_day=PLENTY, parallel_requests=PLENTY
        ),
    )
    for scope in SCOPES
)


def in_memory(limiter: RateLimiter, scoped: tuple[ScopedLimits, ...], calls: int) -> float:
    """Return microseconds a call."""
    begun = time.process_time()
    for number in range(calls):
        hold = limiter.try_admit(scoped, model_group="m", tokens_estimate=900, call_id=str(number))
        limiter.settle(hold, tokens=300)
    return (time.process_time() - begun) / calls * 1e6


def headers(limiter: RateLimiter, calls: int) -> float:
    """Return microseconds an answer."""
    hold = limiter.try_admit(EVERYTHING, model_group="m", tokens_estimate=900, call_id="h")
    begun = time.process_time()
    for _ in range(calls):
        limiter.headers(hold)
    return (time.process_time() - begun) / calls * 1e6


async def shared(
    limiter: RateLimiter, scoped: tuple[ScopedLimits, ...], calls: int, at_once: int
) -> tuple[float, float]:
    """Return microseconds a call of throughput, and the median wait of one admission."""
    waits = []

    async def caller(first: int) -> None:
        for number in range(first, calls, at_once):
            begun = time.perf_counter()
            hold = await limiter.admit(scoped, model_group="m", tokens_estimate=900, call_id=str(number))
            waits.append(time.perf_counter() - begun)
            limiter.settle(hold, tokens=300)

    begun = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(at_once)))
    return (time.perf_counter() - begun) / calls * 1e6, statistics.median(waits) * 1e6


async def main(*, calls: int, url: str | None) -> None:
    clock, metrics = SystemClock(), Metrics()
    memory = MemoryRates(counters_max=100_000, clock=clock, metrics=metrics)
    here = RateLimiter(memory=memory, shared=None, metrics=metrics)
    print(f"{'in memory':<44}{'µs a call':>12}")
    for name, scoped in (("no limits", NOTHING), ("requests, 6 scopes", REQUESTS), ("all, 6 scopes", EVERYTHING)):
        best = min(in_memory(here, scoped, calls) for _ in range(5))
        print(f"  {name:<42}{best:>12.2f}")
    print(f"  {'headers':<42}{min(headers(here, calls) for _ in range(5)):>12.2f}")

    with contextlib.ExitStack() as stack:
        url = url or stack.enter_context(RedisServer()).url
        store = RedisRateStore(
            connect(parse_redis_url(url), timeout_seconds=2),
            where="bench",
            key_prefix="bench",
            holder="bench",
            timeout_seconds=2,
        )
        service = SharedRates(store, clock=clock, metrics=metrics)
        await service.start()
        limiter = RateLimiter(memory=memory, shared=service, metrics=metrics)
        print(f"{'in Redis':<44}{'µs a call':>12}{'µs waited':>12}")
        for name, scoped in (("requests, 6 scopes", REQUESTS), ("all, 6 scopes", EVERYTHING)):
            for at_once in (1, 64):
                each, wait = await shared(limiter, scoped, calls // 4, at_once)
                print(f"  {f'{name}, {at_once} at once':<42}{each:>12.1f}{wait:>12.0f}")
        print(f"  counted in Redis: {limiter.status().counted == 'shared'}")
        await service.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--redis")
    arguments = parser.parse_args()
    uvloop.run(main(calls=arguments.calls, url=arguments.redis))
