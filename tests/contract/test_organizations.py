"""Organizations and their members, as LiteLLM's clients and Terraform's resources use them."""

from __future__ import annotations

import pytest

from contract.office import Office
from tallystick.access.budgets import owner_of
from tallystick.access.teams import MemberSpec, TeamSpec
from tallystick.control.objects import Kind, member_id

LIMITS = {
    "max_budget": 25.5,
    "soft_budget": 20.0,
    "budget_duration": "30d",
    "tpm_limit": 1000,
    "rpm_limit": 10,
    "max_parallel_requests": 3,
}


@pytest.fixture
async def office():
    office = Office()
    await office.good("POST", "/organization/new", {"organization_id": "acme", "organization_alias": "Acme"})
    return office


async def info(office, organization_id="acme", **query):
    return await office.good("GET", "/organization/info", organization_id=organization_id, **query)


async def join(office, name, *, role, organization_id="acme"):
    key = await office.make_person(name)
    member = {"organization_id": organization_id, "member": {"role": role, "user_id": name}}
    await office.good("POST", "/organization/member_add", member)
    return key


# Terraform: create, read back without a difference, update, delete


async def test_terraform_organization(office):
    sent = {"organization_alias": "Research", "models": ["gpt-4o"], "metadata": {"cost_center": "7"}, **LIMITS}
    made = await office.good("POST", "/organization/new", sent)
    read = await info(office, made["organization_id"])
    assert read == made
    assert {name: read[name] for name in ("organization_alias", "models", "metadata")} == {
        name: sent[name] for name in ("organization_alias", "models", "metadata")
    }
    table = read["litellm_budget_table"]
    assert {name: table[name] for name in LIMITS} == LIMITS
    assert read["budget_id"] == table["budget_id"]
    assert (read["spend"], read["members"]) == (0.0, [])

    changes = {"organization_id": made["organization_id"], "max_budget": 30.0, "soft_budget": None, "models": []}
    await office.good("PATCH", "/organization/update", changes)
    read = await info(office, made["organization_id"])
    assert (read["models"], read["organization_alias"], read["budget_id"]) == ([], "Research", made["budget_id"])
    table = read["litellm_budget_table"]
    assert {**LIMITS, "max_budget": 30.0, "soft_budget": None} == {name: table[name] for name in LIMITS}

    path = f"/v2/organization/{made['organization_id']}"
    shown = await office.good("PATCH", path, {"metadata": {"cost_center": "8"}, "budget_duration": None})
    assert (shown["organization_id"], shown["metadata"]) == (made["organization_id"], {"cost_center": "8"})
    assert shown["litellm_budget_table"]["budget_reset_at"] is None

    delete = {"organization_ids": [made["organization_id"]]}
    await office.good("DELETE", "/organization/delete", delete)
    error = await office.refused(404, "GET", "/organization/info", organization_id=made["organization_id"])
    assert "not found" in error["message"]
    error = await office.refused(404, "DELETE", "/organization/delete", delete)
    assert "does not exist" in error["message"]
    assert await office.find(Kind.BUDGET, made["budget_id"]) is None


async def test_terraform_organization_member(office):
    sent = {"organization_id": "acme", "member": {"role": "internal_user", "user_id": "ada"}}
    added = await office.good("POST", "/organization/member_add", sent)
    (membership,) = added["updated_organization_memberships"]
    assert added["organization_id"] == membership["organization_id"] == "acme"
    assert (membership["user_id"], membership["user_role"]) == ("ada", "internal_user")
    assert [each["user_id"] for each in added["updated_users"]] == ["ada"]
    assert (await info(office))["members"] == [membership]

    change = {
        "organization_id": "acme",
        "user_id": "ada",
        "role": "org_admin",
        "max_budget_in_organization": 12.5,
    }
    changed = await office.good("PATCH", "/organization/member_update", change)
    assert (changed["user_role"], changed["litellm_budget_table"]["max_budget"]) == ("org_admin", 12.5)
    assert (changed["budget_id"], changed["litellm_budget_table"]["budget_id"]) == (None, None)
    assert (await info(office))["members"] == [changed]

    gone = {"organization_id": "acme", "user_id": "ada"}
    await office.good("DELETE", "/organization/member_delete", gone)
    assert (await info(office))["members"] == []
    assert await office.find(Kind.USER, "ada") is not None
    error = await office.refused(404, "DELETE", "/organization/member_delete", gone)
    assert "not found" in error["message"]


# Making and changing


