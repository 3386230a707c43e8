"""The cache of limits: one read for all who ask at the same time, nothing stale, bounded, and never in the way."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gated_store import NOW, GatedControlStore, held
from tallystick.access.budgets import budget_limits
from tallystick.access.limit_lookups import LimitLookups
from tallystick.access.limits import Limits
from tallystick.access.scoped_limits import limits_of
from tallystick.access.scopes import Scope
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind, ObjectRef
from tallystick.errors import StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock


class GatedRows(GatedControlStore):
    """A store whose reads of rows can be held after they were made, before they are returned."""

    def __init__(self, *, clock):
        super().__init__(clock=clock)
        self.reads = []
        self.row_gate = None
        self.held = 0

    async def find_many(self, refs):
        self.reads.append(sorted(ref.object_id for ref in refs))
        found = await super().find_many(refs)
        if self.row_gate is not None:
            self.held += 1
            try:
                await self.row_gate.wait()
            finally:
                self.held -= 1
            if self.away:
                raise StoreUnavailable
        return found


class Bench:
    def __init__(self, **options):
        self.clock = FakeClock(NOW)
        self.store = GatedRows(clock=self.clock)
        self.metrics = Metrics()
        self.default = None
        options = {"cache_max": 10, **options}
        self.lookups = LimitLookups(
            Kind.CUSTOMER, self.store, limits_of=self.limits_of, clock=self.clock, metrics=self.metrics, **options
        )
        self.feed = ChangeFeed(self.store, (self.lookups,), clock=self.clock, metrics=self.metrics)

    def limits_of(self, object_id, _row, budget):
        limits = budget_limits(budget) if budget else Limits(max_budget_nano_usd=self.default)
        found = limits_of(Scope("end_user", object_id), limits)
        return () if found.is_empty else (found,)

    async def put(self, *objects):
        await self.feed.catch_up(await self.store.put(*objects))

    async def amounts(self, *object_ids):
        found = await self.lookups.find(object_ids)
        return {object_id: amount_of(found[object_id]) for object_id in object_ids}

    async def reading(self, count=1):
        for _ in range(30):
            if self.store.held >= count:
                return
            await asyncio.sleep(0)
        pytest.fail("nobody reads")


def amount_of(found):
    return found[0].budgets[0].limit_nano_usd if found else None


def customer(object_id, budget_id=""):
    return held(Kind.CUSTOMER, object_id, budget_id=budget_id)


def budget(object_id, amount):
    return held(Kind.BUDGET, object_id, spec={"limits": {"max_budget_nano_usd": amount}})


@pytest.fixture
def bench():
    with capture_logs():
        yield Bench()


async def test_an_id_is_read_once_with_and_without_a_row(bench):
    await bench.put(customer("a", "b"), budget("b", 5), customer("poor"))
    assert bench.lookups.known("a") is None
    assert await bench.amounts("a", "poor", "nobody") == {"a": 5, "poor": None, "nobody": None}
    assert bench.store.reads == [["a", "nobody", "poor"], ["b"]]
    assert amount_of(bench.lookups.known("a")) == 5
    assert (bench.lookups.known("poor"), bench.lookups.known("nobody")) == ((), ())
    await bench.amounts("a", "nobody")
    assert len(bench.store.reads) == 2


async def test_where_there_are_no_rows_none_is_looked_up(bench):
    await bench.put(held(Kind.TAG, "a"))
    assert bench.lookups.is_void
    assert bench.lookups.known("anybody") == ()
    bench.default = 7
    bench.lookups.forget_all()
    assert not bench.lookups.is_void
    assert amount_of(bench.lookups.known("anybody")) == 7
    await bench.put(customer("somebody"))
    assert bench.lookups.known("another") is None
    assert bench.store.reads == []


async def test_a_change_of_the_row_or_of_its_budget_is_in_force_at_once(bench):
    await bench.put(customer("a", "b"), budget("b", 5), budget("c", 6))
    await bench.amounts("a")
    await bench.put(budget("b", 50))
    assert await bench.amounts("a") == {"a": 50}
    await bench.put(customer("a", "c"))
    assert await bench.amounts("a") == {"a": 6}
    await bench.put(budget("b", 500))
    assert amount_of(bench.lookups.known("a")) == 6
    await bench.feed.catch_up(await bench.store.remove(ObjectRef(Kind.BUDGET, "c")))
    assert await bench.amounts("a") == {"a": None}
    await bench.put(budget("c", 60))
    assert await bench.amounts("a") == {"a": 60}
    await bench.feed.catch_up(await bench.store.remove(ObjectRef(Kind.CUSTOMER, "a")))
    assert await bench.amounts("a") == {"a": None}


async def test_callers_share_one_read(bench):
    await bench.put(customer("a", "b"), budget("b", 5))
    bench.store.row_gate = asyncio.Event()
    callers = [asyncio.create_task(bench.amounts("a")) for _ in range(64)]
    await bench.reading()
    others = [asyncio.create_task(bench.amounts("a", "c")) for _ in range(3)]
    await bench.reading(2)
    bench.store.row_gate.set()
    assert [await caller for caller in callers] == [{"a": 5}] * 64
    assert [await caller for caller in others] == [{"a": 5, "c": None}] * 3
    assert sorted(bench.store.reads) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("changed", [budget("b", 50), customer("a", "c")], ids=["budget", "customer"])
async def test_a_read_that_overlaps_a_change_is_made_again(bench, changed):
    await bench.put(customer("a", "b"), budget("b", 5), budget("c", 50))
    bench.store.row_gate = asyncio.Event()
    caller = asyncio.create_task(bench.amounts("a"))
    await bench.reading()
    bench.store.row_gate.set()
    bench.store.row_gate = asyncio.Event()
    await asyncio.sleep(0)
    await bench.reading()  # Of the budget, and what it was is read.
    await bench.put(changed)
    bench.store.row_gate.set()
    assert await caller == {"a": 50}
    assert amount_of(bench.lookups.known("a")) == 50


async def test_what_never_comes_to_rest_is_used_but_not_kept(bench):
    await bench.put(customer("a", "b"), budget("b", 5))
    find_many = bench.store.find_many

    async def restless(refs):
        found = await find_many(refs)
        bench.lookups.forget_all()
        return found

    bench.store.find_many = restless
    assert await bench.amounts("a") == {"a": 5}
    assert bench.lookups.known("a") is None
    assert len(bench.store.reads) == 6


async def test_when_the_caller_that_reads_goes_away_another_reads(bench):
    await bench.put(customer("a", "b"), budget("b", 5))
    bench.store.row_gate = asyncio.Event()
    first = asyncio.create_task(bench.amounts("a"))
    await bench.reading()
    second = asyncio.create_task(bench.amounts("a"))
    await asyncio.sleep(0)
    first.cancel()
    bench.store.row_gate.set()
    assert await second == {"a": 5}
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_the_database_is_away_all_who_wait_hear_it_and_it_is_left_alone_for_a_second(bench):
    await bench.put(customer("a", "b"), budget("b", 5))
    bench.store.row_gate = asyncio.Event()
    callers = [asyncio.create_task(bench.amounts("a")) for _ in range(3)]
    await bench.reading()
    bench.store.away = True
    bench.store.row_gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    bench.store.away = False
    with pytest.raises(StoreUnavailable, match="a moment ago"):
        await bench.amounts("a")
    assert len(bench.store.reads) == 1
    bench.clock.advance(1.0)
    assert await bench.amounts("a") == {"a": 5}
    assert 'limit_lookups_failed_total{kind="customer"} 2.0' in bench.metrics.render().decode()


async def test_a_read_that_takes_too_long_is_given_up():
    bench = Bench(timeout_seconds=0.01)
    bench.store.row_gate = asyncio.Event()
    with pytest.raises(StoreUnavailable, match=r"within 0\.01 s"):
        await bench.amounts("a")


async def test_no_more_than_the_limit_wait():
    bench = Bench(waiting_max=3)
    bench.store.row_gate = asyncio.Event()
    first = asyncio.create_task(bench.amounts("a", "b"))
    await bench.reading()
    with pytest.raises(StoreUnavailable, match="Too many"):
        await bench.amounts("c", "d")
    bench.store.row_gate.set()
    assert await first == {"a": None, "b": None}


async def test_the_cache_holds_no_more_than_its_limit_and_drops_what_was_used_longest_ago(bench):
    await bench.put(customer("c0"), budget("b", 5), *(customer(f"n{number}", "b") for number in range(30)))
    for number in range(30):
        await bench.amounts("n0", f"n{number}")
    lookups = bench.lookups
    assert len(lookups._kept) == len(lookups._budget_of) == len(lookups._of_budget["b"]) == 10
    assert amount_of(lookups.known("n0")) == 5
    assert lookups.known("n5") is None
    assert "limit_cache_entries 10.0" in bench.metrics.render().decode()
    await bench.put(budget("b", 6))
    assert (len(lookups._kept), lookups._of_budget, lookups._budget_of) == (0, {}, {})
    assert "limit_cache_entries 0.0" in bench.metrics.render().decode()


async def test_when_it_is_not_known_what_changed_all_is_forgotten(bench):
    await bench.put(customer("a", "b"), budget("b", 5))
    await bench.amounts("a")
    await bench.lookups.start_over()
    assert bench.lookups.known("a") is None
    assert await bench.amounts("a") == {"a": 5}
