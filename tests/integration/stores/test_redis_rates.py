"""Rate limits on a real Redis: several instances at once, and a Redis that dies, hangs, forgets and comes back."""

from __future__ import annotations

import asyncio
import time

import pytest

from services import RedisServer
from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.quota import MINUTE_MS, quota
from tallystick.access.rates.shared import SharedRates
from tallystick.access.rates.store import Batch, Slot, Take
from tallystick.access.scoped_limits import RateLimits, ScopedLimits
from tallystick.access.scopes import Scope
from tallystick.config.redis_address import RedisAddress, parse_redis_url
from tallystick.errors import RateLimited, RowRefused, StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.redis.connection import connect
from tallystick.stores.redis.rates import RedisRateStore
from tallystick.testing import FakeClock

KEY = Scope("key", "k")


def store_of(address, holder="h", *, prefix="test", timeout_seconds=0.1, **options):
    address = parse_redis_url(address) if isinstance(address, str) else address
    client = connect(address, timeout_seconds=timeout_seconds)
    return RedisRateStore(
        client, where="tests", key_prefix=prefix, holder=holder, timeout_seconds=timeout_seconds, **options
    )


class Instance:
    """One instance of the gateway, as far as rates go."""

    def __init__(self, url, holder, *, prefix="test"):
        self.clock, self.metrics = FakeClock(), Metrics()
        self.shared = SharedRates(store_of(url, holder, prefix=prefix), clock=self.clock, metrics=self.metrics)
        memory = MemoryRates(counters_max=1_000, clock=self.clock, metrics=self.metrics)
        self.limiter = RateLimiter(memory=memory, shared=self.shared, metrics=self.metrics)
        self._calls = 0

    async def __aenter__(self):
        await self.shared.start()
        return self

    async def __aexit__(self, *_error):
        await self.shared.stop()

    async def admit(self, *scoped, tokens=1):
        self._calls += 1
        return await self.limiter.admit(
            scoped, model_group="m", tokens_estimate=tokens, call_id=f"{id(self)}-{self._calls}"
        )

    async def is_admitted(self, *scoped, **options):
        try:
            return await self.admit(*scoped, **options)
        except RateLimited:
            return None

    async def until(self, counted):
        """Let time pass until limits are counted so."""
        deadline = time.monotonic() + 20
        while self.limiter.status().counted != counted:
            assert time.monotonic() < deadline
            self.clock.advance(1)
            await asyncio.sleep(0.01)


def limits(scope=KEY, **rates):
    return ScopedLimits(scope=scope, rates=RateLimits(**rates))


@pytest.fixture
async def three(redis_url, redis_prefix):
    async with (
        Instance(redis_url, "i1", prefix=redis_prefix) as first,
        Instance(redis_url, "i2", prefix=redis_prefix) as second,
        Instance(redis_url, "i3", prefix=redis_prefix) as third,
    ):
        yield first, second, third


@pytest.fixture
async def one(own_redis_server):
    async with Instance(own_redis_server.url, "i1") as instance:
        yield instance


async def test_64_takers_on_three_instances_get_exactly_the_limit(three):
    granted = []

    async def take(number):
        for _ in range(8):
            hold = await three[number % 3].is_admitted(limits(requests_per_minute=100))
            if hold is not None:
                granted.append(hold)

    await asyncio.gather(*(take(number) for number in range(64)))
    assert len(granted) == 100
    assert all(hold.counted_by in {each.shared for each in three} for hold in granted)


async def test_all_or_nothing_whoever_takes_at_the_same_time(three):
    team, user = Scope("team", "t"), Scope("user", "u")

    async def take(number):
        rates = (
            limits(requests_per_minute=1_000),
            limits(team, tokens_per_minute=70),
            limits(user, parallel_requests=9),
        )
        return await three[number % 3].is_admitted(*rates, tokens=10)

    holds = [hold for hold in await asyncio.gather(*(take(number) for number in range(64))) if hold is not None]
    assert len(holds) == 7
    last = await three[0].admit(limits(requests_per_minute=1_000), limits(user, parallel_requests=9))
    assert last.reply.used == (8, 8), "those who were refused took nothing"


