"""Rates of a key on three instances that share a Redis: as many calls as are allowed, and none more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from acceptance.budget_fleet import Fleet
from acceptance.budget_kit import MAX_TOKENS, Instances, answered
from acceptance.load import Call
from server_kit import AUTHORIZATION, eventually

_CALLS = 200
_RPM = 20
_PARALLEL = 5
_CALL: dict[str, Any] = {"max_tokens": MAX_TOKENS}


@pytest.fixture
async def instances(budget_fleet: Fleet, session: aiohttp.ClientSession) -> Instances:
    instances = Instances(budget_fleet.servers, session)
    await instances.ready()
    await eventually(lambda: _all_share(instances), seconds=20, what="rates are counted in Redis")
    return instances


async def test_as_many_calls_in_a_minute_as_are_allowed(instances: Instances) -> None:
    """A window slides (docs/adr/0009): no minute, wherever it begins, has more. The test is over in less than one."""
    headers = await instances.known_key(rpm_limit=_RPM)
    calls = await instances.calls(headers, count=_CALLS, clients=_CALLS, **_CALL)
    admitted = answered(calls)
    assert len(admitted) == _RPM
    assert {call.answer_headers["x-ratelimit-limit-requests"] for call in admitted} == {str(_RPM)}
    left = sorted(int(call.answer_headers["x-ratelimit-remaining-requests"]) for call in admitted)
    assert left == list(range(_RPM)), "each admitted call is told another number of those that are left"
    for call in calls:
        if call.status != 200:
            _assert_limited(call, f"{_RPM} of {_RPM} requests per minute are used")
            assert 1 <= int(call.answer_headers["retry-after"]) <= 61


async def test_as_many_calls_at_once_as_are_allowed(budget_fleet: Fleet, instances: Instances) -> None:
    headers = await instances.known_key(max_parallel_requests=_PARALLEL)
    calls = [asyncio.create_task(instances.call(number, headers, model="held")) for number in range(_CALLS)]
    refused = _CALLS - _PARALLEL
    await eventually(lambda: _ended(calls) >= refused, seconds=20, what="all but those that run are refused")
    for call in (task.result() for task in calls if task.done()):
        _assert_limited(call, f"{_PARALLEL} of {_PARALLEL} parallel requests are running")
    await budget_fleet.upstream.release(instances.session)
    assert len(answered(await asyncio.gather(*calls))) == _PARALLEL

    async def all_are_admitted_again() -> bool:
        again = await instances.calls(headers, count=_PARALLEL, clients=_PARALLEL, **_CALL)
        return len(answered(again)) == _PARALLEL

    await eventually(all_are_admitted_again, seconds=10, what="places of calls that have ended are free")


async def test_without_redis_each_instance_counts_for_itself(budget_fleet: Fleet, instances: Instances) -> None:
    headers = await instances.known_key(rpm_limit=_RPM)
    await budget_fleet.do(budget_fleet.redis.kill)
    try:
        calls = await instances.calls(headers, count=_CALLS, clients=32, **_CALL)
        assert {call.status for call in calls} == {200, 429}
        assert len(answered(calls)) == _RPM * len(instances.servers)
        assert not await _all_share(instances)
    finally:
        await budget_fleet.do(budget_fleet.redis.start)
    await eventually(lambda: _all_share(instances), seconds=20, what="rates are counted in Redis again")


def _ended(calls: Sequence[asyncio.Task[Call]]) -> int:
    return sum(task.done() for task in calls)


def _assert_limited(call: Call, told: str) -> None:
    assert call.status == 429, call
    error = json.loads(call.body)["error"]
    assert error["code"] == "429"
    assert told in error["message"], error
    assert "retry-after" in call.answer_headers


async def _all_share(instances: Instances) -> bool:
    for server in instances.servers:
        async with instances.session.get(f"{server.url}/health", headers=AUTHORIZATION) as response:
            if (await response.json())["rate_limits"]["counted"] != "shared":
                return False
    return True
