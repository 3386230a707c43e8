"""The promise of budgets (I5), with instances that crash, lose answers, lose the database and take their time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tallystick.access.leasing import accounts as accounts_module
from tallystick.access.leasing.account import Account
from tallystick.access.scopes import Scope
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from unit.access.leasing.world import World

_KEYS = st.sampled_from(["k1", "k2"])
_INSTANCES = st.integers(0, 2)
_COSTS = st.integers(1, 60)


class Instances(RuleBasedStateMachine):
    """Three instances, two keys of one team, a budget for each of the three."""

    def __init__(self, runner: asyncio.Runner) -> None:
        super().__init__()
        self._do = runner.run

    @initialize(
        key_limit=st.integers(0, 400), team_limit=st.integers(0, 600), duration=st.sampled_from(["", "30s", "1d"])
    )
    def begin_world(self, key_limit, team_limit, duration):
        clock = FakeClock()
        ledger = MemoryStore()
        self.world = World(ledger, MemoryBudgetStore(store=ledger, clock=clock), clock)
        self.world.budget(Scope("key", "k1"), key_limit, duration)
        self.world.budget(Scope("key", "k2"), key_limit)
        self.world.budget(Scope("team", "t1"), team_limit)

    @rule(instance=_INSTANCES, key=_KEYS, estimate=_COSTS, calls=st.integers(1, 4))
    def call(self, instance, key, estimate, calls):
        for _ in range(calls):
            self._do(self.world.begin(self.world.instances[instance], key, "t1", estimate))

    @rule(instance=_INSTANCES, pick=st.integers(0, 50), share=st.integers(0, 100))
    def end_within_estimate(self, instance, pick, share):
        held = self.world.instances[instance]
        if held.calls:
            call = held.calls[pick % len(held.calls)]
            self.world.end(held, call, call.hold.nano_usd * share // 100)

    @rule(instance=_INSTANCES, pick=st.integers(0, 50), more=st.integers(1, 30))
    def end_beyond_estimate(self, instance, pick, more):
        held = self.world.instances[instance]
        if held.calls:
            call = held.calls[pick % len(held.calls)]
            self.world.end(held, call, call.hold.nano_usd + more)

    @rule(instance=_INSTANCES, events=st.integers(1, 20), hears=st.booleans())
    def commit(self, instance, events, hears):
        self._do(self.world.commit(self.world.instances[instance], events=events, hears=hears))

    @rule(instance=_INSTANCES)
    def tick(self, instance):
        self._do(self.world.tick(self.world.instances[instance]))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 6.0]))
    def time_passes(self, seconds):
        """Live instances renew their leases; so the time between two rounds is short against a lease."""
        self.world.clock.advance(seconds)
        for instance in self.world.instances:
            self._do(self.world.tick(instance))

    @rule(instance=_INSTANCES)
    def an_answer_is_lost(self, instance):
        self.world.instances[instance].store.loses_answers = 1

    @rule(instance=_INSTANCES, costs=st.lists(st.integers(0, 60), min_size=60, max_size=60))
    def kill(self, instance, costs):
        self.world.crash(instance, costs)
        self._do(self.world.commit(self.world.instances[instance], events=1_000))
        self._do(self.world.tick(self.world.instances[instance]))

    @invariant()
    def money_is_within_the_limits(self):
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self):
        if hasattr(self, "world"):
            self._do(self._everything_is_usable_in_the_end())

    async def _everything_is_usable_in_the_end(self):
        """No phantom: when nothing runs any more, all that is left of a limit can be had by any one instance."""
        world = self.world
        await world.settle_down()
        assert sum(row.leased_nano_usd for row in await world.store.open_windows(after=None, limit=100)) == 0
        scopes = (Scope("key", "k2"), Scope("team", "t1"))
        rest = min(world.limits[scope].limit_nano_usd - world.paid_in(scope) for scope in scopes)
        if rest > 0:
            assert await world.begin(world.instances[0], "k2", "t1", rest) is not None
        assert await world.begin(world.instances[1], "k2", "t1", max(rest, 0) + 1) is None


def _run(examples=120, phases=tuple(Phase)):
    with asyncio.Runner() as runner:
        run_state_machine_as_test(
            lambda: Instances(runner),
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_real_money_stays_within_every_limit():
    _run()


class _ReleasesTwice(Account):
    """A hold that ends frees its money twice: the classic leak of reservations, turned around."""

    def release(self, nano_usd, now):
        self.held -= 2 * nano_usd


class _ForgetsPending(Account):
    """What was spent and is not committed yet counts as free."""

    def settle(self, seq, cost_nano_usd, now):
        self.used_at = now


class _GivesBackWhatIsHeld(Account):
    """A lease goes back although running calls hold parts of it."""

    def is_settled(self, watermark):
        return True

    def clear(self):
        self._pending.clear()
        self.pending = self.amount = 0


@pytest.mark.parametrize("broken", [_ReleasesTwice, _ForgetsPending, _GivesBackWhatIsHeld])
def test_a_broken_account_is_found_out(broken, monkeypatch):
    monkeypatch.setattr(accounts_module, "Account", broken)
    with contextlib.redirect_stdout(None), pytest.raises((AssertionError, ExceptionGroup)):
        _run(examples=300, phases=(Phase.generate,))  # As found: making it small takes minutes.
