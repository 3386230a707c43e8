"""Instances that lease, spend, crash and come back: what is spent and leased never passes the limit by their doing."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

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

from conformance.budget_kit import DAY, KEY, MIDNIGHT, SECONDS, TEAM, counts_in, day_of, lifetime_of, request, spent_in
from conformance.engines import ENGINES, empty_postgres
from conformance.kit import START, Engine, make_event
from tallystick.access.budget_store import LeaseReply, LeaseState
from tallystick.access.scopes import Window
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.testing import MemoryBudgetStore, MemoryStore

TODAY, TOMORROW = day_of(), Window(KEY, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)
WINDOWS = (TODAY, TOMORROW, lifetime_of(), day_of(TEAM))
CALLS: dict[str, dict[str, Any]] = {
    "a key's": {},
    "a key's of tomorrow": {"started_at": START + DAY, "team_id": ""},
    "another key's": {"key_hash": "k2"},
}
holders = st.sampled_from("abc")
some_windows = st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=len(WINDOWS), unique=True)
percents = st.sampled_from((0, 30, 70, 100))
calls = st.tuples(st.sampled_from(list(CALLS)), percents, st.sampled_from((0, 0, 0, 15)))
Call = tuple[str, int, int]
"""What kind, how much of what is free, and how much above it."""
asked = st.tuples(
    some_windows,
    st.sampled_from((0, 10, 40, 80)),
    st.sampled_from((0, 50, 200)),
    st.sampled_from((0, 0, 0, 20)),
    st.integers(1, 3),
    st.booleans(),
)
Asked = tuple[list[Window], int, int, int, int, bool]
"""On what, the need, the want, how much less than the limit, the share, and whether events of before are paid, too."""


@dataclass(slots=True)
class Account:
    """What an instance believes to have of a window, by the last answer that it got."""

    amount: int
    settled_seq: int
    since_seq: int


@dataclass(slots=True)
class Instance:
    """One holder: its journal stays when it crashes, its accounts do not."""

    journal: list[SpendEvent] = field(default_factory=list)
    watermark: int = 0
    accounts: dict[Window, Account] = field(default_factory=dict)
    lasts_until: dict[Window, float] = field(default_factory=dict)
    """Until when the database keeps its leases, whatever it remembers itself."""
    perhaps_leased: set[Window] = field(default_factory=set)
    """Where the database may have a lease of it; one that lapsed stays until somebody takes it."""
    covered: dict[tuple[Window, int], int] = field(default_factory=dict)
    """By window and number: what of an event that is not committed yet is to be paid by the lease."""

    def free(self, window: Window) -> int:
        """Return what it may still spend: the lease without the events that are not taken off it yet."""
        account = self.accounts.get(window)
        if account is None:
            return 0
        above = max(account.settled_seq, account.since_seq)
        return max(0, account.amount - spent_in(self.journal[above:], window))

    def hears(self, state: LeaseState, *, since_seq: int) -> None:
        """Take an answer for true. A lease that was there before pays for what it paid for before."""
        if state.amount_nano_usd == 0:
            self.accounts.pop(state.window, None)
            return
        held = self.accounts.get(state.window)
        # After a crash it does not know what a lease pays for; that it pays for everything is on the safe side.
        since = 0 if state.window in self.perhaps_leased else since_seq
        since = since if held is None else held.since_seq
        self.perhaps_leased.add(state.window)
        self.accounts[state.window] = Account(state.amount_nano_usd, state.settled_seq, since)


class Instances(RuleBasedStateMachine):
    """Honest instances: they spend and give back what is free by their own accounts, and say when they spend more."""

    engine_name: str
    place: str
    store_type: type[MemoryBudgetStore] | None = None

    @initialize(limits=st.lists(st.sampled_from((0, 60, 100, 200)), min_size=len(WINDOWS), max_size=len(WINDOWS)))
    def open(self, limits: list[int]) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.directory = tempfile.TemporaryDirectory(prefix="tallystick-")
        if self.place:
            self.runner.run(empty_postgres(self.place))
        place = self.place or self.directory.name
        engine = self.runner.run(self.stack.enter_async_context(ENGINES[self.engine_name](place)))
        if self.store_type is not None:
            assert isinstance(engine.ledger, MemoryStore)
            engine = replace(engine, budgets=self.store_type(store=engine.ledger, clock=engine.clock))
        self.engine: Engine = engine
        self.limits = dict(zip(WINDOWS, limits, strict=True))
        self.now = 0.0
        self.instances = {holder: Instance() for holder in "abc"}
        self.committed: list[SpendEvent] = []
        self.made: set[Window] = set()
        self.beyond: Counter[Window] = Counter()
        """What was, or may be, spent in each window that no lease pays."""

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.runner.run(self.stack.aclose())
            self.directory.cleanup()
            self.runner.close()

    @rule(
        holder=holders,
        asked=asked,
        calls=st.lists(calls, min_size=1, max_size=5),
        committed=st.integers(0, 6),
        at_peer=st.booleans(),
    )
    def work(self, holder: str, asked: Asked, calls: list[Call], committed: int, at_peer: bool) -> None:
        """Live for a while: lease, make some calls, commit some of them."""
        self._lease(holder, asked)
        for call in calls:
            self._spend(holder, call)
        self._commit(holder, committed, at_peer=at_peer, again=False)

    @rule(holder=holders, asked=asked)
    def lease(self, holder: str, asked: Asked) -> None:
        self._lease(holder, asked)

    @rule(holder=holders, call=calls)
    def spend(self, holder: str, call: Call) -> None:
        self._spend(holder, call)

    @rule(holder=holders, count=st.integers(1, 6), at_peer=st.booleans(), again=st.booleans())
    def commit(self, holder: str, count: int, at_peer: bool, again: bool) -> None:
        self._commit(holder, count, at_peer=at_peer, again=again)

    def _lease(self, holder: str, asked: Asked) -> None:
        windows, need, want, less, share, pays_pending = asked
        instance = self.instances[holder]
        since = 0 if pays_pending else len(instance.journal)
        requests = [
            request(
                window,
                self.limits[window] - less,
                need=need,
                want=want,
                since_seq=since,
                previous=TODAY if window == TOMORROW else None,
            )
            for window in windows
        ]
        is_making_tomorrow = TOMORROW in windows and TOMORROW not in self.made
        carried = max(0, spent_in(self.committed, TODAY) - self.limits[TOMORROW] + less)
        before = {window: window in instance.accounts for window in windows}
        reply = self._run(self.engine.budgets.lease(holder, requests, seconds=SECONDS, share=share))
        if is_making_tomorrow:
            assert reply.states[windows.index(TOMORROW)].carried_nano_usd == carried
            self.beyond[TOMORROW] += carried
        self.made |= set(windows)
        self._hear(holder, reply, since_seq=since)
        for state in reply.states:
            assert not reply.granted or before[state.window] or state.amount_nano_usd >= need

    @rule(holder=holders)
    def renew(self, holder: str) -> None:
        instance = self.instances[holder]
        states = self._run(self.engine.budgets.renew(holder, seconds=SECONDS))
        assert [state.window for state in states] == sorted(state.window for state in states)
        assert instance.lasts_until.keys() <= {state.window for state in states}, "no lease ends before its time"
        self._hear(holder, LeaseReply(granted=True, states=states), since_seq=0)

    def _spend(self, holder: str, call: Call) -> None:
        """Write an event to the journal: of what is free in all its windows, or above what was estimated."""
        kind, percent, above = call
        instance = self.instances[holder]
        event = make_event(**CALLS[kind])
        windows = [window for window in WINDOWS if counts_in(event, window)]
        free = {window: instance.free(window) for window in windows}
        cost = min(free.values()) * percent // 100 + above
        instance.journal.append(make_event(cost_nano_usd=cost, **CALLS[kind]))
        for window in windows:
            covered = min(cost, free[window])
            instance.covered[window, len(instance.journal)] = covered
            self.beyond[window] += cost - covered

    def _commit(self, holder: str, count: int, *, at_peer: bool, again: bool) -> None:
        """Deliver what follows in the journal; from its beginning, when the committer forgot how far it was."""
        instance = self.instances[holder]
        first = 0 if again else instance.watermark
        run = instance.journal[first : instance.watermark + count]
        if not run:
            return
        ledger = self.engine.peer if at_peer else self.engine.ledger
        watermark = self._run(ledger.commit(batch_of(holder, first + 1, run)))
        assert watermark == first + len(run)
        self.committed += instance.journal[instance.watermark : watermark]
        instance.watermark = watermark
        instance.covered = {key: amount for key, amount in instance.covered.items() if key[1] > watermark}

    @rule(holder=holders, first=st.integers(0, 9), count=st.integers(1, 5))
    def deliver_again(self, holder: str, first: int, count: int) -> None:
        """Deliver a batch that is committed already, or that leaves a gap: nothing may change."""
        instance = self.instances[holder]
        run = instance.journal[first : first + count]
        is_new = first <= instance.watermark < first + len(run)
        if run and not is_new:
            assert self._run(self.engine.ledger.commit(batch_of(holder, first + 1, run))) == instance.watermark

    @rule(holder=holders, windows=some_windows, percent=percents)
    def give_back(self, holder: str, windows: list[Window], percent: int) -> None:
        instance = self.instances[holder]
        amounts = [(window, instance.free(window) * percent // 100) for window in windows]
        states = self._run(self.engine.budgets.give_back(holder, amounts))
        kept = {window: instance.free(window) - amount for window, amount in amounts}
        for state in states:
            instance.hears(state, since_seq=0)
            assert instance.free(state.window) >= kept[state.window], "no more goes back than was given"
            if state.amount_nano_usd == 0:
                instance.lasts_until.pop(state.window, None)
                instance.perhaps_leased.discard(state.window)

    @rule(holder=holders)
    def release(self, holder: str) -> None:
        """Give all back; what is in the journal still is paid by nobody then."""
        self._run(self.engine.budgets.release(holder))
        for window in WINDOWS:
            self._lose(holder, window)
        self.instances[holder].perhaps_leased.clear()
        assert self._run(self.engine.budgets.renew(holder, seconds=SECONDS)) == ()

    @rule(holder=holders)
    def crash(self, holder: str) -> None:
        self.instances[holder].accounts.clear()

    @rule(seconds=st.sampled_from((SECONDS / 3, SECONDS / 2, SECONDS + 1)))
    def wait(self, seconds: float) -> None:
        self._run(self.engine.let_pass(seconds))
        self.now += seconds
        for holder, instance in self.instances.items():
            # A margin, as the database may count by another clock: whoever is near the end stops spending.
            for window in [each for each, until in instance.lasts_until.items() if self.now >= until - 1]:
                self._lose(holder, window)

    @rule()
    def all_lapse_and_a_new_one_comes(self) -> None:
        """Nothing is leased by nobody: a holder that was never seen gets all that is left, and not more."""
        self.wait(SECONDS + 1)
        for window in WINDOWS:
            assert self._asks("new", window, 0), "it notices who is late"
        self.wait(SECONDS / 2)
        for window in WINDOWS:
            spent = spent_in(self.committed, window)
            (found,) = self._run(self.engine.budgets.sums([(window, ())]))
            left = max(0, self.limits[window] - spent - found.carried_nano_usd)
            assert not self._asks("new", window, left + 1)
            assert self._asks("new", window, left)
        self._run(self.engine.budgets.release("new"))

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def it_adds_up_and_holds(self) -> None:
        sums = self._run(self.engine.peer_budgets.sums([(window, ()) for window in WINDOWS]))
        for found in sums:
            window = found.window
            assert found.spent_nano_usd == spent_in(self.committed, window)
            assert found.leased_nano_usd >= 0
            used = found.spent_nano_usd + found.carried_nano_usd + found.leased_nano_usd
            assert used <= self.limits[window] + self.beyond[window], f"{used} of {self.limits[window]} in {window}"
        assert self._run(self.engine.auditor.audit()).differences == ()

    def _asks(self, holder: str, window: Window, need: int) -> bool:
        previous = TODAY if window == TOMORROW else None
        asked = request(window, self.limits[window], need=need, previous=previous)
        reply = self._run(self.engine.budgets.lease(holder, [asked], seconds=SECONDS, share=1))
        if window == TOMORROW and window not in self.made:
            self.beyond[window] += reply.states[0].carried_nano_usd
        self.made.add(window)
        return reply.granted

    def _hear(self, holder: str, reply: LeaseReply, *, since_seq: int) -> None:
        instance = self.instances[holder]
        for state in reply.states:
            before = instance.free(state.window)
            instance.hears(state, since_seq=since_seq)
            assert instance.free(state.window) >= before, "what it has not spent it has still"
            if state.amount_nano_usd:
                instance.lasts_until[state.window] = self.now + SECONDS

    def _lose(self, holder: str, window: Window) -> None:
        """A lease ended: what it was to pay for is spent beyond all leases."""
        instance = self.instances[holder]
        instance.accounts.pop(window, None)
        instance.lasts_until.pop(window, None)
        for key in [each for each in instance.covered if each[0] == window]:
            self.beyond[window] += instance.covered.pop(key)

    def _run(self, work: Any) -> Any:
        return self.runner.run(work)


def run_instances(
    engine_name: str,
    place: str,
    *,
    examples: int,
    steps: int,
    store_type: type[MemoryBudgetStore] | None = None,
) -> None:
    machine = type("Machine", (Instances,), {"engine_name": engine_name, "place": place, "store_type": store_type})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(400)
def test_leases_in_memory_hold() -> None:
    run_instances("memory", "", examples=100, steps=50)


@pytest.mark.timeout(400)
def test_leases_in_sqlite_hold() -> None:
    run_instances("sqlite", "", examples=15, steps=40)


@pytest.mark.timeout(400)
def test_leases_in_postgres_hold(postgres_url: str) -> None:
    run_instances("postgres", postgres_url, examples=8, steps=40)


# Stores that are broken on purpose: the machine finds each of them out.


class FreesTwice(MemoryBudgetStore):
    """Takes what is given back off what is leased a second time."""

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        before = {window: self._leased(window) for window, _ in amounts}
        states = await super().give_back(holder, amounts)
        for window, leased in before.items():
            if leased:
                self._store.books.budgets.windows[window].leased_nano_usd -= leased - self._leased(window)
        return states

    def _leased(self, window: Window) -> int:
        row = self._store.books.budgets.windows.get(window)
        return row.leased_nano_usd if row else 0


class GivesAllBack(MemoryBudgetStore):
    """Gives back the whole lease, also what calls have taken of it."""

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        return await super().give_back(holder, [(window, 10**9) for window, _ in amounts])


class ReleasesOthers(MemoryBudgetStore):
    """Releases the leases of others with those of the holder; all sums stay right."""

    async def release(self, holder: str) -> int:
        for other in "abc":
            await super().release(other)
        return 0


class TakesFromOthers(MemoryBudgetStore):
    """Frees the leases of others although their time is not over."""

    def _free_lapsed(self, windows: Sequence[Window], holder: str, *, notice: timedelta) -> None:
        leases = self._books.leases
        self._books.delete_leases(key for key in leases if key[0] in windows and key[1] != holder)


class ForgetsSpend(MemoryBudgetStore):
    """Makes windows that begin with nothing, whatever was committed before."""

    def _spent(self, window: Window, ids: set[str]) -> int:
        return 0


class LendsWhatIsLent(MemoryBudgetStore):
    """Forgets what others have leased when it looks for room."""

    def _room(self, window: Window) -> Any:
        room = super()._room(window)
        return type(room)(
            spent_nano_usd=room.spent_nano_usd,
            carried_nano_usd=room.carried_nano_usd,
            leased_nano_usd=0,
            is_wanted=room.is_wanted,
        )


@pytest.mark.parametrize(
    "store_type", [FreesTwice, GivesAllBack, ReleasesOthers, TakesFromOthers, ForgetsSpend, LendsWhatIsLent]
)
def test_a_broken_store_is_found_out(store_type: type[MemoryBudgetStore]) -> None:
    with pytest.raises(AssertionError):
        run_instances("memory", "", examples=300, steps=50, store_type=store_type)
