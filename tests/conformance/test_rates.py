"""Counting in memory and in Redis is one arithmetic: the same takes get the same answers."""

from __future__ import annotations

import random

import pytest

from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.quota import DAY_MS, MINUTE_MS, amounts_of, quota
from tallystick.access.rates.store import Batch, Correction, Slot, Take
from tallystick.access.scopes import Scope
from tallystick.config.redis_address import parse_redis_url
from tallystick.runtime.telemetry import Metrics
from tallystick.stores.redis.connection import connect
from tallystick.stores.redis.rates import SCRIPT, RedisRateStore
from tallystick.testing import FakeClock

ITS_TIME = "local time = redis.call('TIME')\nlocal now = time[1] * 1000 + floor(time[2] / 1000)\n"


class InMemory:
    """Counts in memory."""

    def __init__(self):
        self.clock = FakeClock()
        self._rates = MemoryRates(counters_max=1_000, clock=self.clock, metrics=Metrics())

    async def take(self, quotas, amounts, call="c"):
        return self._rates.take(quotas, amounts)

    async def correct(self, *correction):
        self._rates.correct(*correction)

    async def release(self, *slot):
        self._rates.release(*slot)

    async def advance(self, milliseconds):
        self.clock.advance(milliseconds / 1000)

    async def close(self):
        pass


class InRedis:
    """Counts in Redis, whose script reads the time from a key. Slots do not lapse: in memory they have no reason to."""

    def __init__(self, url, prefix):
        assert ITS_TIME in SCRIPT
        self._clock_key = f"{{{prefix}}}:clock"
        self._client = connect(parse_redis_url(url), timeout_seconds=5)
        self._store = RedisRateStore(
            self._client,
            where="tests",
            key_prefix=prefix,
            holder="h",
            timeout_seconds=5,
            slot_seconds=1_000_000,
            script=SCRIPT.replace(ITS_TIME, f"local now = tonumber(redis.call('GET', '{self._clock_key}'))\n"),
        )
        self._now_ms = 1_000_000
        self._number = 0

    async def _apply(self, **parts):
        self._number += 1
        await self._client.set(self._clock_key, self._now_ms, ex=600)
        return await self._store.apply(Batch(self._number, **parts))

    async def take(self, quotas, amounts, call="c"):
        (reply,) = await self._apply(takes=[Take(quotas, amounts, call)])
        return reply

    async def correct(self, *correction):
        await self._apply(corrections=[Correction(*correction)])

    async def release(self, *slot):
        await self._apply(releases=[Slot(*slot)])

    async def advance(self, milliseconds):
        self._now_ms += milliseconds

    async def close(self):
        await self._store.close()


@pytest.fixture
async def redis_rates(redis_url, redis_prefix):
    rates = InRedis(redis_url, redis_prefix)
    yield rates
    await rates.close()


@pytest.fixture(params=["memory", "redis"])
async def rates(request, redis_prefix):
    rates = InMemory() if request.param == "memory" else InRedis(request.getfixturevalue("redis_url"), redis_prefix)
    yield rates
    await rates.close()


KEY, TEAM = Scope("key", "k"), Scope("team", "t")


async def test_what_fits_is_taken_and_what_does_not_takes_nothing(rates):
    both = (quota(KEY, "requests", MINUTE_MS, 5), quota(TEAM, "tokens", MINUTE_MS, 20))
    assert (await rates.take(both, (1, 15))).used == (1, 15)
    denied = await rates.take(both, (1, 6))
    assert (denied.granted, denied.used, denied.wait_ms[0]) == (False, (1, 15), 0)
    assert 0 < denied.wait_ms[1] <= MINUTE_MS + 1
    assert (await rates.take(both, (1, 5))).used == (2, 20)


