"""Redis or the database go away, or a window ends, while a budget is being spent: it holds, and none of it is lost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from acceptance.budget_fleet import Fleet
from acceptance.budget_kit import (
    CALL_NANO_USD,
    ESTIMATE_NANO_USD_MAX,
    MAX_TOKENS,
    Instances,
    answered,
    assert_held,
    usable,
    usd,
)
from acceptance.load import Call
from server_kit import AUTHORIZATION, eventually

_BUDGET = 60
_CLIENTS = 6
_CALL: dict[str, Any] = {"model": "fixed:30", "max_tokens": MAX_TOKENS}
_WINDOW_SECONDS = 3
_WINDOW_BUDGET = 10
_LEASE_SECONDS = 3.0


@pytest.fixture
async def instances(budget_fleet: Fleet, session: aiohttp.ClientSession) -> Instances:
    instances = Instances(budget_fleet.servers, session)
    await instances.ready()
    return instances


async def _redis_is_emptied(fleet: Fleet) -> None:
    assert fleet.redis.ask("FLUSHALL") == "+OK"


async def _redis_is_killed_and_started(fleet: Fleet) -> None:
    await fleet.do(fleet.redis.kill)
    await fleet.do(fleet.redis.start)


async def _postgres_is_restarted(fleet: Fleet) -> None:
    await fleet.do(fleet.postgres.stop)
    await fleet.do(fleet.postgres.start)


async def _postgres_is_killed_and_started(fleet: Fleet) -> None:
    await fleet.do(fleet.postgres.kill)
    await fleet.do(fleet.postgres.start)


_FAULTS: dict[str, Callable[[Fleet], Awaitable[None]]] = {
    "Redis emptied": _redis_is_emptied,
    "Redis killed": _redis_is_killed_and_started,
    "PostgreSQL restarted": _postgres_is_restarted,
    "PostgreSQL killed": _postgres_is_killed_and_started,
}


@pytest.mark.parametrize("fault", _FAULTS)
async def test_a_budget_holds_while_something_fails(budget_fleet: Fleet, instances: Instances, fault: str) -> None:
    headers = await instances.known_key(max_budget=usd(_BUDGET), rpm_limit=1_000_000)
    async with instances.spending(headers, clients=_CLIENTS, **_CALL) as calls:
        await _are_answered(calls, _BUDGET // 4)
        await _FAULTS[fault](budget_fleet)
        await _are_answered(calls, usable(_BUDGET))
    await assert_held(instances, budget_fleet.upstream, calls, budget_calls=_BUDGET)
    refused = [call for call in calls if call.status != 200]
    assert {call.status for call in refused} <= {422, 503}, refused
    assert all(b"budget_" in call.body for call in refused)
    phantoms = _refused_while_there_was_room(calls)
    print(
        f"\n{fault}: {len(answered(calls))} of {_BUDGET} answered, {len(refused)} refused, {phantoms} of them too early"
    )
    await _adds_up(instances)


async def test_each_window_has_its_own_budget_when_it_ends_under_load(
    budget_fleet: Fleet, instances: Instances
) -> None:
    headers = await instances.known_key(max_budget=usd(_WINDOW_BUDGET), budget_duration=f"{_WINDOW_SECONDS}s")
    begun = time.time() // _WINDOW_SECONDS
    async with instances.spending(headers, clients=_CLIENTS, **_CALL) as calls:
        await eventually(
            lambda: time.time() // _WINDOW_SECONDS >= begun + 3, seconds=20, what="two windows have begun and ended"
        )
    spent: dict[int, int] = defaultdict(int)
    for event in await instances.events_of(calls):
        spent[int(event.started_at.timestamp()) // _WINDOW_SECONDS] += event.cost_nano_usd
    print(f"\nspent in each window, in calls: {[value / CALL_NANO_USD for value in spent.values()]}")
    for window, value in sorted(spent.items()):
        assert value <= _WINDOW_BUDGET * CALL_NANO_USD, window
        if begun < window < begun + 3:
            assert _WINDOW_BUDGET * CALL_NANO_USD - value < ESTIMATE_NANO_USD_MAX, "a window was not used up"
    assert len(spent) >= 3
    await _adds_up(instances)


async def test_without_the_database_leases_are_spent_and_no_more(budget_fleet: Fleet, instances: Instances) -> None:
    free = await instances.known_key()
    bounded = await instances.known_key(max_budget=usd(4 * _BUDGET))
    async with instances.spending(bounded, clients=_CLIENTS, **_CALL) as calls:
        await _are_answered(calls, _BUDGET)
        await budget_fleet.do(budget_fleet.postgres.stop)
        stopped, before = time.monotonic(), len(calls)
        try:
            await eventually(
                lambda: {call.status for call in calls[before:][-_CLIENTS:]} == {503},
                seconds=_LEASE_SECONDS + 10,
                what="what was leased is used up, or its time is over",
            )
            refused_after = time.monotonic() - stopped
            for number in range(len(instances.servers)):
                assert (await instances.call(number, free, **_CALL)).status == 200
        finally:
            await budget_fleet.do(budget_fleet.postgres.start)
        meanwhile = len(answered(calls[before:]))
        await _are_answered(calls, usable(4 * _BUDGET))
    assert meanwhile > 0
    unknown = [call for call in calls if call.status == 503]
    assert unknown
    assert all(b'"budget_unknown"' in call.body for call in unknown)
    await assert_held(instances, budget_fleet.upstream, calls, budget_calls=4 * _BUDGET)
    print(
        f"\n{meanwhile} calls answered from leases, then {len(unknown)} refused, the first {refused_after:.1f} s later"
    )
    await _adds_up(instances)


async def _are_answered(calls: list[Call], wanted: int) -> None:
    await eventually(lambda: len(answered(calls)) >= wanted, seconds=30, what=f"{wanted} calls are answered")


def _refused_while_there_was_room(calls: list[Call]) -> int:
    """How many calls were told that the budget is exceeded before the last one was answered."""
    last = max(number for number, call in enumerate(calls) if call.status == 200)
    return sum(call.status == 422 for call in calls[:last])


async def _adds_up(instances: Instances) -> None:
    """Nothing of what was dispatched is missing, and every sum is that of its events."""
    server = instances.servers[0]

    async def is_delivered() -> bool:
        for each in instances.servers:
            async with instances.session.get(f"{each.url}/health", headers=AUTHORIZATION) as response:
                if (await response.json())["journal"]["events_pending"]:
                    return False
        return True

    await eventually(is_delivered, seconds=20, what="all events are committed")
    verified = await server.verify()
    assert verified["ok"], verified["differences"]
