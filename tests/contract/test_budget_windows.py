"""What is left: of the budgets of a key, of providers, of all windows that run."""

from __future__ import annotations

import pytest

from budget_kit import lease
from contract.office import Office
from tallystick.access.scopes import Budget, Scope
from tallystick.access.teams import MemberSpec
from tallystick.control.objects import Kind, member_id

USD = 10**9
DAY = 86_400


@pytest.fixture
def office():
    return Office()


async def budgets_of(office, token, *, key=None):
    """Return the budgets of a key by scope and model."""
    answer = await office.client.request("GET", "/key/info", key=key, query={"key": token} if token else {})
    assert answer.status == 200, answer.body
    return {(each["scope"], each["model"]): each for each in answer.json()["info"]["budgets"]}


async def furnish(office):
    """Make a key of ann in a team of an organization, all with budgets; return the key and its hash."""
    await office.good(
        "POST",
        "/organization/new",
        {"organization_id": "o", "organization_alias": "O", "max_budget": 100, "budget_duration": "30d"},
    )
    await office.make_person("ann")
    await office.make_person("bob")
    members = [{"role": "user", "user_id": name} for name in ("ann", "bob")]
    await office.good(
        "POST",
        "/team/new",
        {
            "team_id": "t",
            "organization_id": "o",
            "max_budget": 50,
            "team_member_budget": 20,
            "members_with_roles": members,
        },
    )
    await office.good("POST", "/user/update", {"user_id": "ann", "max_budget": 30})
    made = await office.good(
        "POST",
        "/key/generate",
        {
            "user_id": "ann",
            "team_id": "t",
            "max_budget": 10,
            "soft_budget": 8,
            "budget_duration": "1d",
            "model_max_budget": {"gpt-4o": {"budget_limit": 2, "time_period": "1d"}},
        },
    )
    return made["key"], made["token"]


async def test_a_key_tells_what_is_left_of_each_budget_that_bounds_it(office):
    _, token = await furnish(office)
    of = {"key_hash": token, "user_id": "ann", "team_id": "t", "organization_id": "o"}
    await office.spend(USD, model_group="gpt-4o", **of)
    await office.spend(2 * USD, model_group="o3", **of)
    window = office.services.windows.window_of(Scope("key", token), "1d", office.clock.now())
    await lease(office.budgets, window, limit=10 * USD, leased=4 * USD)
    found = await budgets_of(office, token)
    assert set(found) == {
        ("key", None), ("key", "gpt-4o"), ("team", None), ("team_member", None), ("organization", None),
    }  # fmt: skip
    key = found["key", None]
    assert {name: key[name] for name in ("limit", "soft_limit", "spent", "reserved", "left", "duration")} == {
        "limit": 10.0, "soft_limit": 8.0, "spent": 3.0, "reserved": 4.0, "left": 7.0, "duration": "1d",
    }  # fmt: skip
    assert (key["id"], key["reset_at"]) == (token, "2026-01-06T00:00:00+00:00")
    assert (found["key", "gpt-4o"]["spent"], found["key", "gpt-4o"]["left"]) == (1.0, 1.0)
    assert (found["team", None]["limit"], found["team", None]["reset_at"]) == (50.0, None)
    member = found["team_member", None]
    assert (member["id"], member["member_id"], member["left"]) == ("t", "ann", 17.0)
    assert found["organization", None]["left"] == 97.0


async def test_corrections_and_increases_are_in_it(office):
    _, token = await furnish(office)
    await office.spend(9 * USD, key_hash=token)
    await office.good("POST", f"/key/{token}/reset_spend", {"reset_to": 1})
    change = {"key": token, "temp_budget_increase": 5, "temp_budget_expiry": "2026-01-05T18:00:00"}
    await office.good("POST", "/key/update", change)
    key = (await budgets_of(office, token))["key", None]
    assert (key["limit"], key["spent"], key["left"]) == (15.0, 1.0, 14.0)
    office.clock.advance(7 * 3_600)
    assert (await budgets_of(office, token))["key", None]["limit"] == 10.0


async def test_callers_see_their_own_and_what_the_contract_lets_them_see(office):
    plain, token = await furnish(office)
    own = await budgets_of(office, None, key=plain)
    assert set(own) == {("key", None), ("key", "gpt-4o"), ("team", None), ("team_member", None)}
    await office.make(
        Kind.ORGANIZATION_MEMBER, member_id("o", "ann"), MemberSpec(role="internal_user"), organization_id="o",
        user_id="ann",
    )  # fmt: skip
    assert ("organization", None) in await budgets_of(office, None, key=plain)
    assert ("user", None) not in await budgets_of(office, token)


async def test_a_users_personal_budget_is_of_keys_without_a_team(office):
    key = await office.make_person("ann")
    await office.good("POST", "/user/update", {"user_id": "ann", "max_budget": 5})
    await office.spend(USD, user_id="ann")
    await office.spend(USD, user_id="ann", team_id="t")
    found = await budgets_of(office, None, key=key)
    assert found["personal", None]["left"] == 4.0