async def test_estimates_are_corrected_for_all_instances(three):
    first, second, _ = three
    hold = await first.admit(limits(tokens_per_minute=100), tokens=100)
    assert await second.is_admitted(limits(tokens_per_minute=100)) is None
    first.limiter.settle(hold, tokens=30)
    await first.admit(limits(Scope("team", "other"), requests_per_minute=9))  # By now the correction is there.
    assert (await second.admit(limits(tokens_per_minute=100), tokens=70)).reply.used == (100,)


async def test_one_parallel_call_after_the_other_never_meets_itself(three):
    for number in range(60):
        instance = three[number % 2]
        hold = await instance.admit(limits(Scope("key", str(number % 2)), parallel_requests=1))
        instance.limiter.settle(hold, tokens=0)


async def test_slots_of_an_instance_that_was_killed_lapse(redis_url, redis_prefix):
    slots = quota(KEY, "parallel", 0, 2)
    killed = store_of(redis_url, "killed", prefix=redis_prefix, slot_seconds=0.2)
    other = store_of(redis_url, "other", prefix=redis_prefix, slot_seconds=30)
    await killed.apply(Batch(1, takes=[Take((slots,), (1,), "a"), Take((slots,), (1,), "b")]))
    assert not (await other.apply(Batch(1, takes=[Take((slots,), (1,), "c")])))[0].granted

    number, deadline = 1, time.monotonic() + 20
    while time.monotonic() < deadline:
        number += 1
        (reply,) = await other.apply(Batch(number, takes=[Take((slots,), (1,), "c")]))
        if reply.granted:
            break
    assert reply.used == (1,)
    await killed.close()
    await other.close()


async def test_a_renewed_slot_does_not_lapse_and_one_that_was_lost_comes_back(own_redis_server):
    slots = quota(KEY, "parallel", 0, 1)
    store = store_of(own_redis_server.url)
    await store.apply(Batch(1, takes=[Take((slots,), (1,), "a")]))
    own_redis_server.ask("FLUSHALL")
    await store.apply(Batch(2, renewals=[Slot(slots, "a")]))
    assert not (await store.apply(Batch(3, takes=[Take((slots,), (1,), "b")])))[0].granted
    await store.close()


async def test_redis_is_killed_and_comes_back(own_redis_server, one):
    await one.admit(limits(requests_per_minute=3))
    own_redis_server.kill()
    holds = [await one.is_admitted(limits(requests_per_minute=3)) for _ in range(5)]
    assert [hold is not None for hold in holds] == [True, True, True, False, False]
    assert one.limiter.status().counted == "per_instance"
    assert "tallystick_rate_limits_shared 0.0" in one.metrics.render().decode()

    own_redis_server.start()
    await one.until("shared")
    hold = await one.admit(limits(requests_per_minute=3))
    assert (hold.counted_by, hold.reply.used) == (one.shared, (1,))
    assert "tallystick_rate_limits_shared 1.0" in one.metrics.render().decode()


async def test_a_redis_that_hangs_keeps_nobody_waiting_and_nothing_is_counted_twice(own_redis_server, one):
    own_redis_server.pause()
    begun = time.monotonic()
    holds = await asyncio.gather(*(one.admit(limits(requests_per_minute=50, parallel_requests=50)) for _ in range(20)))
    assert time.monotonic() - begun < 2
    assert all(hold.counted_by is not one.shared for hold in holds)

    own_redis_server.resume()
    await one.until("shared")
    await one.admit(limits(Scope("team", "x"), requests_per_minute=9))
    hold = await one.admit(limits(requests_per_minute=50, parallel_requests=50))
    assert hold.reply.used == (1, 1), "what the paused Redis did afterwards was given back"


async def test_redis_is_emptied_in_the_middle(own_redis_server, one):
    for _ in range(3):
        await one.admit(limits(requests_per_minute=3, tokens_per_minute=100, parallel_requests=9), tokens=10)
    assert await one.is_admitted(limits(requests_per_minute=3)) is None
    own_redis_server.ask("FLUSHALL")
    hold = await one.admit(limits(requests_per_minute=3, tokens_per_minute=100), tokens=10)
    assert hold.reply.used == (1, 10)
    one.limiter.settle(hold, tokens=5)
    assert (await one.admit(limits(tokens_per_minute=100), tokens=1)).reply.used == (6,)


