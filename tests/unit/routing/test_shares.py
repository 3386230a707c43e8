"""Ten deployments, one that fails, one that is slow, one that is cheap: which share each gets, by strategy."""

from __future__ import annotations

import pytest

from tallystick.control.deployment import Deployment
from unit.routing.kit import Road, deployment, refused

CALLS = 2_000
NAMES = [f"d{number}" for number in range(10)]
FAILING, SLOW, CHEAP = "d0", "d1", "d2"
HEALTHY = [name for name in NAMES if name not in (FAILING, SLOW, CHEAP)]


def ten(**more: dict[str, object]) -> list[Deployment]:
    return [deployment(name, price=1 if name == CHEAP else 10, **more.get(name, {})) for name in NAMES]


async def loaded(deployments: list[Deployment], strategy: str, **settings: object) -> Road:
    """Return the road after many calls, 20 at once; all were answered."""
    road = Road(*deployments, strategy=strategy, **settings)
    road.seconds = dict.fromkeys(NAMES, 0.1) | {SLOW: 1.0}
    road.errors = {FAILING: lambda: refused(500)}
    await road.load(CALLS, at_once=20)
    assert road.answered.total() == CALLS
    assert road.answered[FAILING] == 0
    assert road.sent[FAILING] < CALLS / 10, "it is left alone for a time, again and again"
    return road


def share(road: Road, name: str) -> float:
    return road.answered[name] / CALLS


async def test_simple_shuffle_gives_all_that_are_healthy_the_same() -> None:
    road = await loaded(ten(), "simple-shuffle")
    for name in (SLOW, CHEAP, *HEALTHY):
        assert share(road, name) == pytest.approx(1 / 9, abs=0.03)


async def test_simple_shuffle_goes_by_weight() -> None:
    road = await loaded(ten(d3={"weight": 10}, d4={"weight": 0}), "simple-shuffle")
    assert share(road, "d3") == pytest.approx(10 / 17, abs=0.05)
    assert share(road, "d4") == 0
    assert share(road, "d5") == pytest.approx(1 / 17, abs=0.03)


async def test_simple_shuffle_goes_by_rates_where_all_have_one() -> None:
    rates = {name: {"rpm": 1_000} for name in NAMES} | {"d3": {"rpm": 9_000}}
    road = await loaded(ten(**rates), "simple-shuffle")
    assert share(road, "d3") == pytest.approx(9 / 17, abs=0.05)


async def test_least_busy_keeps_away_from_the_slow_one() -> None:
    road = await loaded(ten(), "least-busy")
    # A call takes ten times as long there, so that it has a tenth of the others' calls at the same time.
    assert share(road, SLOW) < 0.03
    for name in (CHEAP, *HEALTHY):
        assert share(road, name) == pytest.approx(1 / 8, abs=0.03)


async def test_usage_evens_the_tokens_out() -> None:
    for strategy in ("usage-based-routing", "usage-based-routing-v2"):
        road = await loaded(ten(), strategy)
        for name in (CHEAP, *HEALTHY):
            assert share(road, name) == pytest.approx(1 / 9, abs=0.05)


async def test_latency_leaves_the_slow_one_out_once_it_is_known() -> None:
    road = await loaded(ten(), "latency-based-routing", strategy_arguments={"lowest_latency_buffer": 0.5})
    assert share(road, SLOW) < 0.02
    for name in (CHEAP, *HEALTHY):
        assert share(road, name) == pytest.approx(1 / 8, abs=0.04)


async def test_cost_goes_to_the_cheap_one() -> None:
    road = await loaded(ten(), "cost-based-routing")
    assert share(road, CHEAP) == 1


async def test_cost_goes_elsewhere_when_the_cheap_one_is_full() -> None:
    road = await loaded(ten(d2={"rpm": 100}), "cost-based-routing")
    minutes = 1 + road.clock.monotonic() // 60 - 1000 // 60
    assert 100 <= road.answered[CHEAP] <= 100 * minutes
    assert share(road, SLOW) > 0


async def test_order_goes_before_every_strategy() -> None:
    tiers = {name: {"order": 2} for name in NAMES} | {"d5": {"order": 1}}
    for strategy in ("simple-shuffle", "least-busy", "usage-based-routing-v2", "cost-based-routing"):
        road = await loaded(ten(**tiers), strategy)
        assert share(road, "d5") == 1, strategy
