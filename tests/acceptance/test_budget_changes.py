"""What an admin changes of a budget is soon in force on every instance, and the budget goes on to hold.

pytest tests/acceptance/test_budget_changes.py -s    prints how soon
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from acceptance.budget_fleet import Fleet
from acceptance.budget_kit import CALL_NANO_USD, MAX_TOKENS, Instances, answered, assert_refusals, usable, usd
from acceptance.load import Call
from server_kit import eventually

_BUDGET = 30
_CLIENTS = 12
_CALL: dict[str, Any] = {"max_tokens": MAX_TOKENS}
_SOON_SECONDS = 1.0
_ALWAYS_SECONDS_MAX = 5.0
"""On a machine that has other things to do; what is measured is printed."""
_INCREASE_SECONDS = 4.0


@pytest.fixture
async def instances(budget_fleet: Fleet, session: aiohttp.ClientSession) -> Instances:
    instances = Instances(budget_fleet.servers, session)
    await instances.ready()
    return instances


async def test_a_raised_budget_is_in_force_everywhere(instances: Instances) -> None:
    headers, calls = await _used_up(instances)
    await instances.write("/key/update", {"key": _key(headers), "max_budget": usd(3 * _BUDGET)})
    _print_how_soon("raised", await _seconds_until_admitted(instances, headers, calls))
    calls += await instances.calls(headers, count=6 * _BUDGET, clients=_CLIENTS, **_CALL)
    await instances.use_up(headers, calls, wanted=usable(3 * _BUDGET), **_CALL)
    assert await _spent(instances, calls) <= 3 * _BUDGET * CALL_NANO_USD


async def test_a_lowered_budget_is_in_force_everywhere(instances: Instances) -> None:
    headers = await instances.known_key(max_budget=usd(100 * _BUDGET))
    calls = await instances.calls(headers, count=_BUDGET, clients=_CLIENTS, **_CALL)
    assert len(answered(calls)) == _BUDGET
    await instances.write("/key/update", {"key": _key(headers), "max_budget": usd(_BUDGET // 2)})
    _print_how_soon("lowered", await _seconds_until_refused(instances, headers, calls))
    refused = await instances.calls(headers, count=_BUDGET, clients=_CLIENTS, **_CALL)
    assert {call.status for call in refused} == {422}


async def test_a_reset_is_in_force_everywhere(instances: Instances) -> None:
    headers, calls = await _used_up(instances)
    await instances.write(f"/key/{_key(headers)}/reset_spend", {"reset_to": 0})
    _print_how_soon("reset", await _seconds_until_admitted(instances, headers, calls))
    calls += await instances.calls(headers, count=4 * _BUDGET, clients=_CLIENTS, **_CALL)
    # The correction is what was spent then; the budget has room once more, and not twice.
    await instances.use_up(headers, calls, wanted=2 * usable(_BUDGET), **_CALL)
    assert await _spent(instances, calls) <= 2 * _BUDGET * CALL_NANO_USD
    assert (await instances.info(headers))["spend"] <= usd(_BUDGET)


async def test_a_temporary_increase_begins_and_ends_everywhere(instances: Instances) -> None:
    headers, calls = await _used_up(instances)
    until = datetime.now(UTC) + timedelta(seconds=_INCREASE_SECONDS)
    increase = {"temp_budget_increase": usd(100 * _BUDGET), "temp_budget_expiry": until.isoformat()}
    await instances.write("/key/update", {"key": _key(headers), **increase})
    _print_how_soon("increased", await _seconds_until_admitted(instances, headers, calls))
    await eventually(lambda: datetime.now(UTC) >= until, seconds=_INCREASE_SECONDS + 1, what="the increase has ended")
    _print_how_soon("increase over", await _seconds_until_refused(instances, headers, calls))
    assert await _spent(instances, calls) > _BUDGET * CALL_NANO_USD


async def _used_up(instances: Instances) -> tuple[dict[str, str], list[Call]]:
    """Return a key that every instance refuses, and its calls."""
    headers = await instances.known_key(max_budget=usd(_BUDGET))
    calls = await instances.calls(headers, count=2 * _BUDGET, clients=_CLIENTS, **_CALL)
    await instances.use_up(headers, calls, wanted=usable(_BUDGET), **_CALL)
    for number in range(len(instances.servers)):
        assert assert_refusals([await instances.call(number, headers, **_CALL)], "Key=") == 1
    return headers, calls


async def _seconds_until_admitted(instances: Instances, headers: dict[str, str], calls: list[Call]) -> list[float]:
    """Return how long it takes from now until each instance admits a call."""
    return await _seconds_until(instances, headers, calls, status=200)


async def _seconds_until_refused(instances: Instances, headers: dict[str, str], calls: list[Call]) -> list[float]:
    return await _seconds_until(instances, headers, calls, status=422)


async def _seconds_until(
    instances: Instances, headers: dict[str, str], calls: list[Call], *, status: int
) -> list[float]:
    begun = time.monotonic()

    async def seconds_of(number: int) -> float:
        async def does() -> bool:
            calls.append(call := await instances.call(number, headers, **_CALL))
            return call.status == status

        await eventually(does, seconds=_ALWAYS_SECONDS_MAX, what=f"instance {number} answers {status}")
        return time.monotonic() - begun

    return list(await asyncio.gather(*(seconds_of(number) for number in range(len(instances.servers)))))


def _print_how_soon(change: str, seconds: Sequence[float]) -> None:
    late = " (late)" if max(seconds) > _SOON_SECONDS else ""
    print(f"\n{change}: in force on all instances after {max(seconds) * 1000:.0f} ms{late}")


async def _spent(instances: Instances, calls: Sequence[Call]) -> int:
    return sum(event.cost_nano_usd for event in await instances.events_of(calls))


def _key(headers: dict[str, str]) -> str:
    return headers["authorization"].removeprefix("Bearer ")
