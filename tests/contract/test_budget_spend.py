"""What objects show as spent beside their budgets, and what admins make of it."""

from __future__ import annotations

import pytest

from budget_kit import lease
from contract.office import Office
from tallystick.access.customers import CustomerSpec
from tallystick.access.keys import KeySpec
from tallystick.access.scoped_limits import corrections_of
from tallystick.access.scopes import Budget, Scope, Window
from tallystick.access.teams import MemberSpec
from tallystick.access.users import UserSpec
from tallystick.control.objects import Kind, spec_as

USD = 10**9
DAY = 86_400


@pytest.fixture
def office():
    return Office()


async def key_info(office, token):
    answer = await office.client.request("GET", "/key/info", query={"key": token})
    assert answer.status == 200, answer.body
    return answer.json()["info"]


async def team_info(office, team_id):
    return await office.good("GET", "/team/info", team_id=team_id)


async def make_key(office, **body):
    return (await office.good("POST", "/key/generate", body))["token"]


async def enforced(office, held_kind, object_id, scope, duration=""):
    """Return what admission takes as spent in the window that runs: events and corrections."""
    held = await office.find(held_kind, object_id)
    of = {Kind.KEY: KeySpec, Kind.USER: UserSpec, Kind.CUSTOMER: CustomerSpec}.get(held_kind, MemberSpec)
    spec = spec_as(of, held.spec)
    window = office.services.windows.window_of(scope, duration, office.clock.now())
    budget = Budget(
        scope=scope,
        limit_nano_usd=0,
        corrections=corrections_of(spec.spend_adjustment_nano_usd, spec.spend_corrections),
    )
    (held_sum,) = await office.budgets.sums([(window, getattr(spec, "prior_hashes", ()))])
    return (held_sum.spent_nano_usd + budget.correction_of(window)) / USD


async def test_a_key_shows_the_window_that_runs_and_its_whole_life_without_one(office):
    token = await make_key(office, max_budget=10, budget_duration="1d")
    await office.spend(3 * USD, key_hash=token)
    assert (await key_info(office, token))["spend"] == 3.0
    office.clock.advance(DAY)
    assert (await key_info(office, token))["spend"] == 0.0
    await office.spend(USD, key_hash=token)
    shown = await key_info(office, token)
    assert (shown["spend"], shown["budget_reset_at"]) == (1.0, "2026-01-07T00:00:00+00:00")
    await office.good("POST", "/key/update", {"key": token, "budget_duration": None})
    assert (await key_info(office, token))["spend"] == 4.0


