"""Batches delivered in any way at all: the sums are always those of the events below each watermark."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conformance.engines import ENGINES, empty_postgres
from conformance.kit import START, Engine, assert_adds_up, follow, make_event
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import Batch, DeadLetter
from tallystick.ledger.event import SpendEvent
from tallystick.testing import MemoryStore
from tallystick.wire.usage import Usage

PRODUCERS = ("alpha", "beta", "gamma")
_RUN_MAX = 20
Entry = SpendEvent | None  # None: a dead letter stands at this number.

few_names = st.sampled_from(("", "a", "b"))
usages = st.builds(
    Usage,
    input_tokens=st.sampled_from((None, 0, 7)),
    output_tokens=st.sampled_from((None, 3)),
    reasoning_tokens=st.sampled_from((None, 1)),
)
entries = st.one_of(
    st.just(None),
    *[
        st.builds(
            lambda milliseconds, days, **fields: make_event(
                started_at=START + timedelta(days=days, milliseconds=milliseconds), **fields
            ),
            milliseconds=st.integers(0, 5),
            days=st.integers(0, 1),
            status=st.sampled_from(("success", "failure", "interrupted")),
            key_hash=few_names,
            user_id=few_names,
            team_id=few_names,
            end_user_id=few_names,
            model=few_names,
            tags=st.lists(few_names, max_size=3).map(tuple),
            usage=usages,
            cost_nano_usd=st.integers(-5, 1_000),
        )
    ]
    * 4,
)


class Deliveries(RuleBasedStateMachine):
    """Journals that grow, and committers that deliver any part of them, again, late, at once, with replies lost."""

    engine_name: str
    place: str

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.journals: dict[str, list[Entry]] = {producer: [] for producer in PRODUCERS}
        self.watermarks = dict.fromkeys(PRODUCERS, 0)
        self.directory = tempfile.TemporaryDirectory(prefix="tallystick-")
        place = self.place or self.directory.name
        if self.place:
            self.runner.run(empty_postgres(place))
        self.engine: Engine = self.runner.run(self.stack.enter_async_context(ENGINES[self.engine_name](place)))

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.runner.run(self.stack.aclose())
            self.directory.cleanup()
            self.runner.close()

    @rule(producer=st.sampled_from(PRODUCERS), run=st.lists(entries, min_size=1, max_size=6))
    def record(self, producer: str, run: list[Entry]) -> None:
        self.journals[producer] += run

    @rule(producer=st.sampled_from(PRODUCERS), part=st.data(), at_peer=st.booleans())
    def deliver(self, producer: str, part: st.DataObject, at_peer: bool) -> None:
        batch = self._draw_batch(producer, part)
        if batch is not None:
            store = self.engine.peer if at_peer else self.engine.ledger
            watermark = self.runner.run(store.commit(batch))
            self.watermarks[producer] = after(batch, self.watermarks[producer])
            assert watermark == self.watermarks[producer]

    @rule(producer=st.sampled_from(PRODUCERS), part=st.data())
    def deliver_and_lose_the_reply(self, producer: str, part: st.DataObject) -> None:
        batch = self._draw_batch(producer, part)
        if batch is not None:
            self.runner.run(self._commit_without_reply(batch))
            self.watermarks[producer] = after(batch, self.watermarks[producer])

    @rule(producer=st.sampled_from(PRODUCERS), part=st.data())
    def deliver_two_at_once(self, producer: str, part: st.DataObject) -> None:
        left, right = self._draw_batch(producer, part), self._draw_batch(producer, part)
        if left is None or right is None:
            return
        seen = self.watermarks[producer]
        possible = {after(right, after(left, seen)), after(left, after(right, seen))}
        self.runner.run(self._commit_both(left, right))
        self.watermarks[producer] = self.runner.run(self.engine.ledger.watermark(producer))
        assert self.watermarks[producer] in possible

    @rule(parts=st.data())
    def deliver_of_all_producers_at_once(self, parts: st.DataObject) -> None:
        batches = [batch for producer in PRODUCERS if (batch := self._draw_batch(producer, parts))]
        if batches:
            self.runner.run(self._commit_both(*batches))
            for batch in batches:
                self.watermarks[batch.producer_id] = after(batch, self.watermarks[batch.producer_id])

    @rule(producers=st.lists(st.sampled_from(PRODUCERS), min_size=1, max_size=5), parts=st.data(), loses=st.booleans())
    def deliver_many_in_one_call(self, producers: list[str], parts: st.DataObject, loses: bool) -> None:
        batches = [batch for producer in producers if (batch := self._draw_batch(producer, parts))]
        watermarks = self.runner.run(self._commit_many(batches, loses_reply=loses))
        for batch in batches:
            self.watermarks[batch.producer_id] = after(batch, self.watermarks[batch.producer_id])
        assert watermarks in (None, {batch.producer_id: self.watermarks[batch.producer_id] for batch in batches})

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def it_adds_up(self) -> None:
        self.runner.run(self._check())

    async def _check(self) -> None:
        events = [
            entry
            for producer in PRODUCERS
            for entry in self.journals[producer][: self.watermarks[producer]]
            if entry is not None
        ]
        for producer in PRODUCERS:
            assert await self.engine.ledger.watermark(producer) == self.watermarks[producer]
        await assert_adds_up(self.engine, events)
        feed = await follow(self.engine, limit=7)
        assert sorted(c.event.event_id for c in feed) == sorted(event.event_id for event in events)

    async def _commit_both(self, *batches: Batch) -> None:
        stores = (self.engine.ledger, self.engine.peer)
        await asyncio.gather(*(stores[index % 2].commit(batch) for index, batch in enumerate(batches)))

    async def _commit_without_reply(self, batch: Batch) -> None:
        if isinstance(self.engine.ledger, MemoryStore):
            self.engine.ledger.lose_reply_next()
            with pytest.raises(StoreUnavailable):
                await self.engine.ledger.commit(batch)
        else:
            await self.engine.ledger.commit(batch)

    async def _commit_many(self, batches: list[Batch], *, loses_reply: bool) -> dict[str, int] | None:
        if loses_reply and isinstance(self.engine.ledger, MemoryStore):
            self.engine.ledger.lose_reply_next()
            with pytest.raises(StoreUnavailable):
                await self.engine.ledger.commit_many(batches)
            return None
        return await self.engine.peer.commit_many(batches)

    def _draw_batch(self, producer: str, part: st.DataObject) -> Batch | None:
        """Return a contiguous run of the journal that begins near its watermark: below, above or one too far."""
        journal = self.journals[producer]
        if not journal:
            return None
        # Where it begins is drawn without the watermark: which of two racing batches won must not change what is drawn.
        start = self.watermarks[producer] + part.draw(st.integers(-2, 1))
        start = min(max(0, start), len(journal) - 1)
        end = start + part.draw(st.integers(1, _RUN_MAX))
        return batch_from(producer, start, journal[start:end])


def after(batch: Batch, watermark: int) -> int:
    """The whole protocol in one line: where the watermark stands after this batch."""
    return batch.last_seq if batch.first_seq <= watermark + 1 and batch.last_seq > watermark else watermark


def batch_from(producer: str, start: int, run: list[Entry]) -> Batch:
    numbered = list(enumerate(run, start + 1))
    return Batch(
        producer_id=producer,
        first_seq=start + 1,
        last_seq=start + len(run),
        numbers=tuple(seq for seq, entry in numbered if entry is not None),
        events=tuple(entry for _, entry in numbered if entry is not None),
        dead_letters=tuple(
            DeadLetter(seq=seq, event_id="dead", reason="poison", cost_nano_usd=1, payload=b"x")
            for seq, entry in numbered
            if entry is None
        ),
    )


def run_deliveries(engine_name: str, place: str, *, examples: int, steps: int) -> None:
    machine = type("Machine", (Deliveries,), {"engine_name": engine_name, "place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(400)  # A failing run takes its time to find the shortest example.
@pytest.mark.parametrize("engine_name", ["memory", "sqlite"])
def test_deliveries(engine_name: str) -> None:
    run_deliveries(engine_name, "", examples=50, steps=30)


@pytest.mark.timeout(400)
def test_deliveries_to_postgres(postgres_url: str) -> None:
    run_deliveries("postgres", postgres_url, examples=10, steps=20)


@pytest.mark.timeout(400)
def test_deliveries_by_way_of_a_pooler(pooled_postgres_url: str) -> None:
    run_deliveries("pgbouncer", pooled_postgres_url, examples=5, steps=20)
