"""Blocked customers are known without a look-up, as the feed brings them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gated_store import GatedControlStore, held
from tallystick.access.blocked_customers import BlockedCustomers
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock


@pytest.fixture
def bench():
    clock = FakeClock()
    store = GatedControlStore(clock=clock)
    blocked = BlockedCustomers(store)
    with capture_logs():
        yield store, blocked, ChangeFeed(store, (blocked,), clock=clock, metrics=Metrics())


async def test_customers_are_known_from_the_start_and_followed(bench):
    store, blocked, feed = bench
    await store.put(held(Kind.CUSTOMER, "a", blocked=True), held(Kind.CUSTOMER, "b"), held(Kind.TAG, "c", blocked=True))
    await feed.poll()
    assert [name in blocked for name in "abc"] == [True, False, False]
    await store.put(held(Kind.CUSTOMER, "b", blocked=True))
    await store.put(held(Kind.CUSTOMER, "a"))
    await feed.poll()
    assert [name in blocked for name in "ab"] == [False, True]
    await store.remove(held(Kind.CUSTOMER, "b").ref)
    await feed.poll()
    assert len(blocked) == 0


async def test_a_failed_read_changes_nothing(bench):
    store, blocked, feed = bench
    await store.put(held(Kind.CUSTOMER, "a", blocked=True))
    await feed.poll()
    await store.put(held(Kind.CUSTOMER, "a"))
    store.away = True
    await feed.poll()
    assert "a" in blocked
    store.away = False
    await feed.poll()
    assert "a" not in blocked