async def test_several_windows_show_each_their_own_spend(office):
    limits = [{"budget_duration": "1d", "max_budget": 2}, {"budget_duration": "30d", "max_budget": 20}]
    token = await make_key(office, max_budget=100, budget_limits=limits)
    await office.spend(3 * USD, key_hash=token)
    office.clock.advance(DAY)
    await office.spend(USD // 2, key_hash=token)
    shown = await key_info(office, token)
    assert shown["spend"] == 3.5
    assert [(each["spend"], each["left"]) for each in shown["budget_limits"]] == [(0.5, 1.5), (3.5, 16.5)]
    assert [each["reset_at"][:10] for each in shown["budget_limits"]] == ["2026-01-07", "2026-02-01"]


async def test_a_shared_budgets_duration_counts_for_each_who_shares_it(office):
    await office.good("POST", "/budget/new", {"budget_id": "tier", "max_budget": 5, "budget_duration": "1d"})
    first, second = [await make_key(office, budget_id="tier") for _ in range(2)]
    await office.good("POST", "/customer/new", {"user_id": "acme", "budget_id": "tier"})
    await office.good("POST", "/tag/new", {"name": "nightly", "budget_id": "tier"})
    await office.good(
        "POST", "/organization/new", {"organization_id": "o", "organization_alias": "O", "budget_id": "tier"}
    )
    await office.spend(2 * USD, key_hash=first, end_user_id="acme", tags=("nightly",), organization_id="o")
    office.clock.advance(DAY)
    await office.spend(USD, key_hash=first, end_user_id="acme", tags=("nightly",), organization_id="o")
    assert (await key_info(office, first))["spend"] == 1.0
    assert (await key_info(office, second))["spend"] == 0.0
    assert (await office.good("GET", "/customer/info", end_user_id="acme"))["spend"] == 1.0
    assert (await office.good("POST", "/tag/info", {"names": ["nightly"]}))["nightly"]["spend"] == 1.0
    assert (await office.good("GET", "/organization/info", organization_id="o"))["spend"] == 1.0


async def test_teams_and_members_show_their_windows_and_members_their_whole_life_too(office):
    body = {"team_id": "t", "max_budget": 50, "budget_duration": "1d", "team_member_budget": 5}
    body["team_member_budget_duration"] = "1d"
    await office.good("POST", "/team/new", {**body, "members_with_roles": [{"role": "user", "user_id": "ann"}]})
    await office.spend(2 * USD, team_id="t", user_id="ann")
    office.clock.advance(DAY)
    await office.spend(USD, team_id="t", user_id="ann")
    shown = await team_info(office, "t")
    (member,) = shown["team_memberships"]
    assert shown["team_info"]["spend"] == 1.0
    assert (member["spend"], member["total_spend"]) == (1.0, 3.0)
    assert member["litellm_budget_table"]["budget_reset_at"] == "2026-01-07T00:00:00+00:00"


async def test_lists_take_as_many_reads_for_many_as_for_one(office):
    for number in range(5):
        await make_key(office, key_alias=f"k{number}", max_budget=1, budget_duration="1d")
    office.budgets.calls[:], office.ledger.calls[:] = [], []
    listed = await office.client.request("GET", "/key/list", query={"return_full_object": "true", "size": 100})
    assert len(listed.json()["keys"]) == 5
    assert (office.budgets.calls, office.ledger.calls.count("spend_of")) == (["sums"], 1)


async def test_reset_spend_corrects_every_window_and_the_whole_life(office):
    token = await make_key(
        office, max_budget=10, budget_duration="30d", budget_limits=[{"budget_duration": "1d", "max_budget": 5}]
    )
    await office.spend(4 * USD, key_hash=token)
    office.clock.advance(DAY)
    await office.spend(USD, key_hash=token)
    audit = len(await office.audit_since(0))
    answer = await office.good("POST", f"/key/{token}/reset_spend", {"reset_to": 2})
    assert answer["spend"] == 2.0
    (row,) = await office.audit_since(audit)
    assert row.action == "spend_reset"
    await office.spend(USD, key_hash=token)
    shown = await key_info(office, token)
    assert (shown["spend"], shown["budget_limits"][0]["spend"]) == (3.0, 2.0)
    scope = Scope("key", token)
    assert await enforced(office, Kind.KEY, token, scope, "30d") == 3.0
    assert await enforced(office, Kind.KEY, token, scope, "1d") == 2.0
    assert await enforced(office, Kind.KEY, token, scope) == 3.0
    error = await office.refused(400, "POST", f"/key/{token}/reset_spend", {"reset_to": 3.01})
    assert "3.0" in error["message"]
    assert error["param"] == "reset_to"
    office.clock.advance(31 * DAY)
    assert (await key_info(office, token))["spend"] == 0.0
    assert await office.ledger.spend_of((("key", token, ""),)) == {("key", token, ""): 6 * USD}


async def test_spend_that_comes_while_an_admin_resets_is_counted(office):
    token = await make_key(office, max_budget=10, budget_duration="1d")
    await office.spend(4 * USD, key_hash=token)
    applied = office.control.apply

    async def apply(*args, **kwargs):
        await office.spend(USD, key_hash=token)
        office.control.apply = applied
        return await applied(*args, **kwargs)

    office.control.apply = apply
    await office.good("POST", f"/key/{token}/reset_spend", {"reset_to": 0})
    assert (await key_info(office, token))["spend"] == 1.0


async def test_corrections_of_windows_that_ended_are_dropped_once_the_next_one_has_too(office):
    token = await make_key(office, max_budget=10, budget_duration="1d")
    for _ in range(4):
        await office.spend(2 * USD, key_hash=token)
        await office.good("POST", f"/key/{token}/reset_spend", {"reset_to": 0})
        office.clock.advance(DAY)
    held = await office.find(Kind.KEY, token)
    assert len(spec_as(KeySpec, held.spec).spend_corrections) == 2


async def test_a_key_may_begin_with_something_spent_and_be_set_to_anything(office):
    token = await make_key(office, max_budget=10, budget_duration="1d", spend=3)
    assert (await key_info(office, token))["spend"] == 3.0
    await office.spend(USD, key_hash=token)
    shown = await office.good("POST", "/key/update", {"key": token, "spend": 7.25})
    assert shown["spend"] == 7.25
    office.clock.advance(DAY)
    assert (await key_info(office, token))["spend"] == 0.0


async def test_a_regenerated_key_keeps_its_window_and_its_corrections(office):
    token = await make_key(office, max_budget=10, budget_duration="1d")
    await office.spend(4 * USD, key_hash=token)
    await office.good("POST", f"/key/{token}/reset_spend", {"reset_to": 1})
    renewed = (await office.good("POST", f"/key/{token}/regenerate", {}))["token"]
    await office.spend(USD, key_hash=renewed)
    assert (await key_info(office, renewed))["spend"] == 2.0
    assert await enforced(office, Kind.KEY, renewed, Scope("key", token), "1d") == 1.0  # Of the first hash alone …
    window = Window(Scope("key", token), *office.services.windows.window_at("1d", office.clock.now()))
    (both,) = await office.budgets.sums([(window, (renewed,))])
    assert both.spent_nano_usd == 5 * USD  # … and with the second one.


async def test_users_budgets_count_personal_calls_and_their_whole_life_all(office):
    await office.make_person("ann")
    await office.good("POST", "/user/update", {"user_id": "ann", "max_budget": 5})
    await office.spend(2 * USD, user_id="ann")
    await office.spend(8 * USD, user_id="ann", team_id="t")
    await office.good("POST", "/user/update", {"user_id": "ann", "spend": 1})
    info = await office.good("GET", "/user/info", user_id="ann")
    assert info["user_info"]["spend"] == 1.0
    assert await enforced(office, Kind.USER, "ann", Scope("personal", "ann")) == 1.0
    await office.good("POST", "/user/update", {"user_id": "ann", "budget_duration": "1d"})
    await office.spend(USD, user_id="ann")
    await office.spend(USD, user_id="ann", team_id="t")
    info = await office.good("GET", "/user/info", user_id="ann")
    assert info["user_info"]["spend"] == 3.0
    office.clock.advance(DAY)
    assert (await office.good("GET", "/user/info", user_id="ann"))["user_info"]["spend"] == 0.0


async def test_a_member_is_reset_in_the_window_that_runs(office):
    await office.good("POST", "/team/new", {"team_id": "t", "members_with_roles": [{"role": "user", "user_id": "ann"}]})
    await office.good(
        "POST",
        "/team/member_update",
        {"team_id": "t", "user_id": "ann", "max_budget_in_team": 5, "budget_duration": "1d"},
    )
    await office.spend(4 * USD, team_id="t", user_id="ann")
    await office.refused(400, "POST", "/team/t/member/ann/reset_spend", {"reset_to": 4.5})
    answer = await office.good("POST", "/team/t/member/ann/reset_spend", {"reset_to": 1})
    assert (answer["spend"], answer["previous_spend"], answer["total_spend"]) == (1.0, 4.0, 4.0)
    office.clock.advance(DAY)
    (member,) = (await team_info(office, "t"))["team_memberships"]
    assert (member["spend"], member["total_spend"]) == (0.0, 4.0)


async def test_what_was_carried_into_a_window_is_spent_there(office):
    token = await make_key(office, max_budget=10, budget_duration="1d")
    await office.spend(13 * USD, key_hash=token)
    windows, scope = office.services.windows, Scope("key", token)
    before = windows.window_of(scope, "1d", office.clock.now())
    office.clock.advance(DAY)
    window = windows.window_of(scope, "1d", office.clock.now())
    await lease(office.budgets, window, limit=10 * USD, previous=before)
    await office.spend(USD, key_hash=token)
    assert (await key_info(office, token))["spend"] == 4.0


@pytest.mark.parametrize(
    ("new", "update", "method", "show", "name"),
    [
        ("/customer/new", "/customer/update", "POST", "/customer/info", "user_id"),
        ("/organization/new", "/organization/update", "PATCH", "/organization/info", "organization_id"),
        ("/tag/new", "/tag/update", "POST", "/tag/info", "name"),
        ("/team/new", "/team/update", "POST", "/team/info", "team_id"),
    ],
)
async def test_what_others_have_spent_is_set_too(office, new, update, method, show, name):
    async def spend():
        if show == "/tag/info":
            return (await office.good("POST", show, {"names": ["x"]}))["x"]["spend"]
        parameter = "end_user_id" if name == "user_id" else name
        answer = await office.good("GET", show, **{parameter: "x"})
        return answer.get("team_info", answer)["spend"]

    of = {"user_id": "end_user_id", "name": "tags"}.get(name, name)
    whose = {of: ("x",) if of == "tags" else "x"}
    more = {"organization_alias": "X"} if name == "organization_id" else {}
    begins = {} if name == "team_id" else {"spend": 2}
    await office.good("POST", new, {name: "x", "max_budget": 9, "budget_duration": "1d", **more, **begins})
    assert await spend() == (2.0 if begins else 0.0)
    await office.spend(4 * USD, **whose)
    await office.good(method, update, {name: "x", "spend": 1.5})
    await office.spend(USD, **whose)
    assert await spend() == 2.5
    await office.good(method, update, {name: "x", "max_budget": 8})
    assert await spend() == 2.5
    office.clock.advance(DAY)
    assert await spend() == 0.0


async def test_only_proxy_admins_say_what_a_team_has_spent(office):
    key = await office.make_person("ann")
    await office.good(
        "POST", "/team/new", {"team_id": "t", "members_with_roles": [{"role": "admin", "user_id": "ann"}]}
    )
    error = await office.refused(403, "POST", "/team/update", {"team_id": "t", "spend": 0}, key=key)
    assert error["param"] == "spend"


async def test_customers_without_a_budget_follow_the_one_of_all():
    office = Office(customer_budget_id="free")
    await office.good("POST", "/budget/new", {"budget_id": "free", "max_budget": 1, "budget_duration": "1d"})
    await office.good("POST", "/customer/new", {"user_id": "own", "max_budget": 5})
    for _ in range(2):
        await office.spend(USD // 4, end_user_id="seen")
        await office.spend(USD, end_user_id="own")
        office.clock.advance(DAY)
    await office.spend(USD // 8, end_user_id="seen")
    assert (await office.good("GET", "/customer/info", end_user_id="seen"))["spend"] == 0.125
    assert (await office.good("GET", "/customer/info", end_user_id="own"))["spend"] == 2.0