async def test_every_organization_has_a_budget(office):
    (listed,) = await office.good("GET", "/organization/list")
    assert listed["litellm_budget_table"]["budget_id"] == listed["budget_id"]
    (budget,) = await office.good("GET", "/budget/list")
    assert budget == listed["litellm_budget_table"]


async def test_a_shared_budget_stays_when_the_organization_goes(office):
    await office.good("POST", "/budget/new", {"budget_id": "shared", "max_budget": 7.0})
    sent = {"organization_id": "beta", "organization_alias": "Beta", "budget_id": "shared"}
    made = await office.good("POST", "/organization/new", sent)
    assert made["litellm_budget_table"]["max_budget"] == 7.0

    change = {"organization_id": "beta", "max_budget": 8.0}
    error = await office.refused(400, "PATCH", "/organization/update", change)
    assert "shared budget 'shared'" in error["message"]

    await office.good("DELETE", "/organization/delete", {"organization_ids": ["beta"]})
    assert await office.find(Kind.BUDGET, "shared") is not None


async def test_an_own_budget_to_which_others_refer_becomes_a_shared_one(office):
    own = (await info(office))["budget_id"]
    await office.good("POST", "/customer/new", {"user_id": "c", "budget_id": own})
    await office.good("DELETE", "/organization/delete", {"organization_ids": ["acme"]})
    customer = await office.good("GET", "/customer/info", end_user_id="c")
    assert customer["litellm_budget_table"]["budget_id"] == own
    assert owner_of(await office.find(Kind.BUDGET, own)) is None


async def test_a_budget_id_of_null_gives_back_limits_of_its_own(office):
    await office.good("POST", "/budget/new", {"budget_id": "shared", "max_budget": 7.0})
    own = (await info(office))["budget_id"]
    change = {"organization_id": "acme", "budget_id": "shared"}
    assert (await office.good("PATCH", "/organization/update", change))["budget_id"] == "shared"
    assert await office.find(Kind.BUDGET, own) is None
    change = {"organization_id": "acme", "budget_id": None, "max_budget": 1.0}
    shown = await office.good("PATCH", "/organization/update", change)
    assert shown["budget_id"] not in {own, "shared"}
    assert shown["litellm_budget_table"]["max_budget"] == 1.0


async def test_what_can_not_be_made(office):
    make = "POST", "/organization/new"
    error = await office.refused(400, *make, {"organization_id": "acme", "organization_alias": "Again"})
    assert "already exists" in error["message"]
    assert (await office.refused(400, *make, {}))["param"] == "organization_alias"
    error = await office.refused(400, *make, {"organization_alias": "x", "budget_id": "none"})
    assert (error["param"], "does not exist" in error["message"]) == ("budget_id", True)
    error = await office.refused(400, *make, {"organization_alias": "x", "max_budget": -1})
    assert error["param"] == "max_budget"
    await office.good("POST", "/budget/new", {"budget_id": "shared"})
    error = await office.refused(400, *make, {"organization_alias": "x", "budget_id": "shared", "max_budget": 1.0})
    assert "not both" in error["message"]


async def test_what_can_not_be_changed(office):
    error = await office.refused(404, "PATCH", "/organization/update", {"organization_id": "none", "models": []})
    assert "not found" in error["message"]
    assert (await office.refused(400, "PATCH", "/organization/update", {}))["param"] == "organization_id"
    error = await office.refused(400, "PATCH", "/v2/organization/acme", {"organization_id": "beta"})
    assert error["param"] == "organization_id"


async def test_a_change_of_nothing_writes_nothing(office):
    await office.good("PATCH", "/organization/update", {"organization_id": "acme", "models": ["a"], "max_budget": 1})
    before = await office.everything()
    await office.good("PATCH", "/organization/update", {"organization_id": "acme", "models": ["a"], "max_budget": 1})
    assert await office.everything() == before


async def test_unknown_fields_are_named(office):
    sent = {"organization_alias": "x", "blocked": True, "tags": []}
    answer = await office.client.post("/organization/new", sent)
    assert answer.headers["x-tallystick-ignored-fields"] == "blocked, tags"


async def test_secrets_in_metadata_are_masked(office):
    change = {"organization_id": "acme", "metadata": {"api_key": "sk-secret", "note": "x"}}
    shown = await office.good("PATCH", "/organization/update", change)
    assert shown["metadata"] == {"api_key": "****", "note": "x"}
    assert (await info(office))["metadata"] == {"api_key": "****", "note": "x"}
    assert "sk-secret" not in str(await office.audit_since(0))


async def test_spend_is_the_ledgers(office):
    await office.spend(1_500_000_000, organization_id="acme")
    assert (await info(office))["spend"] == 1.5