async def test_room_comes_back_a_window_later(rates):
    one = (quota(KEY, "requests", MINUTE_MS, 2),)
    await rates.take(one, (1,))
    await rates.advance(30_000)
    await rates.take(one, (1,))
    denied = await rates.take(one, (1,))
    assert (denied.granted, denied.wait_ms) == (False, (30_001,))
    await rates.advance(30_000)
    assert not (await rates.take(one, (1,))).granted
    await rates.advance(1)
    assert (await rates.take(one, (1,))).granted


async def test_a_day_slides_too(rates):
    one = (quota(KEY, "tokens", DAY_MS, 100),)
    await rates.take(one, (100,))
    await rates.advance(DAY_MS)
    assert not (await rates.take(one, (1,))).granted
    await rates.advance(1)
    assert (await rates.take(one, (100,))).granted


async def test_a_correction_goes_both_ways_and_never_below_nothing(rates):
    tokens = quota(KEY, "tokens", MINUTE_MS, 100)
    reply = await rates.take((tokens,), (60,))
    await rates.correct(tokens, -50, reply.at_ms)
    assert (await rates.take((tokens,), (1,))).used == (11,)
    await rates.correct(tokens, -5_000, reply.at_ms)
    assert (await rates.take((tokens,), (1,))).used == (1,)
    await rates.correct(tokens, 500, reply.at_ms)
    denied = await rates.take((tokens,), (1,))
    assert (denied.granted, denied.used) == (False, (501,))


async def test_slots_come_back_when_they_are_released(rates):
    slots = quota(KEY, "parallel", 0, 2)
    for call in ("a", "b"):
        assert (await rates.take((slots,), (1,), call)).granted
    assert not (await rates.take((slots,), (1,), "c")).granted
    await rates.release(slots, "a")
    assert (await rates.take((slots,), (1,), "c")).used == (2,)


async def test_limits_that_differ_share_what_is_counted(rates):
    await rates.take((quota(KEY, "requests", MINUTE_MS, 5),), (1,))
    assert not (await rates.take((quota(KEY, "requests", MINUTE_MS, 1),), (1,))).granted
    assert (await rates.take((quota(KEY, "requests", MINUTE_MS, 2),), (1,))).granted


@pytest.mark.parametrize("seed", range(8))
async def test_any_run_gets_the_same_answers_in_memory_and_in_redis(redis_rates, seed):
    dice = random.Random(seed)
    memory = InMemory()
    quotas = [
        quota(Scope(type_, id_), kind, window_ms, limit)
        for type_, id_ in (("key", "a"), ("key", "b"), ("team", "a"))
        for kind, window_ms, limit in (
            ("requests", MINUTE_MS, 20),
            ("tokens", MINUTE_MS, 900),
            ("tokens", DAY_MS, 9_000),
        )
    ]
    slots = [quota(Scope("key", id_), "parallel", 0, 3) for id_ in "ab"]
    taken, running = [], []
    for number in range(400):
        choice = dice.random()
        if choice < 0.6:
            some = (*dice.sample(quotas, dice.randint(1, 5)), *dice.sample(slots, dice.randint(0, 1)))
            amounts = amounts_of(some, dice.randint(1, 300))
            ours, theirs = [await each.take(some, amounts, f"c{number}") for each in (memory, redis_rates)]
            assert ours == theirs
            if ours.granted:
                taken += [(each, ours.at_ms) for each in some if each.kind == "tokens"]
                running += [(each, f"c{number}") for each in some if each.kind == "parallel"]
        elif choice < 0.75 and taken:
            of, at_ms = taken.pop(dice.randrange(len(taken)))
            amount = dice.randint(-300, 100)
            for each in (memory, redis_rates):
                await each.correct(of, amount, at_ms)
        elif choice < 0.85 and running:
            slot = running.pop(dice.randrange(len(running)))
            for each in (memory, redis_rates):
                await each.release(*slot)
        else:
            # Eighths of a second, which floats hold exactly.
            pause = dice.choice((125, 250, 875, 5_000, 61_000 if dice.random() < 0.2 else 2_500))
            for each in (memory, redis_rates):
                await each.advance(pause)
