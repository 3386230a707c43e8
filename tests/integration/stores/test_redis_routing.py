"""What instances tell each other of deployments through a real Redis, and what happens when it is away."""

from __future__ import annotations

import asyncio

from services import RedisServer
from tallystick.config.redis_address import parse_redis_url
from tallystick.config.routing_settings import RoutingSettings
from tallystick.routing.failure import FailureKind
from tallystick.routing.sharing import SharedRouting
from tallystick.routing.tracker import Tracker
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.redis.connection import connect
from tallystick.stores.redis.routing import RedisRoutingStore
from tallystick.testing import FakeClock
from unit.routing.kit import deployment, refused  # noqa: F401 - the kit of routing.

A, B = deployment("a"), deployment("b")
SETTINGS = RoutingSettings()


class Instance:
    """One instance of the gateway, as far as this goes."""

    def __init__(self, url, *, prefix):
        self.clock, self.metrics = FakeClock(), Metrics()
        self.tracker = Tracker(clock=self.clock, metrics=self.metrics)
        client = connect(parse_redis_url(url), timeout_seconds=0.5)
        store = RedisRoutingStore(client, where="tests", key_prefix=prefix, timeout_seconds=0.5)
        self.shared = SharedRouting(store, self.tracker, clock=self.clock, metrics=self.metrics)

    async def __aenter__(self):
        await self.shared.start()
        return self

    async def __aexit__(self, *_error):
        await self.shared.stop()

    def call(self, which, *, tokens=10, error=None):
        note = self.tracker.begin(which, stream=False, settings=SETTINGS, has_others=True)
        if error is not None:
            note.failed(error, retry_after=None)
            return
        note.answered()
        note.over(tokens=tokens, output_tokens=1, broke_off=False)

    def use(self, which):
        (standing,) = self.tracker.standings([which], stream=False)
        return standing.requests, standing.tokens

    @property
    def is_shared(self):
        return self.metrics.registry.get_sample_value("tallystick_routing_shared")


async def until_early_in_a_minute(url):
    """The use is of a minute of Redis's clock: do not begin where it ends within the test."""
    client = connect(parse_redis_url(url), timeout_seconds=5)
    while (await client.time())[0] % 60 > 55:
        await asyncio.sleep(0.1)
    await client.aclose()


async def test_use_and_cooldowns_reach_the_others(redis_url, redis_prefix):
    await until_early_in_a_minute(redis_url)
    async with Instance(redis_url, prefix=redis_prefix) as one, Instance(redis_url, prefix=redis_prefix) as two:
        for _ in range(3):
            one.call(A)
        two.call(A, tokens=5)
        one.call(B, error=FailureKind.RATE_LIMIT)
        assert (one.use(A), two.use(A)) == ((3, 30), (1, 5))
        for instance in (one, two, one):
            await instance.shared.exchange()
        assert one.use(A) == two.use(A) == (4, 35)
        one.call(A)
        assert one.use(A) == (5, 45), "what is not told yet counts at once here"
        assert 4.5 < two.tracker.cooling()["b"] <= 5
        assert list(two.tracker.available([A, B])) == [A]
        assert one.is_shared == two.is_shared == 1


async def test_a_cooldown_is_never_shortened(redis_url, redis_prefix):
    async with Instance(redis_url, prefix=redis_prefix) as one, Instance(redis_url, prefix=redis_prefix) as two:
        note = one.tracker.begin(A, stream=False, settings=SETTINGS, has_others=True)
        note.failed(FailureKind.RATE_LIMIT, retry_after=100)
        await one.shared.exchange()
        two.call(A, error=FailureKind.RATE_LIMIT)
        await two.shared.exchange()
        assert two.tracker.cooling()["a"] > 90


async def test_without_redis_each_goes_by_itself_and_cooldowns_are_told_later(own_redis_server: RedisServer):
    server = own_redis_server
    async with Instance(server.url, prefix="p") as one, Instance(server.url, prefix="p") as two:
        two.call(A)
        await two.shared.exchange()
        await one.shared.exchange()
        server.kill()
        one.call(A)
        one.call(B, error=FailureKind.RATE_LIMIT)
        await one.shared.exchange()
        assert (one.use(A), one.is_shared) == ((1, 10), 0)
        assert one.tracker.cooling()
        server.start()
        for instance in (one, two):
            for _ in range(20):
                await instance.shared.exchange()
                if instance.is_shared:
                    break
                await asyncio.sleep(0.05)
        await two.shared.exchange()
        assert two.tracker.cooling().keys() == {"b"}


async def test_nothing_is_left_behind(redis_url, redis_prefix):
    async with Instance(redis_url, prefix=redis_prefix) as one:
        one.call(A)
        one.call(B, error=FailureKind.RATE_LIMIT)
        await one.shared.exchange()
    client = connect(parse_redis_url(redis_url), timeout_seconds=5)
    keys = await client.keys(f"{{{redis_prefix}}}:routing:*")
    assert len(keys) == 2
    for key in keys:
        assert 0 < await client.pttl(key) <= 120_000
    await client.aclose()