async def test_the_script_is_forgotten(own_redis_server, one):
    await one.admit(limits(requests_per_minute=3))
    own_redis_server.ask("SCRIPT", "FLUSH")
    assert (await one.admit(limits(requests_per_minute=3))).reply.used == (2,)


async def test_everything_has_an_end(own_redis_server, one):
    everything = limits(requests_per_minute=3, tokens_per_minute=9, tokens_per_day=9, parallel_requests=3)
    await one.admit(everything)
    keys = [word for word in own_redis_server.ask("KEYS", "*").split() if word.startswith("{")]
    assert len(keys) == 5
    assert all(int(own_redis_server.ask("TTL", key)[1:]) > 0 for key in keys)
    assert all(key.startswith("{test}:") and "k1" not in key for key in keys)


async def test_in_a_cluster_all_keys_are_on_one_node():
    with RedisServer(cluster=True) as server:
        store = store_of(RedisAddress(nodes=(("127.0.0.1", server.port),)), timeout_seconds=2)
        some = tuple(quota(Scope("key", str(n)), "requests", MINUTE_MS, 5) for n in range(20))
        (reply,) = await store.apply(Batch(1, takes=[Take(some, (1,) * 20, "a")]))
        assert reply.granted
        await store.close()


async def test_the_same_batch_counts_once(redis_url, redis_prefix):
    store, again = (store_of(redis_url, "same", prefix=redis_prefix) for _ in range(2))
    one_request = (quota(KEY, "requests", MINUTE_MS, 5),)
    batch = Batch(7, takes=[Take(one_request, (1,), "a")])
    assert await store.apply(batch) == await again.apply(batch) == await store.apply(batch)
    (reply,) = await store.apply(Batch(8, takes=[Take(one_request, (1,), "b")]))
    assert reply.used == (2,)
    await store.close()
    await again.close()


async def test_a_clock_that_goes_back_begins_anew(redis_url, redis_prefix):
    future = store_of(redis_url, "future", prefix=redis_prefix, script=_script_ahead_by(3_600_000))
    now = store_of(redis_url, "now", prefix=redis_prefix)
    one_request = (quota(KEY, "requests", MINUTE_MS, 1),)
    await future.apply(Batch(1, takes=[Take(one_request, (1,), "a")]))
    assert (await now.apply(Batch(1, takes=[Take(one_request, (1,), "b")])))[0].granted
    assert not (await now.apply(Batch(2, takes=[Take(one_request, (1,), "b")])))[0].granted
    await future.close()
    await now.close()


async def test_a_cancelled_request_leaves_the_connection_usable(redis_url, redis_prefix):
    store = store_of(redis_url, prefix=redis_prefix)
    one_request = (quota(KEY, "requests", MINUTE_MS, 1_000),)
    await store.apply(Batch(1))
    for number in range(2, 60):
        sent = asyncio.create_task(store.apply(Batch(number, takes=[Take(one_request, (1,), "a")])))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
        (reply,) = await store.apply(Batch(number, takes=[Take(one_request, (1,), "a")]))
        assert reply.used == (number - 1,), "every batch counts once, and gets its own answer"
    await store.close()


async def test_errors_are_told_apart(own_redis_server):
    store = store_of(own_redis_server.url, script="return redis.call('NO_SUCH_COMMAND')")
    with pytest.raises(RowRefused, match="Redis at tests refuses this"):
        await store.apply(Batch(1))
    await store.close()

    own_redis_server.ask("CONFIG", "SET", "requirepass", "hunter2-secret")
    for url in (own_redis_server.url, own_redis_server.url.replace("127", ":wrong-secret@127")):
        store = store_of(url)
        with pytest.raises(StoreUnavailable) as caught:
            await store.apply(Batch(1))
        assert "secret" not in caught.value.message
        await store.close()


def _script_ahead_by(milliseconds):
    from tallystick.stores.redis.rates import SCRIPT

    return SCRIPT.replace("floor(time[2] / 1000)\n", f"floor(time[2] / 1000) + {milliseconds}\n")