# Deleting


async def test_all_that_belongs_to_an_organization_goes_with_it(office):
    await office.make(Kind.TEAM, "alpha", TeamSpec(), organization_id="acme")
    await office.make(Kind.TEAM, "other", TeamSpec())
    await join(office, "ada", role="org_admin")
    object_id = member_id("alpha", "ada")
    await office.make(Kind.TEAM_MEMBER, object_id, MemberSpec(role="user"), team_id="alpha", user_id="ada")
    team_key = await office.make_key("of-alpha", team_id="alpha")
    own_key = await office.make_key("of-acme", organization_id="acme")
    other_key = await office.make_key("of-other", team_id="other")

    await office.good("DELETE", "/organization/delete", {"organization_ids": ["acme"]})

    _, left = await office.everything()
    assert {(each.kind, each.object_id) for each in left if each.kind != Kind.KEY} == {
        (Kind.TEAM, "other"),
        (Kind.USER, "ada"),
    }
    for key, status in ((team_key, 401), (own_key, 401), (other_key, 200)):
        assert (await office.client.get("/organization/list", key=key)).status == status


async def test_an_unknown_one_among_them_keeps_all(office):
    error = await office.refused(404, "DELETE", "/organization/delete", {"organization_ids": ["acme", "none"]})
    assert "'none'" in error["message"]
    assert "Nothing was deleted" in error["message"]
    assert (await office.refused(400, "DELETE", "/organization/delete", {"organization_ids": []}))["param"]


async def test_a_key_that_is_made_at_the_same_time_goes_too(office, monkeypatch):
    await office.make(Kind.TEAM, "alpha", TeamSpec(), organization_id="acme")
    apply, raced = office.control.apply, []

    async def apply_after_another(changes, **conditions):
        if not raced:
            raced.append(True)
            await office.make(Kind.TEAM, "late", TeamSpec(), organization_id="acme")
            await office.make_key("late", team_id="late")
        return await apply(changes, **conditions)

    monkeypatch.setattr(office.control, "apply", apply_after_another)
    await office.good("DELETE", "/organization/delete", {"organization_ids": ["acme"]})
    _, left = await office.everything()
    assert not left


# Reading


async def test_lists_and_infos(office):
    await office.good("POST", "/organization/new", {"organization_id": "beta", "organization_alias": "Beta Corp"})
    everything = await office.good("GET", "/organization/list")
    assert [each["organization_id"] for each in everything] == ["beta", "acme"]
    (found,) = await office.good("GET", "/organization/list", org_alias="corp")
    assert found["organization_id"] == "beta"
    (found,) = await office.good("GET", "/organization/list", org_id="acme")
    assert found == await info(office)
    both = await office.good("POST", "/organization/info", {"organizations": ["acme", "beta"]})
    assert [each["organization_id"] for each in both] == ["acme", "beta"]
    answer = await office.client.get("/organization/list", page=2, size=1)
    assert [each["organization_id"] for each in answer.json()] == ["acme"]
    assert answer.headers["x-tallystick-total-count"] == "2"


async def test_teams_are_shown(office):
    await office.make(Kind.TEAM, "alpha", TeamSpec(), organization_id="acme", name="Alpha")
    (team,) = (await info(office))["teams"]
    assert (team["team_id"], team["team_alias"]) == ("alpha", "Alpha")


# Members


async def test_a_user_is_made_by_email_and_found_by_it(office):
    sent = {"organization_id": "acme", "member": [{"role": "internal_user", "user_email": "ada@example.org"}]}
    added = await office.good("POST", "/organization/member_add", sent)
    (user,) = added["updated_users"]
    assert user["user_email"] == "ada@example.org"
    await office.good("POST", "/organization/new", {"organization_id": "beta", "organization_alias": "Beta"})
    again = await office.good("POST", "/organization/member_add", {**sent, "organization_id": "beta"})
    assert again["updated_users"] == [user]
    change = {"organization_id": "beta", "user_email": "ada@example.org", "role": "org_admin"}
    assert (await office.good("PATCH", "/organization/member_update", change))["user_id"] == user["user_id"]


