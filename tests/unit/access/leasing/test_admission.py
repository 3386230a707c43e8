"""Admission: all budgets or none, the wait for room, and what is said when there is none."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ledger_kit import make_event
from tallystick.access.leasing.admission import Admission, AdmissionLimits, Estimate
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.access.scopes import Budget, Correction, Scope
from tallystick.errors import BudgetExceeded, BudgetUnknown
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from unit.access.leasing.world import Instance, World

KEY, TEAM = Scope("key", "k1"), Scope("team", "t1")
PRICE = 100


def estimate(need: int = PRICE, full: int | None = None, **fields) -> Estimate:
    return Estimate(need_nano_usd=need, full_nano_usd=need if full is None else full, **fields)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def world(clock):
    ledger = MemoryStore()
    return World(ledger, MemoryBudgetStore(store=ledger, clock=clock), clock, instances=2)


@pytest.fixture
def real_world():
    """For those who wait: time passes by itself."""
    clock, ledger = SystemClock(), MemoryStore()
    return World(ledger, MemoryBudgetStore(store=ledger, clock=clock), clock, instances=1)


def admission_of(instance: Instance, world: World, **limits) -> Admission:
    limits.setdefault("wait_seconds", 0.0)
    return Admission(
        keeper=instance.keeper,
        windows=world.windows,
        limits=AdmissionLimits(**limits),
        on_denied=lambda _: None,
        clock=world.clock,
        metrics=Metrics(),
    )


def bounds_of(admission: Admission, world: World, *budgets: Budget, model: str = "gpt"):
    scoped = [ScopedLimits(scope=budget.scope, budgets=(budget,)) for budget in budgets]
    world.kept = scoped  # As principals do: resolved budgets are found again by who holds them.
    return admission.bounds.of_limits(scoped, model_group=model, moment=world.clock.now())


def budget(scope: Scope = KEY, limit: int | None = 10 * PRICE, **fields) -> Budget:
    return Budget(scope=scope, limit_nano_usd=limit, **fields)


async def spend(world: World, instance: Instance, cost: int) -> None:
    """Commit a call of KEY that nobody had to admit."""
    event = make_event(started_at=world.clock.now(), key_hash="k1", cost_nano_usd=cost)
    instance.numbers.append(event)
    await world.commit(instance, events=1)


async def denial(admission: Admission, bounds, asked: Estimate, caller: str = "alice") -> str:
    with pytest.raises(BudgetExceeded) as raised:
        await admission.admit(bounds, asked, caller=caller)
    return raised.value.message


async def test_the_first_call_leases_and_the_next_ones_ask_nobody(world):
    one = world.instances[0]
    admission = admission_of(one, world)
    bounds = bounds_of(admission, world, budget(limit=1_000 * PRICE))
    await admission.admit(bounds, estimate(), caller="a")
    asked = one.store.statements
    assert admission.try_admit(bounds, estimate()) is not None
    assert one.store.statements == asked


async def test_a_budget_without_room_leaves_the_others_untouched(world):
    admission = admission_of(world.instances[0], world)
    bounds = bounds_of(admission, world, budget(KEY, 10 * PRICE), budget(TEAM, PRICE - 1))
    await denial(admission, bounds, estimate())
    assert [bound.account.held for bound in bounds] == [0, 0]
    assert [bound.account.amount for bound in bounds] == [0, 0]


async def test_a_denial_names_scope_spend_limit_and_reset(world):
    admission = admission_of(world.instances[0], world)
    bounds = bounds_of(admission, world, budget(limit=50, duration="1d"))
    assert await denial(admission, bounds, estimate()) == (
        "Budget has been exceeded! Key=alice Current cost: 0.00, Max budget: 0.00000005. $0.00000005 are left, which "
        "running calls have reserved or which this call may exceed. It resets at 2026-01-06T00:00:00+00:00."
    )


@pytest.mark.parametrize(
    ("scope", "beginning"),
    [
        (Scope("team", "t1"), "Budget has been exceeded! Team=t1 Current cost: 0.00, Max budget: 0.00."),
        (Scope("team_member", "t1", "u1"), "Budget has been exceeded! User=u1 in Team=t1 Current cost"),
        (Scope("organization", "o1"), "Budget has been exceeded! Organization=o1 Current"),
        (Scope("organization_member", "o1", "u1"), "Budget has been exceeded! User=u1 in Organization=o1 C"),
        (Scope("tag", "x"), "Budget has been exceeded! Tag=x Current"),
        (Scope("personal", "u1"), "ExceededBudget: User=u1 over budget. Spend=0.00, Budget=0.00."),
        (Scope("user", "u1"), "ExceededBudget: User=u1 over budget. Spend"),
        (Scope("end_user", "e1"), "ExceededBudget: End User=e1 over budget. Spend"),
        (Scope("session", "s1", "k1"), "Budget has been exceeded! Session=s1 Cur"),
        (Scope("provider", "openai"), "Budget has been exceeded! Provider=openai Cur"),
        (Scope("global"), "Budget has been exceeded! Proxy Current"),
    ],
)
async def test_each_scope_is_named_as_clients_look_for_it(world, scope, beginning):
    admission = admission_of(world.instances[0], world)
    assert (await denial(admission, bounds_of(admission, world, budget(scope, 0)), estimate())).startswith(beginning)


async def test_a_budget_of_a_model_names_the_model(world):
    admission = admission_of(world.instances[0], world)
    scope = KEY._replace(model="gpt")
    limits = ScopedLimits(scope=KEY, model_budgets={"gpt": (budget(scope, 0),)})
    bounds = admission.bounds.of_limits([limits], model_group="gpt", moment=world.clock.now())
    assert "for the model 'gpt'" in await denial(admission, bounds, estimate())
    assert admission.bounds.of_limits([limits], model_group="other", moment=world.clock.now()) == []


async def test_what_an_admin_corrected_counts(world):
    admission = admission_of(world.instances[0], world)
    window = world.windows.window_of(KEY, "1d", world.clock.now())
    spent = Correction(starts_at=window.starts_at, ends_at=window.ends_at, nano_usd=10 * PRICE)
    full = budget(duration="1d", corrections=(spent,))
    assert "Current cost: 0.000001, Max budget: 0.000001" in await denial(
        admission, bounds_of(admission, world, full), estimate()
    )
    world.clock.advance(86_400)
    assert await admission.admit(bounds_of(admission, world, full), estimate(), caller="a")


async def test_a_temporary_increase_holds_for_its_time(world):
    admission = admission_of(world.instances[0], world)
    until = world.clock.now() + timedelta(hours=1)
    raised = budget(limit=0, increase_nano_usd=PRICE, increase_until=until)
    hold = await admission.admit(bounds_of(admission, world, raised), estimate(), caller="a")
    admission.cancel(hold)
    world.clock.advance(3_600)
    await denial(admission, bounds_of(admission, world, raised), estimate())


async def test_what_was_forgiven_in_a_window_is_not_carried_into_the_next(world):
    one, admission = world.instances[0], admission_of(world.instances[0], world)
    before = world.windows.window_of(KEY, "1d", world.clock.now())
    forgiven = Correction(starts_at=before.starts_at, ends_at=before.ends_at, nano_usd=-3 * PRICE)
    daily = budget(limit=2 * PRICE, duration="1d", rolls_over=True, corrections=(forgiven,))
    await spend(world, one, 5 * PRICE)
    world.clock.advance(86_400)
    (bound,) = bounds_of(admission, world, daily)
    assert (bound.limit, bound.previous, bound.previous_limit) == (2 * PRICE, before, 5 * PRICE)
    hold = await admission.admit([bound], estimate(2 * PRICE), caller="a")
    assert (hold.nano_usd, bound.account.carried) == (2 * PRICE, 0)


async def test_what_is_corrected_in_a_window_changes_nothing_of_what_was_carried_into_it(world):
    one, admission = world.instances[0], admission_of(world.instances[0], world)
    await spend(world, one, 5 * PRICE)
    world.clock.advance(86_400)
    today = world.windows.window_of(KEY, "1d", world.clock.now())
    forgiven = Correction(starts_at=today.starts_at, ends_at=today.ends_at, nano_usd=-3 * PRICE)
    daily = budget(limit=2 * PRICE, duration="1d", rolls_over=True, corrections=(forgiven,))
    (bound,) = bounds_of(admission, world, daily)
    await admission.admit([bound], estimate(2 * PRICE), caller="a")
    assert (bound.limit, bound.account.carried) == (5 * PRICE, 3 * PRICE)


@pytest.mark.parametrize(("hours_short", "carried"), [(0, 0), (1, PRICE)])
async def test_an_increase_that_held_to_the_end_of_a_window_is_in_its_limit(world, hours_short, carried):
    one, admission = world.instances[0], admission_of(world.instances[0], world)
    before = world.windows.window_of(KEY, "1d", world.clock.now())
    until = before.ends_at - timedelta(hours=hours_short)
    raised = {"increase_nano_usd": PRICE, "increase_until": until}
    daily = budget(limit=2 * PRICE, duration="1d", rolls_over=True, **raised)
    await spend(world, one, 3 * PRICE)
    world.clock.advance(86_400)
    (bound,) = bounds_of(admission, world, daily)
    await admission.admit([bound], estimate(), caller="a")
    assert bound.account.carried == carried


async def test_a_budget_that_only_warns_carries_nothing(world):
    one, admission = world.instances[0], admission_of(world.instances[0], world)
    await spend(world, one, 5 * PRICE)
    world.clock.advance(86_400)
    assert list(bounds_of(admission, world, budget(limit=None, duration="1d", rolls_over=True))) == []
    await world.tick(one)
    (account,) = one.keeper.accounts
    assert (account.is_known, account.carried) == (True, 0)


async def test_of_two_budgets_of_one_window_the_least_limits(world):
    admission = admission_of(world.instances[0], world)
    limits = ScopedLimits(scope=KEY, budgets=(budget(limit=5 * PRICE), budget(limit=0)))
    (bound,) = admission.bounds.of_limits([limits], model_group="gpt", moment=world.clock.now())
    assert bound.limit == 0


async def test_a_soft_budget_bounds_nothing_and_is_watched(world):
    one = world.instances[0]
    admission = admission_of(one, world)
    assert list(bounds_of(admission, world, budget(limit=None, soft_limit_nano_usd=1))) == []
    await world.tick(one)
    (account,) = one.keeper.accounts
    assert account.is_known
    assert account.amount == 0


async def test_a_soft_budget_denies_nothing_without_a_database(world):
    one = world.instances[0]
    one.store.is_away = True
    admission = admission_of(one, world)
    assert list(bounds_of(admission, world, budget(limit=None, soft_limit_nano_usd=1))) == []


async def test_a_call_whose_account_was_dropped_meanwhile_takes_the_one_that_is_there(world):
    one = world.instances[0]
    admission = admission_of(one, world)
    bounds = bounds_of(admission, world, budget(limit=10 * PRICE))
    one.keeper.accounts.drop(bounds[0].account)
    hold = await admission.admit(bounds, estimate(), caller="a")
    (account,) = one.keeper.accounts
    assert hold.accounts == (account,)


class _Hanging:
    """A store that takes what it is asked and never answers."""

    async def lease(self, *_args, **_named):
        await asyncio.Event().wait()


async def test_a_database_that_hangs_is_no_spent_budget(real_world):
    one = real_world.instances[0]
    admission = admission_of(one, real_world, wait_seconds=0.05)
    bounds = bounds_of(admission, real_world, budget(limit=10 * PRICE))
    first = await admission.admit(bounds, estimate(10 * PRICE), caller="a")
    bounds[0].account.answered_at -= 100
    one.keeper._store = _Hanging()
    with pytest.raises(BudgetUnknown):
        await admission.admit(bounds, estimate(), caller="a")
    admission.cancel(first)
    for task in one.keeper._asking:
        task.cancel()


async def test_all_who_wait_are_served_one_after_the_other(real_world):
    admission = admission_of(real_world.instances[0], real_world, wait_seconds=10.0)
    bounds = bounds_of(admission, real_world, budget(limit=PRICE))
    held = await admission.admit(bounds, estimate(), caller="a")
    served = []

    async def wait(name: int) -> None:
        hold = await admission.admit(bounds, estimate(), caller="a")
        served.append(name)
        admission.cancel(hold)

    async with asyncio.TaskGroup() as group:
        for name in range(20):
            group.create_task(wait(name))
            await asyncio.sleep(0)
        while len(bounds[0].account.waiters) < 20:
            await asyncio.sleep(0.001)
        admission.cancel(held)
    assert sorted(served) == list(range(20))


async def test_calls_that_wait_for_one_budget_leave_room_for_others_to_wait(real_world):
    admission = admission_of(real_world.instances[0], real_world, wait_seconds=30.0, waiting_max=8)
    bounds = bounds_of(admission, real_world, budget(limit=PRICE))
    held = await admission.admit(bounds, estimate(), caller="a")
    waiting = [asyncio.ensure_future(admission.admit(bounds, estimate(), caller="a")) for _ in range(2)]
    while len(bounds[0].account.waiters) < 2:
        await asyncio.sleep(0.001)
    assert "reserved" in await denial(admission, bounds, estimate())
    for each in waiting:
        each.cancel()
    admission.cancel(held)


async def test_a_call_waits_for_one_that_holds_what_it_needs(real_world):
    admission = admission_of(real_world.instances[0], real_world, wait_seconds=5.0)
    bounds = bounds_of(admission, real_world, budget(limit=PRICE))
    first = await admission.admit(bounds, estimate(), caller="a")
    second = asyncio.ensure_future(admission.admit(bounds, estimate(), caller="a"))
    await asyncio.sleep(0)
    assert not second.done()
    admission.cancel(first)
    assert (await asyncio.wait_for(second, 5)).nano_usd == PRICE


async def test_more_than_may_wait_are_refused_at_once(real_world):
    admission = admission_of(real_world.instances[0], real_world, wait_seconds=30.0, waiting_max=1)
    bounds = bounds_of(admission, real_world, budget(limit=PRICE))
    first = await admission.admit(bounds, estimate(), caller="a")
    waits = asyncio.ensure_future(admission.admit(bounds, estimate(), caller="a"))
    await asyncio.sleep(0.01)
    assert "reserved" in await denial(admission, bounds, estimate())
    admission.cancel(first)
    await waits


async def test_sixty_four_callers_get_what_there_is_and_no_more(real_world):
    admission = admission_of(real_world.instances[0], real_world, wait_seconds=5.0)
    bounds = bounds_of(admission, real_world, budget(limit=50 * PRICE))
    answered = 0

    async def caller() -> None:
        nonlocal answered
        for _ in range(5):
            try:
                hold = await admission.admit(bounds, estimate(need=PRICE, full=3 * PRICE), caller="a")
            except BudgetExceeded:
                continue
            await asyncio.sleep(0.001)
            seq = real_world.instances[0].numbers.last_seq = real_world.instances[0].numbers.last_seq + 1
            admission.settle(
                hold,
                [("key", "k1", "")],
                model_group="gpt",
                started_at=real_world.clock.now(),
                seq=seq,
                cost_nano_usd=PRICE,
            )
            answered += 1

    await asyncio.gather(*(caller() for _ in range(64)))
    assert answered == 50


async def test_a_call_of_which_nothing_is_known_takes_all_that_is_left(world):
    admission = admission_of(world.instances[0], world)
    bounds = bounds_of(admission, world, budget(limit=10 * PRICE))
    hold = await admission.admit(bounds, estimate(1_000 * PRICE, takes_the_rest=True), caller="a")
    assert hold.nano_usd == 10 * PRICE


async def test_a_call_whose_wait_is_over_takes_what_has_just_come_back(world, clock):
    admission = admission_of(world.instances[0], world, wait_seconds=5.0)
    bounds = bounds_of(admission, world, budget(limit=10 * PRICE))
    unknown = estimate(1_000 * PRICE, takes_the_rest=True)
    first = await admission.admit(bounds, unknown, caller="a")
    second = asyncio.ensure_future(admission.admit(bounds, unknown, caller="a"))
    while not bounds[0].account.waiters:
        await asyncio.sleep(0)
    clock.advance(6.0)
    world.instances[0].numbers.last_seq = 1
    admission.settle(first, [("key", "k1", "")], model_group="gpt", started_at=clock.now(), seq=1, cost_nano_usd=PRICE)
    assert (await asyncio.wait_for(second, 5)).nano_usd == 9 * PRICE


async def test_near_the_limit_a_call_takes_what_is_free_and_at_least_what_it_needs(world):
    admission = admission_of(world.instances[0], world)
    bounds = bounds_of(admission, world, budget(limit=10 * PRICE))
    hold = await admission.admit(bounds, estimate(need=PRICE, full=100 * PRICE), caller="a")
    assert PRICE <= hold.nano_usd <= 10 * PRICE


async def test_without_a_database_what_is_leased_may_be_spent_and_then_nothing_can_be_told(world):
    one = world.instances[0]
    admission = admission_of(one, world)
    bounds = bounds_of(admission, world, budget(limit=100 * PRICE))
    holds = [await admission.admit(bounds, estimate(), caller="a")]
    one.store.is_away = True
    while (hold := admission.try_admit(bounds, estimate())) is not None:
        holds.append(hold)
    assert len(holds) > 1
    with pytest.raises(BudgetUnknown):
        await admission.admit(bounds, estimate(), caller="a")


async def test_without_a_database_calls_may_be_let_through(world):
    one = world.instances[0]
    admission = admission_of(one, world, admits_unknown=True)
    one.store.is_away = True
    hold = await admission.admit(bounds_of(admission, world, budget()), estimate(), caller="a")
    assert hold.accounts == ()


async def test_a_lease_past_its_time_is_asked_for_again(world):
    one = world.instances[0]
    admission = admission_of(one, world)
    bounds = bounds_of(admission, world, budget(limit=100 * PRICE))
    admission.cancel(await admission.admit(bounds, estimate(), caller="a"))
    world.clock.advance(19)
    assert admission.try_admit(bounds, estimate()) is None
    assert await admission.admit(bounds, estimate(), caller="a")


async def test_what_one_instance_has_leased_goes_to_another_that_wants_it(world):
    one, other = world.instances
    first, second = admission_of(one, world), admission_of(other, world)
    limit = budget(limit=4 * PRICE)
    bounds = bounds_of(first, world, limit)
    first.cancel(await first.admit(bounds, estimate(need=PRICE, full=4 * PRICE), caller="a"))
    others = bounds_of(second, world, limit)
    await denial(second, others, estimate(4 * PRICE))
    await world.tick(one)
    world.clock.advance(1)
    assert (await second.admit(others, estimate(4 * PRICE), caller="a")).nano_usd == 4 * PRICE


async def test_a_window_that_has_ended_is_followed_by_the_next(world):
    admission = admission_of(world.instances[0], world)
    daily = budget(limit=PRICE, duration="1d")
    bounds = bounds_of(admission, world, daily)
    await admission.admit(bounds, estimate(), caller="a")
    await denial(admission, bounds_of(admission, world, daily), estimate())
    world.clock.advance(86_400)
    assert await admission.admit(bounds_of(admission, world, daily), estimate(), caller="a")


async def test_a_call_that_lacks_more_than_it_needs_does_not_ask_without_a_pause():
    """What calls cost beyond their holds is lacking too: there is room for the need, and not for both."""
    clock, ledger = SystemClock(), MemoryStore()
    world = World(ledger, MemoryBudgetStore(store=ledger, clock=clock), clock)
    one, other = world.instances[:2]
    limit = budget(limit=10 * PRICE)
    admission = admission_of(one, world, wait_seconds=0.3)
    bounds = bounds_of(admission, world, limit)
    hold = await admission.admit(bounds, estimate(2 * PRICE), caller="a")
    one.numbers.last_seq = 1
    admission.settle(
        hold,
        [("key", "k1", "")],
        model_group="gpt",
        started_at=clock.now(),
        seq=1,
        cost_nano_usd=35 * PRICE // 10,
    )
    others = admission_of(other, world)
    assert await others.admit(bounds_of(others, world, limit), estimate(3 * PRICE), caller="b")
    asked = one.store.statements
    await denial(admission, bounds, estimate(4 * PRICE))
    assert 1 <= one.store.statements - asked <= 10
