"""A budget for few calls and many calls at once: never more is spent, and hardly less can be.

pytest tests/acceptance/test_budgets.py --budget-calls 1000 -s    makes 1,000 calls of each kind against 50 calls' money
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.budget_kit import (
    CALL_NANO_USD,
    ESTIMATE_NANO_USD_MAX,
    MAX_TOKENS,
    Instances,
    answered,
    assert_held,
    assert_refusals,
    started,
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


@pytest.mark.parametrize(
    ("engine", "count", "with_redis"),
    [("sqlite", 1, False), ("postgres", 1, False), ("postgres", 3, False), ("postgres", 3, True)],
    ids=["sqlite-1", "postgres-1", "postgres-3", "postgres-3-redis"],
)
async def test_a_budget_holds(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    budget_calls: int,
    engine: str,
    count: int,
    with_redis: bool,
) -> None:
    database_url = request.getfixturevalue("postgres_url") if engine == "postgres" else None
    redis = {"redis_url": request.getfixturevalue("redis_url"), "redis_key_prefix": tmp_path.name} if with_redis else {}
    with started(tmp_path, upstream, database_url, instances=count, **redis) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        for way, fields in _WAYS.items():
            told = await _spend(instances, upstream, budget_calls, **fields)
            print(f"\n{engine}, {count} instances, {way}: {told}")
        await instances.stop_and_verify()


async def _spend(instances: Instances, upstream: UpstreamProcess, count: int, **fields: Any) -> str:
    """Use the budget of a new key up, and check what came of it."""
    budget = count // 20
    headers = await instances.key(max_budget=usd(budget), key_alias=f"spender-{len(fields)}", rpm_limit=1_000_000)
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
    refused = assert_refusals(calls, f"Key=spender-{len(fields)}")
    assert budget * CALL_NANO_USD - spent < ESTIMATE_NANO_USD_MAX, "there is room, and calls are refused"
    info = await instances.info(headers)
    assert round(info["spend"] * 1e9) == spent
    return f"{at_once} of {budget} at once ({seconds:.1f} s), {len(events)} in all, {refused} refused, {spent} nano-USD"