async def test_members_that_can_not_be_added(office):
    add = "POST", "/organization/member_add"
    await office.make_person("ada")
    await office.make_person("bob")

    def asked(*members, organization_id="acme"):
        return {"organization_id": organization_id, "member": list(members)}

    ada = {"role": "internal_user", "user_id": "ada"}
    error = await office.refused(404, *add, asked(ada, organization_id="none"))
    assert "not found" in error["message"]
    await office.refused(400, *add, asked({"role": "internal_user"}))
    error = await office.refused(400, *add, asked({**ada, "user_email": "bob@example.org"}))
    assert "do not belong to the same user" in error["message"]
    await office.refused(400, *add, asked(ada, ada))
    error = await office.refused(400, *add, asked({**ada, "role": "proxy_admin"}))
    assert error["param"] == "member[0].role"
    await office.good(*add, asked(ada))
    error = await office.refused(400, *add, asked({"role": "internal_user", "user_id": "new"}, ada))
    assert "already a member" in error["message"]
    assert await office.find(Kind.USER, "new") is None
    for name in ("twin1", "twin2"):
        await office.make(Kind.USER, name, TeamSpec(), name="twin@example.org")
    error = await office.refused(400, *add, asked({"role": "internal_user", "user_email": "twin@example.org"}))
    assert "Multiple users found" in error["message"]


async def test_a_members_budget_is_cleared_by_null_and_kept_when_omitted(office):
    await join(office, "ada", role="internal_user")
    change = {"organization_id": "acme", "user_id": "ada"}
    await office.good("PATCH", "/organization/member_update", {**change, "max_budget_in_organization": 2})
    kept = await office.good("PATCH", "/organization/member_update", {**change, "role": "org_admin"})
    assert kept["litellm_budget_table"]["max_budget"] == 2.0
    cleared = await office.good("PATCH", "/organization/member_update", {**change, "max_budget_in_organization": None})
    assert (cleared["litellm_budget_table"], cleared["user_role"]) == (None, "org_admin")


# Who may


async def test_who_may_see(office):
    await office.good("POST", "/organization/new", {"organization_id": "beta", "organization_alias": "Beta"})
    member = await join(office, "ada", role="internal_user_viewer")
    stranger = await office.make_person("bob")
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    userless = await office.make_key("userless")
    lists = {}
    for name, key in (("member", member), ("stranger", stranger), ("viewer", viewer), ("userless", userless)):
        found = await office.good("GET", "/organization/list", key=key)
        lists[name] = [each["organization_id"] for each in found]
    assert lists == {"member": ["acme"], "stranger": [], "viewer": ["beta", "acme"], "userless": []}
    assert (await info(office, key=member))["organization_id"] == "acme"
    for organization_id in ("beta", "none"):
        error = await office.refused(403, "GET", "/organization/info", key=member, organization_id=organization_id)
        assert "do not have access" in error["message"]
    await office.refused(403, "POST", "/organization/info", {"organizations": ["acme", "beta"]}, key=member)


async def test_who_may_write(office):
    await office.good("POST", "/organization/new", {"organization_id": "beta", "organization_alias": "Beta"})
    admin = await join(office, "ada", role="org_admin")
    foreign_admin = await join(office, "bea", role="org_admin", organization_id="beta")
    member = await join(office, "mo", role="internal_user")
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    add = {"organization_id": "acme", "member": {"role": "internal_user", "user_id": "new"}}
    change = {"organization_id": "acme", "user_id": "mo", "role": "internal_user_viewer"}
    rename = {"organization_id": "acme", "organization_alias": "New name"}
    for key in (foreign_admin, member):
        await office.refused(403, "POST", "/organization/member_add", add, key=key)
        await office.refused(403, "PATCH", "/organization/member_update", change, key=key)
        await office.refused(403, "DELETE", "/organization/member_delete", change, key=key)
        await office.refused(403, "PATCH", "/organization/update", rename, key=key)
        await office.refused(403, "PATCH", "/v2/organization/acme", {"organization_alias": "x"}, key=key)
    await office.refused(401, "PATCH", "/organization/update", rename, key=viewer)
    for key in (admin, foreign_admin, member, viewer):
        error = await office.refused(401, "POST", "/organization/new", {"organization_alias": "x"}, key=key)
        assert "Only proxy admin" in error["message"]
        await office.refused(401, "DELETE", "/organization/delete", {"organization_ids": ["acme"]}, key=key)
    await office.good("POST", "/organization/member_add", add, key=admin)
    await office.good("PATCH", "/organization/member_update", change, key=admin)
    await office.good("PATCH", "/organization/update", rename, key=admin)
    error = await office.refused(
        403, "PATCH", "/organization/update", {"organization_id": "acme", "max_budget": 9.0}, key=admin
    )
    assert error["param"] == "max_budget"
    await office.refused(403, "PATCH", "/v2/organization/acme", {"models": []}, key=admin)
    await office.good("DELETE", "/organization/member_delete", {"organization_id": "acme", "user_id": "new"}, key=admin)
