"""Attempts on one group: which deployment comes next, when there is a pause, and who is left alone."""

from __future__ import annotations

import pytest

from tallystick.errors import UpstreamRefused, UpstreamTimeout
from tallystick.routing.tracker import Use
from tallystick.wire.call_options import CallOptions
from unit.routing.kit import Road, deployment, refused


async def test_each_is_tried_once_before_one_is_tried_again():
    road = Road(*(deployment(name) for name in "abc"), num_retries=5, disable_cooldowns=True)
    road.errors = dict.fromkeys("abc", lambda: refused(500))
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert road.sent == {"a": 2, "b": 2, "c": 2}
    assert len(road.pauses) == 1


async def test_the_one_that_is_ready_first_is_tried_again_first():
    road = Road(deployment("a"), deployment("b"), num_retries=2, disable_cooldowns=True)
    road.errors = {
        "a": lambda: refused(429, retry_after="20"),
        "b": lambda: refused(429, retry_after="3") if road.sent["b"] == 1 else None,
    }
    for _ in range(10):
        road.sent.clear()
        assert await road.call() == "b"
    assert set(road.pauses) == {3.0}


async def test_a_wrong_key_is_not_tried_again_here():
    road = Road(deployment("a"), deployment("b"), num_retries=5, disable_cooldowns=True)
    road.errors = {"a": lambda: refused(401), "b": lambda: refused(404)}
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert (road.sent, road.pauses) == ({"a": 1, "b": 1}, [])


async def test_deployments_of_a_higher_order_are_tried_without_retries_too():
    road = Road(deployment("a", order=1), deployment("b", order=2), deployment("c"), num_retries=0)
    road.errors = {"a": lambda: refused(500), "b": lambda: refused(401)}
    assert await road.call() == "c"
    assert road.sent == {"a": 1, "b": 1, "c": 1}


async def test_a_wrong_request_ends_the_call():
    road = Road(deployment("a", order=1), deployment("b", order=2), num_retries=5)
    road.errors = {"a": lambda: refused(400)}
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert road.sent == {"a": 1}


async def test_a_deployment_s_own_retries():
    road = Road(deployment("a", num_retries=4))
    road.errors = {"a": lambda: refused(503)}
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert road.sent["a"] == 5
    with pytest.raises(UpstreamRefused):
        await road.call(options=CallOptions(num_retries=1))
    assert road.sent["a"] == 7


async def test_cooldowns_end():
    road = Road(deployment("a", order=1), deployment("b", order=2), cooldown_seconds=5)
    road.errors = {"a": lambda: refused(401) if road.sent["a"] == 1 else None}
    assert await road.call() == "b"
    assert await road.call() == "b"
    road.clock.advance(5.1)
    assert await road.call() == "a"


async def test_a_group_that_cools_down_as_a_whole_is_tried_all_the_same():
    road = Road(deployment("a"), deployment("b", cooldown_seconds=60.0), num_retries=1)
    road.errors = {"a": lambda: refused(401), "b": lambda: refused(401)}
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert road.tracker.cooling().keys() == {"a", "b"}
    road.errors = {}
    assert await road.call() == "a", "it comes back before the other"


async def test_a_group_that_cools_down_as_a_whole_is_left_for_its_fallback():
    road = Road(deployment("a"), deployment("b"), deployment("c", group="other"), fallbacks={"group": ("other",)})
    road.errors = dict.fromkeys("ab", lambda: refused(401))
    with pytest.raises(UpstreamRefused):
        await road.call()
    assert await road.call() == "c"
    road.errors = {}
    assert await road.call(options=CallOptions(disables_fallbacks=True)) in ("a", "b")


async def test_timeouts_make_a_deployment_slow():
    road = Road(deployment("a"), deployment("b"), strategy="latency-based-routing")
    road.errors = {"a": UpstreamTimeout}
    for _ in range(20):
        assert await road.call() == "b"
    assert road.sent["a"] == 1


async def test_use_of_other_instances_counts():
    road = Road(deployment("a"), deployment("b"), strategy="usage-based-routing-v2")
    road.tracker.is_shared = True
    await road.call(tokens=100)
    used = next(iter(road.sent))
    changes = road.tracker.take_changes()
    assert changes.uses == {used: Use(1, 100)}
    assert road.tracker.take_changes().uses == {}
    other = ({"a", "b"} - {used}).pop()
    road.tracker.take_in({used: Use(1, 100), other: Use(50, 5_000)}, {})
    for _ in range(5):
        assert await road.call(tokens=100) == used
    road.tracker.forget_shared()
    assert await road.call(tokens=100) == other


async def test_cooldowns_of_other_instances_hold():
    road = Road(deployment("a"), deployment("b"))
    road.tracker.take_in({}, {"a": 3.0})
    assert {await road.call() for _ in range(10)} == {"b"}
    road.clock.advance(3.1)
    assert {await road.call() for _ in range(20)} == {"a", "b"}


async def test_what_is_known_is_bounded(monkeypatch):
    monkeypatch.setattr("tallystick.routing.tracker._STATES_MAX", 10)
    road = Road(*(deployment(f"d{number}", group=f"g{number}") for number in range(50)))
    for number in range(50):
        await road.call(f"g{number}")
    assert len(road.tracker._states) <= 10


async def test_an_attempt_that_nobody_waits_for_says_nothing():
    road = Road(deployment("a"), deployment("b"))
    note = road.tracker.begin(deployment("a"), stream=False, settings=road.snapshot.settings.routing, has_others=True)
    note.over(tokens=0, output_tokens=0, broke_off=True)
    note.over(tokens=0, output_tokens=0, broke_off=True)
    (standing,) = road.tracker.standings([deployment("a")], stream=False)
    assert (standing.running, standing.latency_seconds) == (0, 0.0)
    assert road.tracker.cooling() == {}


def test_what_a_call_used_is_of_the_minute_in_which_it_ends():
    road = Road(deployment("a"))
    note = road.tracker.begin(deployment("a"), stream=False, settings=road.snapshot.settings.routing, has_others=False)
    note.answered()
    road.clock.advance(61)
    note.over(tokens=50, output_tokens=5, broke_off=False)
    (standing,) = road.tracker.standings([deployment("a")], stream=False)
    assert (standing.running, standing.requests, standing.tokens) == (0, 0, 50)
