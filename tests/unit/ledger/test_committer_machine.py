"""Everything at once: calls, crashes and a store that fails, in every order."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger_kit import (
    ONE_CALL,
    assert_adds_up,
    committed,
    committer_of,
    crash,
    journal_in,
    make_event,
)
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import fold
from tallystick.ledger.event import SpendEvent
from tallystick.testing import MemoryStore


class Ledger(RuleBasedStateMachine):
    """Calls, crashes, a store that fails: in the end it holds what was appended, once, and its sums follow."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.store = MemoryStore()
        self.store.refuse(lambda event: event.user_id == "poison")
        self.expected: dict[str, SpendEvent] = {}
        self.running: dict[str, SpendEvent] = {}
        self.run(self.open(segment_bytes=ONE_CALL, is_known=True))

    def run(self, work: Any) -> None:
        self.runner.run(work)

    async def open(self, *, segment_bytes: int, is_known: bool) -> None:
        confirmed = dict(self.store.books.watermarks) if is_known else {}
        self.journal = journal_in(Path(self.directory.name), segment_bytes=segment_bytes, confirmed=confirmed)
        self.committer = committer_of(self.journal, self.store, batch_events_max=3)
        self.expected |= self.running  # They are interrupted now.
        self.running = {}

    async def drain(self) -> None:
        try:
            await self.committer.drain()
        except StoreUnavailable:
            return

    async def die(self) -> None:
        self.committer.close()
        crash(self.journal)
        for fd in (self.journal._fd, self.journal._directory_fd):
            os.close(fd)

    @rule(user_id=st.sampled_from(["u1", "u2", "poison"]), cost=st.integers(0, 10**12))
    def call(self, user_id: str, cost: int) -> None:
        self.begin_call(user_id, cost)
        self.end_call(-1)

    @rule(user_id=st.sampled_from(["u1", "poison"]), cost=st.integers(0, 10**12))
    def begin_call(self, user_id: str, cost: int) -> None:
        intent = make_event(user_id=user_id, cost_nano_usd=cost, status="interrupted", tags=("a", "b"))

        async def write() -> None:
            self.journal.append_intent(intent)

        self.run(write())
        self.running[intent.event_id] = intent

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5))
    def end_call(self, which: int) -> None:
        intent = list(self.running.values())[which % len(self.running) if which >= 0 else -1]
        event = msgspec.structs.replace(intent, status="success", cost_nano_usd=intent.cost_nano_usd + 1)

        async def write() -> None:
            self.journal.append_event(event)

        self.run(write())
        del self.running[event.event_id]
        self.expected[event.event_id] = event

    @rule()
    def commit(self) -> None:
        self.run(self.drain())

    @rule(failures=st.integers(1, 3))
    def commit_with_failures(self, failures: int) -> None:
        self.store.fail_next(failures)
        self.run(self.drain())

    @rule(replies=st.integers(1, 3))
    def commit_with_lost_replies(self, replies: int) -> None:
        self.store.lose_reply_next(replies)
        self.run(self.drain())

    @rule(segment_bytes=st.sampled_from([ONE_CALL, 20_000, 64_000]), is_known=st.booleans())
    def crash(self, segment_bytes: int, is_known: bool) -> None:
        self.run(self.die())
        self.run(self.open(segment_bytes=segment_bytes, is_known=is_known))

    @rule(segment_bytes=st.sampled_from([ONE_CALL, 20_000]), is_known=st.booleans())
    def restart(self, segment_bytes: int, is_known: bool) -> None:
        async def stop() -> None:
            await self.drain()
            self.committer.close()
            self.journal.close()

        self.run(stop())
        self.run(self.open(segment_bytes=segment_bytes, is_known=is_known))

    @invariant()
    def store_adds_up(self) -> None:
        assert_adds_up(self.store)
        held = Counter(event.event_id for event in committed(self.store))
        held.update(letter.event_id for _, letter in self.store.books.dead_letters)
        assert set(held.values()) <= {1}
        assert set(held) <= set(self.expected)

    def teardown(self) -> None:
        try:
            self.check_end()
        finally:
            self.runner.close()
            self.directory.cleanup()

    def check_end(self) -> None:
        self.store._failures.clear()
        self.store._lost_replies = 0
        self.run(self.die())
        self.run(self.open(segment_bytes=ONE_CALL, is_known=True))
        self.run(self.committer.drain())
        expected = [event for event in self.expected.values() if event.user_id != "poison"]
        refused = {event.event_id: event for event in self.expected.values() if event.user_id == "poison"}

        assert sorted(committed(self.store), key=_by_id) == sorted(expected, key=_by_id)
        letters = {letter.event_id: letter.cost_nano_usd for _, letter in self.store.books.dead_letters}
        assert letters == {event_id: event.cost_nano_usd for event_id, event in refused.items()}
        assert self.store.books.totals == fold(expected).totals
        assert_adds_up(self.store)
        self.committer.close()
        self.journal.close()
        assert self.journal.slot.segments() == []


def _by_id(event: SpendEvent) -> str:
    return event.event_id


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
