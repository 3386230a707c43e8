"""Which limits hold for every call of a key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from gated_store import GatedControlStore, held, team_member
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import hash_key
from tallystick.access.principal import principal_of
from tallystick.access.scoped_limits import RateLimits
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Budget, Correction, Scope
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind, ObjectRef, member_id
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def key(**spec):
    return held(Kind.KEY, "h", team_id="t", user_id="u", spec=spec)


def lone_key(**spec):
    return held(Kind.KEY, "h", user_id="u", spec=spec)


def budget_row(object_id, **limits):
    return held(Kind.BUDGET, object_id, spec={"limits": limits})


def limits_by_scope(*found, **options):
    return {each.scope: each for each in principal_of(found, **options).limits}


def amounts(*found, **options):
    return {
        scope: [(each.limit_nano_usd, each.duration) for each in limits.budgets]
        for scope, limits in limits_by_scope(*found, **options).items()
    }


def organization_member(**fields):
    return held(Kind.ORGANIZATION_MEMBER, member_id("o", "u"), organization_id="o", user_id="u", **fields)


def test_all_that_a_key_belongs_to_limits_it():
    limited = {"limits": {"max_budget_nano_usd": 1, "budget_duration": "1d"}}
    found = (
        key(limits={"max_budget_nano_usd": 2}),
        held(Kind.TEAM, "t", organization_id="o", spec=limited),
        team_member("t", "u", limits={"max_budget_nano_usd": 3}),
        held(Kind.USER, "u", spec={"limits": {"max_budget_nano_usd": 4}}),
        held(Kind.ORGANIZATION, "o", budget_id="b"),
        organization_member(spec={"role": "internal_user", "limits": {"max_budget_nano_usd": 5}}),
        budget_row("b", max_budget_nano_usd=6, budget_duration="30d"),
    )
    assert amounts(*found) == {
        Scope("key", "h"): [(2, "")],
        Scope("team", "t"): [(1, "1d")],
        Scope("team_member", "t", "u"): [(3, "")],
        Scope("organization", "o"): [(6, "30d")],
        Scope("organization_member", "o", "u"): [(5, "")],
    }
    everywhere = amounts(*found, user_budget_holds_in_teams=True)
    assert everywhere[Scope("user", "u")] == [(4, "")]
    assert len(everywhere) == 6


def test_a_key_without_limits_has_none():
    assert principal_of((key(), held(Kind.TEAM, "t"), team_member("t", "u"), held(Kind.USER, "u"))).limits == ()


def test_a_user_s_budget_is_personal_and_its_rates_hold_everywhere():
    user = held(Kind.USER, "u", spec={"limits": {"max_budget_nano_usd": 4, "rpm_limit": 9}})
    alone = limits_by_scope(lone_key(), user)
    assert alone.keys() == {Scope("user", "u"), Scope("personal", "u")}
    assert alone[Scope("user", "u")].rates == RateLimits(requests_per_minute=9)
    assert alone[Scope("user", "u")].budgets == ()
    assert alone[Scope("personal", "u")].rates is None
    assert alone[Scope("personal", "u")].budgets == (Budget(scope=Scope("personal", "u"), limit_nano_usd=4),)
    in_team = limits_by_scope(key(), held(Kind.TEAM, "t"), user)
    assert in_team.keys() == {Scope("user", "u")}
    whole = limits_by_scope(lone_key(), user, user_budget_holds_in_teams=True)
    assert whole.keys() == {Scope("user", "u")}
    assert len(whole[Scope("user", "u")].budgets) == 1


def test_a_regenerated_key_keeps_its_scope_and_counts_under_all_its_hashes():
    (limits,) = principal_of((lone_key(limits={"max_budget_nano_usd": 2}, prior_hashes=["first", "second"]),)).limits
    assert limits.scope == Scope("key", "first")
    assert limits.budgets[0].entity_ids == ("second", "h")


def test_each_refers_to_its_own_row_of_several():
    found = (
        held(Kind.KEY, "h", team_id="t", user_id="u", budget_id="b1", spec={"limits": {"max_budget_nano_usd": 2}}),
        held(Kind.TEAM, "t", budget_id="b2", organization_id="o"),
        held(Kind.TEAM_MEMBER, member_id("t", "u"), team_id="t", user_id="u", budget_id="b3", spec={"role": "user"}),
        held(Kind.ORGANIZATION, "o", budget_id="b2"),
        organization_member(budget_id="b4", spec={"role": "internal_user"}),
        budget_row("b2", max_budget_nano_usd=20),
        budget_row("b1", max_budget_nano_usd=10, budget_duration="1d"),
        budget_row("b3", max_budget_nano_usd=30),
    )
    assert amounts(*found) == {
        Scope("key", "h"): [(2, "1d")],
        Scope("team", "t"): [(20, "")],
        Scope("team_member", "t", "u"): [(30, "")],
        Scope("organization", "o"): [(20, "")],
    }


@pytest.mark.parametrize(
    ("own", "row", "expected"),
    [
        ({}, {}, (9, "30d")),
        ({}, {"max_budget_nano_usd": 8, "budget_duration": "1d"}, (8, "1d")),
        ({"max_budget_nano_usd": 7}, {"max_budget_nano_usd": 8, "budget_duration": "1d"}, (7, "1d")),
        ({"max_budget_nano_usd": 7}, {}, (7, "")),
    ],
)
def test_a_member_has_its_own_limits_else_its_row_s_else_the_team_s_for_members(own, row, expected):
    defaults = {"max_budget_nano_usd": 9, "budget_duration": "30d"}
    member = held(
        Kind.TEAM_MEMBER,
        member_id("t", "u"),
        team_id="t",
        user_id="u",
        budget_id="b",
        spec={"role": "user", "limits": own},
    )
    found = (key(), held(Kind.TEAM, "t", spec={"member_limits": defaults}), member, budget_row("b", **row))
    assert amounts(*found) == {Scope("team_member", "t", "u"): [expected]}


def test_the_team_s_limits_for_members_hold_for_users_only():
    team = held(Kind.TEAM, "t", spec={"member_limits": {"max_budget_nano_usd": 9}})
    assert amounts(key(), team) == {Scope("team_member", "t", "u"): [(9, "")]}
    assert amounts(held(Kind.KEY, "h", team_id="t"), team) == {}


def test_corrections_of_the_whole_life_and_of_windows_go_with_the_budget():
    window = {"starts_at": "2026-05-01T00:00:00Z", "ends_at": "2026-05-02T00:00:00Z", "nano_usd": -4}
    spec = {"limits": {"max_budget_nano_usd": 2}, "spend_adjustment_nano_usd": -3, "spend_corrections": [window]}
    (limits,) = principal_of((lone_key(**spec),)).limits
    assert limits.budgets[0].corrections == (
        Correction(starts_at=LIFETIME_START, ends_at=LIFETIME_END, nano_usd=-3),
        Correction(starts_at=NOW, ends_at=NOW.replace(day=2), nano_usd=-4),
    )


def test_what_a_session_may_cost_stands_in_the_metadata_of_the_key_or_of_its_team():
    team = held(Kind.TEAM, "t", spec={"metadata": {"max_budget_per_session": 2}})
    assert principal_of((key(), team)).session_budget_nano_usd == 2 * 10**9
    own = key(metadata={"max_budget_per_session": "0.5"})
    assert principal_of((own, team)).session_budget_nano_usd == 5 * 10**8
    assert principal_of((lone_key(),)).session_budget_nano_usd is None
    with capture_logs() as logs:
        assert principal_of((key(metadata={"max_budget_per_session": "much"}), team)).session_budget_nano_usd is None
    assert [each["event"] for each in logs] == ["limit_unreadable"]


def test_it_depends_on_the_rows_that_are_not_there_yet():
    found = (held(Kind.KEY, "h", team_id="t", user_id="u", budget_id="b"), held(Kind.TEAM, "t", organization_id="o"))
    assert set(principal_of(found).depends_on) == {
        ObjectRef(Kind.KEY, "h"),
        ObjectRef(Kind.TEAM, "t"),
        ObjectRef(Kind.USER, "u"),
        ObjectRef(Kind.ORGANIZATION, "o"),
        ObjectRef(Kind.TEAM_MEMBER, member_id("t", "u")),
        ObjectRef(Kind.ORGANIZATION_MEMBER, member_id("o", "u")),
        ObjectRef(Kind.BUDGET, "b"),
    }


@pytest.mark.parametrize("kind", ["budget", "organization_member"])
async def test_a_change_of_what_limits_a_cached_key_is_in_force_at_once(kind):
    clock, token = FakeClock(NOW), "sk-a-key-of-this-test"
    store, metrics = GatedControlStore(clock=clock), Metrics()
    authenticator = Authenticator(store, master_key_hash="x", clock=clock, metrics=metrics)
    feed = ChangeFeed(store, (authenticator,), clock=clock, metrics=metrics)
    row = held(Kind.KEY, hash_key(token), organization_id="o", user_id="u", budget_id="b")
    await store.put(row, held(Kind.ORGANIZATION, "o"))
    await feed.poll()
    assert (await authenticator.authenticate(token)).limits == ()
    limited = {"max_budget_nano_usd": 5}
    rows = {
        "budget": budget_row("b", **limited),
        "organization_member": organization_member(spec={"role": "internal_user", "limits": limited}),
    }
    await feed.catch_up(await store.put(rows[kind]))
    (limits,) = (await authenticator.authenticate(token)).limits
    assert limits.budgets[0].limit_nano_usd == 5


async def test_what_is_stored_and_can_t_be_read_is_told_once():
    clock, token = FakeClock(NOW), "sk-a-key-of-this-test"
    store = GatedControlStore(clock=clock)
    authenticator = Authenticator(store, master_key_hash="x", clock=clock, metrics=Metrics())
    await store.put(held(Kind.KEY, hash_key(token), spec={"limits": {"model_max_budget": {"m": "much"}}}))
    with capture_logs() as logs:
        for _ in range(3):
            await authenticator.authenticate(token)
    assert [each["event"] for each in logs] == ["limit_unreadable"]
