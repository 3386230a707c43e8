"""Rate limits that instances share: what an instance does when the store is away, slow, or answers too late."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.access.rates.shared import SharedRates
from tallystick.access.rates.store import TakeReply
from tallystick.errors import RateLimited, RowRefused, StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock
from unit.access.rates.kit import Gate, limits, parallel, requests, tokens


class ScriptedStore:
    """Keeps what it is sent; answers, raises or waits as told."""

    def __init__(self):
        self.batches = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.grants = True

    async def apply(self, batch):
        self.batches.append(batch)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return tuple(
            TakeReply(self.grants, 1_000, tuple(amounts), tuple(0 for _ in amounts)) for _, amounts, _ in batch.takes
        )

    async def close(self):
        pass


class Instance:
    def __init__(self, **options):
        self.clock, self.metrics, self.store = FakeClock(), Metrics(), ScriptedStore()
        self.shared = SharedRates(self.store, clock=self.clock, metrics=self.metrics, **options)
        self.gate = Gate(shared=self.shared, clock=self.clock)

    async def __aenter__(self):
        await self.shared.start()
        await turns()
        return self

    async def __aexit__(self, *_error):
        await self.shared.stop()

    def metric(self, name):
        return self.metrics.registry.get_sample_value(f"tallystick_{name}")

    async def admit(self, call, *scoped, tokens=10):
        return await self.gate.limiter.admit(scoped, model_group="m", tokens_estimate=tokens, call_id=call)


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


AWAY = StoreUnavailable("Redis at x does not answer: gone")


async def test_calls_that_wait_at_the_same_moment_are_sent_together():
    async with Instance() as one:
        one.store.batches.clear()
        await asyncio.gather(*(one.admit(f"c{n}", limits(requests_per_minute=9)) for n in range(30)))
        assert [len(batch.takes) for batch in one.store.batches] == [30]
        assert one.metric("rate_limits_shared") == 1
        assert one.gate.limiter.status().counted == "shared"


async def test_what_a_call_gives_back_is_sent_before_what_the_next_takes():
    async with Instance() as one:
        hold = await one.admit("c1", limits(parallel_requests=1))
        one.store.batches.clear()
        one.gate.limiter.settle(hold, tokens=0)
        await one.admit("c2", limits(parallel_requests=1))
        assert [(len(b.releases), len(b.takes)) for b in one.store.batches] == [(1, 1)]


async def test_without_limits_the_store_is_not_asked():
    async with Instance() as one:
        one.store.batches.clear()
        one.gate.admit(limits())
        await turns()
        assert one.store.batches == []


async def test_while_the_store_is_away_this_instance_counts_for_itself():
    async with Instance() as one:
        one.store.error = AWAY
        await one.admit("c1", limits(requests_per_minute=1))
        with pytest.raises(RateLimited):
            await one.admit("c2", limits(requests_per_minute=1))
        assert one.metric("rate_limits_shared") == 0
        assert one.gate.limiter.status().reason.endswith("gone")
        sent = len(one.store.batches)
        await one.admit("c3", limits(requests_per_minute=5))
        assert len(one.store.batches) == sent, "nobody waits for a store that is away"


async def test_it_is_asked_again_each_second_and_counts_again_when_it_answers():
    async with Instance() as one:
        one.store.error = AWAY
        await one.admit("c1", limits(requests_per_minute=9))
        for _ in range(3):
            sent = len(one.store.batches)
            one.clock.advance(1)
            await turns()
            assert len(one.store.batches) == sent + 1
        one.store.error = None
        one.clock.advance(1)
        await turns()
        assert one.gate.limiter.status().counted == "shared"
        one.store.batches.clear()
        await one.admit("c2", limits(requests_per_minute=9))
        assert len(one.store.batches) == 1


async def test_a_store_that_is_away_at_the_start_is_no_obstacle():
    one = Instance()
    one.store.error = AWAY
    async with one:
        await one.admit("c1", limits(requests_per_minute=9))
        one.store.error = None
        one.clock.advance(1)
        await turns()
        assert one.metric("rate_limits_shared") == 1


async def test_a_batch_without_an_answer_is_sent_again_under_its_number_and_given_back():
    async with Instance() as one:
        one.store.error = AWAY
        hold = await one.admit("c1", limits(requests_per_minute=9, tokens_per_minute=99, parallel_requests=2), tokens=7)
        assert hold.counted_by is one.gate.memory
        lost = one.store.batches[-1]
        one.store.error = None
        one.clock.advance(1)
        await turns()

        again, then = one.store.batches[-2:]
        assert again == lost
        assert then.number == lost.number + 1
        assert {(c.quota.kind, c.amount) for c in then.corrections} == {("requests", -1), ("tokens", -7)}
        assert [slot.call_id for slot in then.releases] == ["c1"]


@pytest.mark.parametrize("answer_first", [True, False])
async def test_a_call_that_is_cancelled_gives_back_what_was_taken_for_it(answer_first):
    async with Instance() as one:
        one.store.gate.clear()
        call = asyncio.create_task(one.admit("c1", limits(requests_per_minute=9, parallel_requests=2)))
        await turns()
        if answer_first:
            one.store.gate.set()
            await asyncio.sleep(0)  # The answer is there, and the call has not run yet.
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        one.store.gate.set()
        await turns()
        given_back = [slot.call_id for batch in one.store.batches for slot in batch.releases]
        corrected = [c.amount for batch in one.store.batches for c in batch.corrections]
        assert (given_back, corrected) == (["c1"], [-1])


async def test_a_call_that_is_cancelled_before_it_was_sent_is_not_sent():
    async with Instance() as one:
        one.store.gate.clear()
        first = asyncio.create_task(one.admit("c1", limits(requests_per_minute=9)))
        await turns()
        second = asyncio.create_task(one.admit("c2", limits(requests_per_minute=9)))
        await turns()
        second.cancel()
        one.store.gate.set()
        await first
        await turns()
        assert [take.call_id for batch in one.store.batches for take in batch.takes] == ["c1"]


async def test_a_batch_that_the_store_refuses_is_left_out_and_others_go_on():
    async with Instance() as one:
        one.store.error = RowRefused("no")
        hold = await one.admit("c1", limits(requests_per_minute=9))
        assert hold.counted_by is one.gate.memory
        one.store.error = None
        hold = await one.admit("c2", limits(requests_per_minute=9))
        assert hold.counted_by is one.shared


async def test_the_queue_is_bounded():
    async with Instance(queue_max=3) as one:
        one.store.gate.clear()
        waiting = [asyncio.create_task(one.admit(f"c{n}", limits(requests_per_minute=99))) for n in range(9)]
        await turns()
        assert sum(task.done() for task in waiting) >= 5, "beyond the limit calls are counted here"
        for number in range(5):
            one.shared.release(parallel(1), f"x{number}")
            one.shared.correct(tokens(5), 1, number * 60_000)
        assert one.metric("rate_changes_dropped_total") == 4
        one.store.gate.set()
        await asyncio.gather(*waiting)


async def test_slots_of_long_calls_are_renewed_and_those_of_ended_ones_are_not():
    async with Instance() as one:
        running = await one.admit("long", limits(parallel_requests=9))
        ended = await one.admit("ended", limits(parallel_requests=9))
        one.gate.limiter.settle(ended, tokens=0)
        await turns()
        one.store.batches.clear()
        for _ in range(3):
            one.clock.advance(10)
            await turns()
        assert [[slot.call_id for slot in batch.renewals] for batch in one.store.batches] == [["long"]] * 3
        one.gate.limiter.settle(running, tokens=0)
        await turns()
        one.store.batches.clear()
        one.clock.advance(10)
        await turns()
        assert one.store.batches == []


async def test_at_the_end_what_is_left_is_sent():
    one = Instance()
    await one.shared.start()
    await turns()
    hold = await one.admit("c1", limits(parallel_requests=9, tokens_per_minute=100), tokens=9)
    one.gate.limiter.settle(hold, tokens=2)
    await one.shared.stop()

    assert [(len(b.releases), [c.amount for c in b.corrections]) for b in one.store.batches[-1:]] == [(1, [-7])]


async def test_requests_are_counted_once_by_whom_they_were_taken_from():
    async with Instance() as one:
        one.store.error = AWAY
        hold = await one.admit("c1", limits(parallel_requests=1))
        one.store.error = None
        one.clock.advance(1)
        await turns()
        one.store.batches.clear()
        one.gate.limiter.settle(hold, tokens=0)
        await turns()
        assert one.store.batches == []
        assert one.gate.memory.counters == 0


def test_quotas_are_named_by_what_they_count_and_not_by_their_limit():
    assert requests(1).key == requests(2).key
    assert len({requests(1).key, tokens(1).key, tokens(1, window_ms=1_000).key, parallel(1).key}) == 4
