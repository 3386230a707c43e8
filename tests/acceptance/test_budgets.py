"""A budget for few calls and many calls at once: never more is spent, and hardly less can be.

pytest tests/acceptance/test_budgets.py --budget-calls 1000 -s    makes 1,000 calls of each kind against 50 calls' money
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp

from acceptance.budget_fleet import started
from acceptance.budget_kit import (
    CALL_NANO_USD,
    ESTIMATE_NANO_USD_MAX,
    MAX_TOKENS,
    Headers,
    Instances,
    answered,
    assert_held,
    assert_refusals,
    usable,
    usd,
)
from server_kit import UpstreamProcess

_CLIENTS = 64
_WAYS: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_tokens": MAX_TOKENS},
    "no max_tokens": {},
    "streams": {"model": "fixed:5", "stream": True, "max_tokens": MAX_TOKENS},
    "streams, a third of them left": {
        "model": "fixed:5",
        "stream": True,
        "max_tokens": MAX_TOKENS,
        "leave_every": 3,
    },
}


async def test_a_budget_holds_on_sqlite(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, budget_calls: int
) -> None:
    with started(tmp_path, upstream, None) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        await _spend_in_all_ways("SQLite", instances, upstream, budget_calls)
        await instances.stop_and_verify()


async def test_a_budget_holds_on_one_and_on_three_instances(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    postgres_url: str,
    redis_url: str,
    budget_calls: int,
) -> None:
    """Redis has no part in budgets: it counts the rates of keys that have a limit of them, beside the budgets."""
    redis = {"redis_url": redis_url, "redis_key_prefix": tmp_path.name}
    with started(tmp_path, upstream, postgres_url, instances=3, **redis) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        await _spend_in_all_ways("PostgreSQL, one", Instances(servers[:1], session), upstream, budget_calls)
        await _spend_in_all_ways("PostgreSQL, three", instances, upstream, budget_calls)
        await _spend_in_all_ways("PostgreSQL, three, Redis", instances, upstream, budget_calls, rpm_limit=1_000_000)
        await instances.stop_and_verify()


async def _spend_in_all_ways(
    shape: str, instances: Instances, upstream: UpstreamProcess, count: int, **limits: Any
) -> None:
    for way, fields in _WAYS.items():
        headers = await instances.key(max_budget=usd(count // 20), **limits)
        print(f"\n{shape}, {way}: {await _spend(instances, upstream, headers, count, **fields)}")


async def _spend(instances: Instances, upstream: UpstreamProcess, headers: Headers, count: int, **fields: Any) -> str:
    """Use the budget of a key up, and check what came of it."""
    budget = count // 20
    begun = time.monotonic()
    calls = await instances.calls(headers, count=count, clients=_CLIENTS, **fields)
    seconds = time.monotonic() - begun
    at_once = len(answered(calls))
    if any(call.left for call in calls):
        events = await assert_held(instances, upstream, calls, budget_calls=budget)
    else:
        fields.pop("leave_every", None)
        await instances.use_up(headers, calls, wanted=usable(budget), **fields)
        events = await assert_held(instances, upstream, calls, budget_calls=budget)
    spent = sum(event.cost_nano_usd for event in events)
    refused = assert_refusals(calls, "Key=")
    assert budget * CALL_NANO_USD - spent < ESTIMATE_NANO_USD_MAX, "there is room, and calls are refused"
    info = await instances.info(headers)
    assert round(info["spend"] * 1e9) == spent
    return f"{at_once} of {budget} at once ({seconds:.1f} s), {len(events)} in all, {refused} refused, {spent} nano-USD"