async def test_the_master_key_has_no_budgets(office):
    answer = await office.client.get("/key/info")
    assert answer.json()["info"]["spend"] == 0.0


async def lease_from(office, scope, *, limit, duration="1d"):
    window = office.services.windows.window_of(scope, duration, office.clock.now())
    await lease(office.budgets, window, limit=limit * USD, leased=USD)


async def test_windows_are_listed_by_their_share(office):
    made = await office.good("POST", "/key/generate", {"key_alias": "ci", "max_budget": 10, "budget_duration": "1d"})
    await office.spend(9 * USD, key_hash=made["token"])
    await office.spend(4 * USD, team_id="t")
    await office.spend(1 * USD, end_user_id="acme")
    await lease_from(office, Scope("key", made["token"]), limit=10)
    await lease_from(office, Scope("team", "t"), limit=8)
    await lease_from(office, Scope("end_user", "acme"), limit=100, duration="")
    await lease_from(office, Scope("tag", "free"), limit=2**62 // USD + 1)
    answer = await office.good("GET", "/budget/windows")
    assert [(each["scope"], each["share"]) for each in answer["windows"]] == [
        ("key", 0.9), ("team", 0.5), ("end_user", 0.01), ("tag", 0.0),
    ]  # fmt: skip
    first, _, third, last = answer["windows"]
    assert (first["name"], first["limit"], first["spent"], first["reserved"], first["left"]) == ("ci", 10, 9, 1, 1)
    assert (third["reset_at"], last["limit"], last["left"]) == (None, None, None)
    assert (answer["total_count"], answer["total_pages"], answer["is_cut"]) == (4, 1, False)
    over = await office.good("GET", "/budget/windows", over=0.5, size=1, page=2)
    assert [each["scope"] for each in over["windows"]] == ["team"]
    assert (over["total_count"], over["total_pages"]) == (2, 2)
    assert len((await office.good("GET", "/budget/windows", type="tag"))["windows"]) == 1
    office.clock.advance(DAY)
    assert [each["scope"] for each in (await office.good("GET", "/budget/windows"))["windows"]] == ["end_user"]


async def test_windows_show_what_admins_have_corrected(office):
    made = await office.good("POST", "/key/generate", {"max_budget": 10, "budget_duration": "1d"})
    await office.spend(5 * USD, key_hash=made["token"])
    await office.good("POST", f"/key/{made['token']}/reset_spend", {"reset_to": 0})
    await lease_from(
        office, Scope("key", made["token"]), limit=15
    )  # As an instance does: the correction is off the limit.
    (shown,) = (await office.good("GET", "/budget/windows"))["windows"]
    assert (shown["limit"], shown["spent"], shown["left"], shown["share"]) == (10.0, 0.0, 10.0, 0.0)


async def test_many_windows_are_read_in_pages(office, monkeypatch):
    monkeypatch.setattr("tallystick.admin.budgets.open_windows._PAGE", 3)
    for number in range(7):
        await office.spend(number * USD, tags=(f"t{number}",))
        await lease_from(office, Scope("tag", f"t{number}"), limit=10)
    answer = await office.good("GET", "/budget/windows", size=2)
    assert [each["id"] for each in answer["windows"]] == ["t6", "t5"]
    assert (answer["total_count"], answer["total_pages"], office.budgets.calls.count("open_windows")) == (
        7, 4, 3,
    )  # fmt: skip
    monkeypatch.setattr("tallystick.admin.budgets.open_windows.WINDOWS_MAX", 6)
    assert (await office.good("GET", "/budget/windows"))["is_cut"]


@pytest.mark.parametrize("query", [{"type": "nobody"}, {"over": -1}, {"over": "x"}, {"size": 0}, {"size": 1_001}])
async def test_windows_of_wrong_questions(office, query):
    error = await office.refused(400, "GET", "/budget/windows", **query)
    assert error["param"] == next(iter(query))


async def test_only_admins_see_windows_and_providers(office):
    key = await office.make_person("ann")
    viewer = await office.make_person("vic", role="proxy_admin_viewer")
    for path in ("/budget/windows", "/provider/budgets"):
        await office.refused(401, "GET", path, key=key)
        await office.good("GET", path, key=viewer)


async def test_providers():
    office = Office(
        provider_budgets={
            "openai": Budget(scope=Scope("provider", "openai"), limit_nano_usd=100 * USD, duration="1d"),
            "groq": Budget(scope=Scope("provider", "groq"), limit_nano_usd=USD // 2),
        }
    )
    await office.spend(3 * USD, provider="openai")
    office.clock.advance(DAY)
    await office.spend(2 * USD, provider="openai")
    assert await office.good("GET", "/provider/budgets") == {
        "providers": {
            "openai": {
                "budget_limit": 100.0,
                "time_period": "1d",
                "spend": 2.0,
                "budget_reset_at": "2026-01-07T00:00:00+00:00",
            },
            "groq": {"budget_limit": 0.5, "time_period": None, "spend": 0.0, "budget_reset_at": None},
        }
    }
