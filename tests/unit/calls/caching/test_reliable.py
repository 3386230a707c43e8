"""A store that is away is asked nothing but whether it is back, and its queue has an end."""

from __future__ import annotations

import asyncio

from tallystick.calls.caching.reliable import RETRY_SECONDS, ReliableAnswers
from tallystick.errors import StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock


class Store:
    def __init__(self):
        self.away = False
        self.asked = []
        self.kept = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, key):
        self._ask("get")
        return self.kept.get(key)

    async def put(self, key, value, *, ttl_seconds):
        self._ask("put")
        await self.gate.wait()
        self.kept[key] = value
        return True

    async def ping(self):
        self._ask("ping")

    async def close(self):
        self.asked.append("close")

    def _ask(self, what):
        self.asked.append(what)
        if self.away:
            raise StoreUnavailable("away")


async def started(store):
    clock = FakeClock()
    answers = ReliableAnswers(store, clock=clock, metrics=Metrics())
    await answers.start()
    return answers, clock


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_call_notices_and_the_others_do_not_ask():
    store = Store()
    answers, clock = await started(store)
    assert await answers.put("a", b"1", ttl_seconds=5)
    await turns()
    assert await answers.get("a") == b"1"
    store.away, store.asked = True, []
    for _ in range(5):
        assert await answers.get("a") is None
        assert not await answers.put("b", b"2", ttl_seconds=5)
    assert store.asked == ["get"]
    await turns()
    for _ in range(3):
        clock.advance(RETRY_SECONDS)
        await turns()
    assert store.asked == ["get", "ping", "ping", "ping"]
    store.away = False
    clock.advance(RETRY_SECONDS)
    await turns()
    assert await answers.get("a") == b"1"
    await answers.stop()
    assert store.asked[-1] == "close"


async def test_the_queue_is_bounded_in_number_and_in_bytes():
    for value, most in ((b"x", 1_001), (bytes(4 * 1024 * 1024), 9)):
        store = Store()
        store.gate.clear()
        answers, _ = await started(store)
        taken = 0
        for number in range(1_100):
            taken += await answers.put(str(number), value, ttl_seconds=5)
            if number == 0:
                await turns()  # It is on its way to the store.
        assert taken == most
        await answers.stop()
