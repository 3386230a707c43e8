"""Which limits hold for one call: its key's, and those of all that it names."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from gated_store import NOW, GatedControlStore, held, team_member
from tallystick.access.call_limits import CallLimits
from tallystick.access.limits import Limits
from tallystick.access.principal import Principal, master_principal, principal_of
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.access.scopes import Budget, Scope
from tallystick.config.settings import BudgetSettings, ProviderBudget
from tallystick.control.feed import ChangeFeed
from tallystick.control.live_settings import LiveSettings
from tallystick.control.objects import Kind, ObjectRef, member_id
from tallystick.errors import BudgetUnknown
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock

USD = 10**9
OWN = ScopedLimits(scope=Scope("key", "h"), budgets=(Budget(scope=Scope("key", "h"), limit_nano_usd=1, duration="1d"),))
KEY = Principal(key_hash="h", limits=(OWN,))
TEAM_KEY = Principal(key_hash="h", team_id="t", limits=(OWN,))


class Bench:
    def __init__(self, *, cache_max=100, **settings):
        self.clock = FakeClock(NOW)
        self.store = CountingStore(clock=self.clock)
        self.metrics = Metrics()
        self.live = LiveSettings()
        self.limits = CallLimits(
            self.store,
            settings=BudgetSettings(**settings),
            live=lambda: self.live,
            clock=self.clock,
            metrics=self.metrics,
            cache_max=cache_max,
        )
        self.feed = ChangeFeed(self.store, (self.limits,), clock=self.clock, metrics=self.metrics)

    async def put(self, *objects):
        await self.feed.catch_up(await self.store.put(*objects))

    async def amounts(self, principal=KEY, **named):
        """Look up, and see that what is known afterwards is the same."""
        found = await self.limits.find(principal, **named)
        assert self.limits.known(principal, **named) == found
        return amounts_of(found[len(principal.limits) :])


def amounts_of(limits):
    return {each.scope: [(of.limit_nano_usd, of.duration) for of in each.budgets] for each in limits}


def customer(object_id, budget_id="", **fields):
    return held(Kind.CUSTOMER, object_id, budget_id=budget_id, **fields)


def budget(object_id, amount, duration=""):
    spec = {"limits": {"max_budget_nano_usd": amount, "budget_duration": duration}}
    return held(Kind.BUDGET, object_id, spec=spec)


def user(object_id, **limits):
    return held(Kind.USER, object_id, spec={"limits": limits})


def organization_member(organization_id, user_id, budget_id="", **spec):
    return held(
        Kind.ORGANIZATION_MEMBER,
        member_id(organization_id, user_id),
        organization_id=organization_id,
        user_id=user_id,
        budget_id=budget_id,
        spec={"role": "internal_user", **spec},
    )


class CountingStore(GatedControlStore):
    """Counts the reads of rows."""

    reads = 0

    async def find_many(self, refs):
        self.reads += 1
        return await super().find_many(refs)


@pytest.fixture
def bench():
    with capture_logs():
        yield Bench()


async def test_a_call_that_adds_nothing_gets_the_principal_s_own_tuple(bench):
    await bench.feed.poll()
    assert bench.limits.known(KEY) is KEY.limits
    named = {"end_user_id": "e", "tags": ("a", "b"), "session_id": "s"}
    assert bench.limits.known(KEY, **named) is KEY.limits
    with_user = Principal(key_hash="h", user_id="u")
    assert bench.limits.known(with_user, user_id="u", **named) is with_user.limits


async def test_what_a_call_names_limits_it():
    bench = Bench(max_budget=Decimal(100), duration="30d", max_budget_per_session=Decimal("0.5"))
    await bench.put(
        customer("e", "b"),
        budget("b", 5, "1d"),
        held(Kind.TAG, "a", budget_id="c"),
        budget("c", 6),
        held(Kind.TAG, "n"),
    )
    await bench.put(user("u", max_budget_nano_usd=7))
    named = {"end_user_id": "e", "tags": ("a", "n", "unknown"), "session_id": "s", "user_id": "u"}
    assert bench.limits.known(KEY, **named) is None
    assert await bench.amounts(**named) == {
        Scope("personal", "u"): [(7, "")],
        Scope("end_user", "e"): [(5, "1d")],
        Scope("tag", "a"): [(6, "")],
        Scope("session", "s", "h"): [(USD // 2, "")],
        Scope("global"): [(100 * USD, "30d")],
    }


async def test_the_master_key_is_under_the_global_budget_too():
    bench = Bench(max_budget=Decimal("0.1"))
    assert await bench.amounts(master_principal()) == {Scope("global"): [(USD // 10, "")]}
    assert Bench(max_budget=Decimal(0)).limits.known(KEY) is KEY.limits


async def test_a_session_has_the_budget_of_its_key_or_else_of_the_settings():
    bench = Bench(max_budget_per_session=Decimal(1))
    own = Principal(key_hash="k", session_budget_nano_usd=0)
    assert await bench.amounts(own, session_id="s") == {Scope("session", "s", "k"): [(0, "")]}
    assert await bench.amounts(session_id="s") == {Scope("session", "s", "h"): [(USD, "")]}
    assert await bench.amounts() == {}


async def test_an_end_user_who_has_no_budget_has_the_default_one_also_when_never_seen():
    bench = Bench(max_end_user_budget_id="free", max_end_user_budget=Decimal(1))
    await bench.put(budget("free", 3, "1d"), customer("poor"), customer("rich", "b"), budget("b", 9))
    assert await bench.amounts(end_user_id="never seen") == {Scope("end_user", "never seen"): [(3, "1d")]}
    assert await bench.amounts(end_user_id="poor") == {Scope("end_user", "poor"): [(3, "1d")]}
    assert await bench.amounts(end_user_id="rich") == {Scope("end_user", "rich"): [(9, "")]}
    await bench.put(budget("free", 4))
    assert await bench.amounts(end_user_id="never seen") == {Scope("end_user", "never seen"): [(4, "")]}
    await bench.feed.catch_up(await bench.store.remove(ObjectRef(Kind.BUDGET, "free")))
    assert await bench.amounts(end_user_id="poor") == {Scope("end_user", "poor"): [(USD, "")]}


async def test_without_customers_the_default_needs_no_look_up():
    bench = Bench(max_end_user_budget=Decimal(1))
    await bench.feed.poll()
    bench.store.away = True
    assert amounts_of(bench.limits.known(KEY, end_user_id="e")[1:]) == {Scope("end_user", "e"): [(USD, "")]}


async def test_a_default_budget_that_does_not_exist_is_told():
    with capture_logs() as logs:
        bench = Bench(max_end_user_budget_id="fre")
        await bench.feed.poll()
    assert [each["budget_id"] for each in logs if each["event"] == "end_user_budget_missing"] == ["fre"]
    assert await bench.amounts(end_user_id="e") == {}


async def test_64_parallel_first_calls_of_an_end_user_get_the_same_limits():
    bench = Bench(max_end_user_budget=Decimal(1))
    await bench.put(customer("somebody else"))
    found = await asyncio.gather(*(bench.limits.find(KEY, end_user_id="new") for _ in range(64)))
    assert {each[-1].scope for each in found} == {Scope("end_user", "new")}
    assert {id(each[-1]) for each in found} == {id(found[0][-1])}
    assert 'limit_lookups_total{kind="customer"} 1.0' in bench.metrics.render().decode()


async def test_corrections_and_rates_of_what_is_named_hold(bench):
    rates = held(Kind.BUDGET, "b", spec={"limits": {"max_budget_nano_usd": 5, "rpm_limit": 2}})
    await bench.put(customer("e", "b", spec={"spend_adjustment_nano_usd": -4}), rates)
    (limits,) = (await bench.limits.find(Principal(key_hash="h"), end_user_id="e"))[-1:]
    assert limits.budgets[0].corrections[0].nano_usd == -4
    assert limits.rates.requests_per_minute == 2


async def test_a_user_in_a_header_counts_only_where_the_key_has_none(bench):
    await bench.put(user("u", max_budget_nano_usd=7, rpm_limit=1))
    of_another = Principal(key_hash="h", user_id="another")
    assert await bench.amounts(of_another, user_id="u") == {}
    assert await bench.amounts(TEAM_KEY, user_id="u") == {Scope("user", "u"): []}
    assert await bench.amounts(user_id="u") == {Scope("user", "u"): [], Scope("personal", "u"): [(7, "")]}
    everywhere = Bench(applies_user_budget_to_team_keys=True)
    await everywhere.put(user("u", max_budget_nano_usd=7))
    assert await everywhere.amounts(TEAM_KEY, user_id="u") == {Scope("user", "u"): [(7, "")]}


async def test_a_user_in_a_header_has_the_limits_of_its_memberships(bench):
    key = Principal(key_hash="h", team_id="t", organization_id="o", limits=(OWN,))
    await bench.put(
        team_member("t", "u", limits={"max_budget_nano_usd": 3, "rpm_limit": 2}, spend_adjustment_nano_usd=-1),
        team_member("t", "another", limits={"max_budget_nano_usd": 9}),
        organization_member("o", "u", "b"),
        budget("b", 5, "1d"),
        team_member("elsewhere", "u", limits={"max_budget_nano_usd": 8}),
    )
    of_both = {Scope("team_member", "t", "u"): [(3, "")], Scope("organization_member", "o", "u"): [(5, "1d")]}
    assert bench.limits.known(key, user_id="u") is None
    assert await bench.amounts(key, user_id="u") == of_both
    (member, _) = bench.limits.known(key, user_id="u")[1:]
    assert (member.rates.requests_per_minute, member.budgets[0].corrections[0].nano_usd) == (2, -1)
    assert await bench.amounts(user_id="u") == {}
    assert await bench.amounts(key, user_id="nobody") == {}
    of_a_user = Principal(key_hash="h", team_id="t", organization_id="o", user_id="another", limits=(OWN,))
    assert bench.limits.known(of_a_user, user_id="u") is of_a_user.limits


async def test_a_member_in_a_header_is_limited_as_by_its_own_key(bench):
    team = held(
        Kind.TEAM,
        "t",
        organization_id="o",
        spec={"member_limits": {"max_budget_nano_usd": 4, "budget_duration": "1d", "tpm_limit": 6}},
    )
    rows = {
        "plain": team_member("t", "plain", spend_adjustment_nano_usd=2),
        "own": team_member("t", "own", limits={"max_budget_nano_usd": 3}),
        "row": held(
            Kind.TEAM_MEMBER, member_id("t", "row"), team_id="t", user_id="row", budget_id="b", spec={"role": "user"}
        ),
    }
    shared, organization = budget("b", 5), held(Kind.ORGANIZATION, "o")
    await bench.put(team, shared, organization, *rows.values())
    without_user = principal_of((held(Kind.KEY, "h", team_id="t"), team, organization))
    for user_id, row in rows.items():
        key = held(Kind.KEY, "h", team_id="t", user_id=user_id)
        of_key = principal_of((key, team, organization, row, *((shared,) if row.budget_id else ())))
        assert await bench.limits.find(without_user, user_id=user_id) == of_key.limits
        assert of_key.limits[-1].scope == Scope("team_member", "t", user_id)
    assert await bench.amounts(without_user, user_id="never seen") == {
        Scope("team_member", "t", "never seen"): [(4, "1d")]
    }


async def test_the_limits_of_members_in_headers_follow_what_admins_change(bench):
    key = Principal(key_hash="h", team_id="t", organization_id="o", limits=(OWN,))
    of_team, of_organization = Scope("team_member", "t", "u"), Scope("organization_member", "o", "u")
    await bench.put(team_member("t", "u"), organization_member("o", "u"))
    assert await bench.amounts(key, user_id="u") == {}
    await bench.put(team_member("t", "u", limits={"max_budget_nano_usd": 3}))
    assert await bench.amounts(key, user_id="u") == {of_team: [(3, "")]}
    await bench.put(organization_member("o", "u", "b"), budget("b", 5))
    assert await bench.amounts(key, user_id="u") == {of_team: [(3, "")], of_organization: [(5, "")]}
    await bench.put(budget("b", 6))
    assert (await bench.amounts(key, user_id="u"))[of_organization] == [(6, "")]
    # A change of the team's default comes with the principal.
    await bench.feed.catch_up(await bench.store.remove(ObjectRef(Kind.TEAM_MEMBER, member_id("t", "u"))))
    for amount in (7, 8):
        with_default = Principal(
            key_hash="h",
            team_id="t",
            organization_id="o",
            limits=(OWN,),
            member_limits=Limits(max_budget_nano_usd=amount),
        )
        assert (await bench.amounts(with_default, user_id="u"))[of_team] == [(amount, "")]


async def test_where_there_are_no_members_none_is_read(bench):
    key = Principal(key_hash="h", team_id="t", organization_id="o", limits=(OWN,))
    await bench.feed.poll()
    bench.store.away, bench.store.reads = True, 0
    assert bench.limits.known(key, user_id="u") == key.limits
    with_default = Principal(key_hash="h", team_id="t", member_limits=Limits(rpm_limit=1))
    (member,) = bench.limits.known(with_default, user_id="u")
    assert (member.scope, member.rates.requests_per_minute) == (Scope("team_member", "t", "u"), 1)
    assert bench.store.reads == 0


async def test_while_the_database_is_away_a_member_in_a_header_has_the_team_s_default(bench):
    key = Principal(key_hash="h", team_id="t", organization_id="o", member_limits=Limits(max_budget_nano_usd=4))
    closed = Bench(is_fail_closed=True)
    for each in (bench, closed):
        await each.put(team_member("t", "x"), organization_member("o", "x"))
        each.store.away = True
    found = await bench.limits.find(key, user_id="u")
    assert amounts_of(found) == {Scope("team_member", "t", "u"): [(4, "")]}
    with pytest.raises(BudgetUnknown, match="Try again"):
        await closed.limits.find(key, user_id="u")


async def test_while_the_database_is_away_the_known_holds_and_the_unknown_has_the_default():
    bench = Bench(max_end_user_budget=Decimal(1))
    await bench.put(
        customer("known", "b"), customer("unknown", "b"), budget("b", 5), held(Kind.TAG, "a", budget_id="b")
    )
    await bench.amounts(end_user_id="known")
    bench.store.away = True
    assert await bench.amounts(end_user_id="known") == {Scope("end_user", "known"): [(5, "")]}
    found = await bench.limits.find(KEY, end_user_id="unknown", tags=("a",))
    assert amounts_of(found[1:]) == {Scope("end_user", "unknown"): [(USD, "")]}
    assert bench.limits.known(KEY, end_user_id="unknown") is None
    bench.store.away = False
    bench.clock.advance(1.0)
    assert await bench.amounts(end_user_id="unknown") == {Scope("end_user", "unknown"): [(5, "")]}


@pytest.mark.parametrize("named", [{"end_user_id": "e"}, {"tags": ("a",)}, {"user_id": "u"}], ids=str)
async def test_enforcement_that_fails_closed_refuses_what_can_t_be_told(named):
    bench = Bench(is_fail_closed=True)
    await bench.put(customer("x"), held(Kind.TAG, "x"), user("x"))
    bench.store.away = True
    with pytest.raises(BudgetUnknown, match="Try again"):
        await bench.limits.find(KEY, **named)
    assert bench.limits.known(KEY) is KEY.limits


async def test_before_the_default_budget_was_read_it_can_t_be_told():
    closed = Bench(is_fail_closed=True, max_end_user_budget_id="free")
    open_ = Bench(max_end_user_budget_id="free", max_end_user_budget=Decimal(1))
    for bench in (closed, open_):
        bench.store.away = True
        await bench.feed.poll()
        assert bench.limits.known(KEY, end_user_id="e") is None
    with pytest.raises(BudgetUnknown):
        await closed.limits.find(KEY, end_user_id="e")
    found = await open_.limits.find(KEY, end_user_id="e")
    assert amounts_of(found[1:]) == {Scope("end_user", "e"): [(USD, "")]}
    for bench in (closed, open_):
        bench.store.away = False
        await bench.put(budget("free", 3))
        assert await bench.amounts(end_user_id="e") == {Scope("end_user", "e"): [(3, "")]}


async def test_budgets_of_providers():
    day = ProviderBudget(budget_limit=Decimal("0.3"), time_period="1d")
    bench = Bench(provider_budgets={"openai": day, "azure": ProviderBudget(budget_limit=Decimal(7))})
    (of_openai,) = bench.limits.of_provider("openai")
    assert of_openai == Budget(scope=Scope("provider", "openai"), limit_nano_usd=3 * USD // 10, duration="1d")
    assert bench.limits.of_provider("demo") == ()
    bench.live = LiveSettings(budget_rollover=True)
    assert bench.limits.of_provider("openai")[0].rolls_over
    assert not bench.limits.of_provider("azure")[0].rolls_over


async def test_with_rollover_budgets_that_reset_carry_what_was_too_much():
    bench = Bench(max_budget=Decimal(1), duration="30d", max_budget_per_session=Decimal(1))
    await bench.feed.poll()
    assert not any(each.budgets[0].rolls_over for each in bench.limits.known(KEY, session_id="s"))
    bench.live = LiveSettings(budget_rollover=True)
    found = bench.limits.known(KEY, session_id="s")
    assert [(each.scope.type, each.budgets[0].rolls_over) for each in found] == [
        ("key", True),
        ("session", False),
        ("global", True),
    ]
    again = bench.limits.known(KEY, session_id="s")
    assert (again[0] is found[0], again[2] is found[2]) == (True, True)


async def test_the_limits_of_a_call_are_the_same_objects_call_after_call():
    """Admission and the rate limiter keep what they made of them by identity: each new object is one more entry."""
    day = ProviderBudget(budget_limit=Decimal(1), time_period="1d")
    bench = Bench(
        max_budget=Decimal(9),
        duration="30d",
        max_budget_per_session=Decimal(1),
        max_end_user_budget=Decimal(2),
        provider_budgets={"openai": day},
    )
    await bench.put(user("u", max_budget_nano_usd=7), team_member("t", "x"), organization_member("o", "u", "b"))
    await bench.put(held(Kind.TAG, "a", budget_id="b"), budget("b", 5, "1d"), customer("somebody else"))
    key = Principal(
        key_hash="h",
        team_id="t",
        organization_id="o",
        limits=(OWN,),
        member_limits=Limits(max_budget_nano_usd=4, budget_duration="1d"),
    )
    named = {"user_id": "u", "end_user_id": "e", "tags": ("a",), "session_id": "s"}
    for rolls_over in (False, True):
        bench.live = LiveSettings(budget_rollover=rolls_over)
        first = await bench.limits.find(key, **named)
        assert len(first) == 7
        for again in (bench.limits.known(key, **named), await bench.limits.find(key, **named)):
            assert [id(each) for each in again] == [id(each) for each in first]
        (of_provider,) = bench.limits.of_provider("openai")
        assert bench.limits.of_provider("openai")[0] is of_provider


async def test_the_same_session_of_another_key_or_amount_has_a_budget_of_its_own():
    bench = Bench(max_budget_per_session=Decimal(1))
    (first,) = bench.limits.known(Principal(key_hash="k"), session_id="s")
    for other in (Principal(key_hash="k2"), Principal(key_hash="k", session_budget_nano_usd=5)):
        (found,) = bench.limits.known(other, session_id="s")
        assert found != first
    assert bench.limits.known(Principal(key_hash="k"), session_id="s")[0] is first


async def test_what_is_kept_of_sessions_is_bounded():
    bench = Bench(max_budget_per_session=Decimal(1))
    key = Principal(key_hash="k")
    (first,) = bench.limits.known(key, session_id="first")
    for number in range(9_999):
        bench.limits.known(key, session_id=f"s{number}")
    assert bench.limits.known(key, session_id="first")[0] is first
    for number in range(10_000):
        bench.limits.known(key, session_id=f"t{number}")
    # An object that is still held here can't have its identity taken by another.
    assert bench.limits.known(key, session_id="first")[0] is not first


async def test_what_rolls_over_stays_the_same_object_while_it_is_used():
    bench = Bench(cache_max=3)
    bench.live = LiveSettings(budget_rollover=True)
    await bench.feed.poll()
    (first,) = bench.limits.known(KEY)
    for number in range(5):
        scope = Scope("key", str(number))
        other = ScopedLimits(scope=scope, budgets=(Budget(scope=scope, limit_nano_usd=1, duration="1d"),))
        bench.limits.known(Principal(key_hash=str(number), limits=(other,)))
        assert bench.limits.known(KEY)[0] is first


async def test_while_the_database_is_away_what_is_unknown_has_the_same_default_call_after_call():
    bench = Bench(max_end_user_budget=Decimal(1))
    await bench.put(customer("x"), held(Kind.TAG, "a", budget_id="b"), budget("b", 5))
    await bench.limits.find(KEY, tags=("a",))
    bench.store.away = True
    named = {"end_user_id": "e", "tags": ("a", "unknown")}
    first, second = [(await bench.limits.find(KEY, **named))[1:] for _ in range(2)]
    # What is known holds, also beside what is not.
    assert amounts_of(first) == {Scope("end_user", "e"): [(USD, "")], Scope("tag", "a"): [(5, "")]}
    assert [id(each) for each in second] == [id(each) for each in first]


async def test_a_default_that_changes_while_the_database_is_away_is_the_new_one():
    bench = Bench(max_end_user_budget_id="free")
    await bench.put(customer("x"), budget("free", 3))
    amounts = []
    for amount in (4, 5):
        await bench.put(budget("free", amount))
        bench.store.away = True
        found = await bench.limits.find(KEY, end_user_id="e")
        amounts += amounts_of(found[1:])[Scope("end_user", "e")]
        bench.store.away = False
        bench.clock.advance(1.0)
    assert amounts == [(4, ""), (5, "")]
