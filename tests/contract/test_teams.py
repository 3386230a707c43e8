"""What clients rely on of the team endpoints: each row of the contract, each status."""

from __future__ import annotations

import asyncio

import pytest

from contract.team_world import TeamWorld
from tallystick.access.budgets import BudgetSpec
from tallystick.access.keys import hash_key
from tallystick.access.limits import Limits
from tallystick.access.teams import OrganizationSpec
from tallystick.control.objects import Kind
from tallystick.control.store import AuditFilter

NANO = 1_000_000_000


@pytest.fixture
async def world():
    return await TeamWorld.build()


EVERYTHING = {
    "team_id": "research",
    "team_alias": "Research",
    "organization_id": "org-a",
    "models": ["gpt-4o", "openai/*"],
    "model_aliases": {"fast": "gpt-4o-mini"},
    "metadata": {"cost_center": 7, "nested": {"a": [1, None]}},
    "tags": ["a", "b"],
    "blocked": False,
    "max_budget": 12.5,
    "soft_budget": 10.0,
    "budget_duration": "30d",
    "model_max_budget": {"gpt-4o": {"budget_limit": 1, "time_period": "1d"}},
    "tpm_limit": 1000,
    "rpm_limit": 10,
    "tpd_limit": 100_000,
    "max_parallel_requests": 3,
    "model_tpm_limit": {"gpt-4o": 100},
    "model_rpm_limit": {"gpt-4o": 1},
    "tpm_limit_type": "guaranteed_throughput",
    "rpm_limit_type": "best_effort_throughput",
    "team_member_permissions": ["/key/generate"],
    "team_member_budget": 2.5,
    "team_member_budget_duration": "7d",
    "team_member_tpm_limit": 50,
    "team_member_rpm_limit": 5,
    "team_member_key_duration": "90d",
    "default_team_member_models": ["gpt-4o"],
    "access_group_ids": ["g1"],
    "guardrails": ["pii"],
    "policies": ["p"],
    "prompts": ["greeting"],
    "object_permission": {"mcp_servers": ["s"]},
    "router_settings": {"num_retries": 2},
    "allow_team_guardrail_config": True,
}


async def test_new_echoes_everything_and_info_reads_it_back(world):
    made = await world.good("/team/new", EVERYTHING)
    assert {name: made[name] for name in EVERYTHING} == EVERYTHING
    assert made["spend"] == 0
    assert made["created_at"] == made["updated_at"]
    assert made["budget_reset_at"] > made["created_at"]
    shown = (await world.info("research"))["team_info"]
    assert shown == made


async def test_new_needs_nothing(world):
    answer = await world.post("/team/new")
    assert answer.status == 200
    made = answer.json()
    assert made["team_id"]
    assert (made["models"], made["max_budget"], made["organization_id"]) == ([], None, None)
    assert made["members_with_roles"] == []


async def test_new_with_budgets_over_several_windows(world):
    budgets = [{"budget_duration": "1d", "max_budget": 1.0}, {"budget_duration": "30d", "max_budget": 10.0}]
    made = await world.good("/team/new", {"budget_limits": budgets})
    shown = [{name: each[name] for name in ("budget_duration", "max_budget")} for each in made["budget_limits"]]
    assert shown == budgets


async def test_new_with_members_makes_unknown_users(world):
    members = [
        {"role": "admin", "user_id": "user-ta"},
        {"role": "user", "user_id": "new-one"},
        {"role": "user", "user_email": "new-two@example.org"},
        {"role": "user", "user_email": "user-iu@example.com"},
    ]
    made = await world.good("/team/new", {"team_id": "t", "members_with_roles": members, "admins": ["user-ow"]})
    shown = {(each["user_email"], each["role"]): each["user_id"] for each in made["members_with_roles"]}
    assert shown[("user-ta@example.com", "admin")] == "user-ta"
    assert shown[(None, "user")] == "new-one"
    assert shown[("user-iu@example.com", "user")] == "user-iu"
    assert shown[("user-ow@example.com", "admin")] == "user-ow"
    made_id = shown[("new-two@example.org", "user")]
    assert (await world.find(Kind.USER, made_id)).name == "new-two@example.org"
    assert await world.find(Kind.USER, "new-one") is not None
    assert set(made["admins"]) == {"user-ta", "user-ow"}
    assert len(made["members"]) == 5


async def test_an_organization_admin_becomes_admin_of_the_team_he_makes(world):
    made = await world.good("/team/new", {"organization_id": "org-a"}, as_caller="OA")
    assert made["members_with_roles"] == [{"user_id": "user-oa", "user_email": "user-oa@example.com", "role": "admin"}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_budget": -1}, "max_budget"),
        ({"soft_budget": -1}, "soft_budget"),
        ({"tpm_limit": -1}, "tpm_limit"),
        ({"budget_duration": "soon"}, "budget_duration"),
        ({"team_member_budget": -1}, "team_member_budget"),
        ({"team_id": "alpha"}, "team_id"),
        ({"organization_id": "nowhere"}, "organization_id"),
        ({"models": "gpt-4o"}, "models"),
        ({"metadata": []}, "metadata"),
        ({"model_aliases": {"a": 1}}, "model_aliases.a"),
        ({"team_member_permissions": ["/team/delete"]}, "team_member_permissions"),
        ({"members_with_roles": [{"role": "owner", "user_id": "u"}]}, "members_with_roles[0].role"),
        ({"members_with_roles": [{"role": "user"}]}, "member"),
        ({"members_with_roles": [{"user_id": "u"}, {"user_id": "u"}]}, "member"),
    ],
)
async def test_new_refuses(world, body, param):
    assert (await world.refused(400, "/team/new", body))["param"] == param


async def test_a_team_is_within_its_organization(world):
    limits = Limits(max_budget_nano_usd=10 * NANO, tpm_limit=100, rpm_limit=10)
    await world.make(Kind.BUDGET, "of-small", BudgetSpec(limits=limits))
    await world.make(Kind.ORGANIZATION, "small", OrganizationSpec(models=("gpt-4o", "openai/*")), budget_id="of-small")
    good = {"organization_id": "small", "models": ["gpt-4o", "openai/x"], "max_budget": 10, "tpm_limit": 100}
    for name, value in (
        ("models", ["gpt-4o", "claude"]), ("models", ["*"]), ("max_budget", 10.01), ("tpm_limit", 101),
        ("rpm_limit", 11),
    ):  # fmt: skip
        error = await world.refused(400, "/team/new", {**good, name: value})
        assert error["param"] == name
        assert "small" in error["message"]
    made = await world.good("/team/new", {**good, "team_id": "t"})
    for body in ({"max_budget": 11}, {"models": ["claude"]}, {"rpm_limit": 11}):
        await world.refused(400, "/team/update", {"team_id": "t", **body})
    await world.refused(400, "/team/model/add", {"team_id": "t", "models": ["claude"]})
    await world.refused(400, "/team/update", {"team_id": "alpha", "organization_id": "small", "models": ["claude"]})
    assert (await world.info("t"))["team_info"] == made
    # A change that touches nothing of it goes through, even when the organization has become smaller meanwhile.
    await world.change(Kind.ORGANIZATION, "small", spec={"models": ["x"]})
    await world.good("/team/update", {"team_id": "t", "team_alias": "renamed"})


async def test_the_shared_budget_of_the_organization_bounds_too(world):
    await world.make(Kind.BUDGET, "b", {"limits": {"max_budget_nano_usd": 5 * NANO}})
    await world.make(Kind.ORGANIZATION, "shared", OrganizationSpec(), budget_id="b")
    await world.refused(400, "/team/new", {"organization_id": "shared", "max_budget": 6})
    await world.good("/team/new", {"organization_id": "shared", "max_budget": 5})


async def test_update_keeps_what_is_omitted_and_clears_what_is_null(world):
    made = await world.good("/team/new", EVERYTHING)
    world.clock.advance(60)
    answer = await world.good("/team/update", {"team_id": "research", "rpm_limit": 20})
    assert answer["team_id"] == "research"
    assert answer["data"] == {**made, "rpm_limit": 20, "updated_at": answer["data"]["updated_at"]}
    assert answer["data"]["updated_at"] > made["updated_at"]
    cleared = {
        "max_budget": None, "budget_duration": None, "models": None, "metadata": None, "tags": None,
        "team_alias": None, "guardrails": None, "team_member_budget": None, "model_aliases": None,
        "organization_id": None,
    }  # fmt: skip
    data = (await world.good("/team/update", {"team_id": "research", **cleared}))["data"]
    assert (data["max_budget"], data["budget_duration"], data["budget_reset_at"]) == (None, None, None)
    assert (data["models"], data["metadata"], data["tags"], data["model_aliases"]) == ([], {}, [], {})
    assert (data["team_alias"], data["guardrails"], data["team_member_budget"]) == (None, None, None)
    assert (data["organization_id"], data["rpm_limit"], data["soft_budget"]) == (None, 20, 10.0)


async def test_update_replaces_metadata_and_patch_merges_it(world):
    await world.good("/team/new", {"team_id": "t", "metadata": {"a": 1, "b": {"x": 1, "y": 2}}})
    patched = await world.good("/team/t", {"metadata": {"a": None, "b": {"x": None, "z": 3}, "c": 4}}, method="PATCH")
    assert patched["metadata"] == {"b": {"y": 2, "z": 3}, "c": 4}
    assert patched["team_id"] == "t"
    replaced = await world.good("/team/update", {"team_id": "t", "metadata": {"d": 5}})
    assert replaced["data"]["metadata"] == {"d": 5}
    assert (await world.good("/team/t", {"metadata": None}, method="PATCH"))["metadata"] == {}
    big = {"metadata": {"x": "x" * 40_000}}
    await world.good("/team/t", big, method="PATCH")
    error = await world.refused(400, "/team/t", {"metadata": {"y": "y" * 40_000}}, method="PATCH")
    assert error["param"] == "metadata"


async def test_update_by_an_organization_admin_without_naming_the_organization(world):
    data = (await world.good("/team/update", {"team_id": "alpha", "max_budget": 3}, as_caller="OA"))["data"]
    assert (data["max_budget"], data["organization_id"]) == (3, "org-a")
    error = await world.refused(403, "/team/update", {"team_id": "alpha", "max_budget": 4}, as_caller="OB")
    assert "do not have access to this team" in error["message"]
    await world.refused(403, "/team/alpha", {"max_budget": 4}, as_caller="OB", method="PATCH")
    await world.refused(401, "/team/alpha", {"max_budget": 4}, as_caller="IU", method="PATCH")
    await world.refused(401, "/team/update", {"team_id": "alpha", "organization_id": None}, as_caller="OA")
    await world.refused(400, "/team/update", {"team_id": "alpha", "organization_id": "nowhere"})


async def test_a_team_admin_lowers_limits_and_raises_none(world):
    await world.good("/team/update", {"team_id": "alpha", "max_budget": 10, "budget_duration": "30d", "rpm_limit": 5})
    for body in (
        {"max_budget": 11}, {"max_budget": None}, {"rpm_limit": 6}, {"budget_duration": "1d"},
        {"models": ["gpt-4o"]}, {"blocked": True}, {"guardrails": []},
        {"temp_budget_increase": 5, "temp_budget_expiry": "2030-01-01"},
    ):  # fmt: skip
        error = await world.refused(403, "/team/update", {"team_id": "alpha", **body}, as_caller="TA")
        assert "may" in error["message"]
    lowered = {"team_id": "alpha", "max_budget": 9, "rpm_limit": 4, "metadata": {"a": 1}, "team_member_budget": 2}
    data = (await world.good("/team/update", lowered, as_caller="TA"))["data"]
    assert (data["max_budget"], data["rpm_limit"], data["metadata"]) == (9, 4, {"a": 1})


async def test_info(world):
    await world.good("/team/member_update", {"team_id": "alpha", "user_id": "user-un", "max_budget_in_team": 2,
                                             "budget_duration": "1d"})  # fmt: skip
    await world.make_key("in-alpha", user_id="user-ow", team_id="alpha", name="ow-key")
    await world.spend(1_500_000_000, key_hash=hash_key(world.keys["in-alpha"]), team_id="alpha", user_id="user-ow")
    shown = await world.info("alpha", as_caller="IU")
    assert shown["team_id"] == "alpha"
    assert {"user_id": "user-ta", "user_email": "user-ta@example.com", "role": "admin"} in shown["team_info"][
        "members_with_roles"
    ]
    assert (shown["team_info"]["spend"], shown["team_info"]["blocked"]) == (1.5, False)
    keys = {key["key_alias"]: key for key in shown["keys"]}
    assert (keys["ow-key"]["spend"], keys["ow-key"]["token"]) == (1.5, hash_key(world.keys["in-alpha"]))
    assert world.keys["in-alpha"] not in str(shown)
    memberships = {each["user_id"]: each for each in shown["team_memberships"]}
    assert memberships.keys() == {"user-ta", "user-iu", "user-ow", "user-un"}
    assert memberships["user-ow"]["spend"] == 1.5
    assert memberships["user-ow"]["litellm_budget_table"] is None
    budget = memberships["user-un"]["litellm_budget_table"]
    assert (budget["max_budget"], budget["budget_reset_at"]) == (2.0, "2026-01-06T00:00:00+00:00")


async def test_info_without_a_name_is_of_the_keys_own_team(world):
    assert (await world.get("/team/info", as_caller="SA")).json()["team_id"] == "alpha"
    assert (await world.get("/team/info", as_caller="IU")).status == 400


async def test_info_of_what_is_not_there_and_of_what_is_not_mine(world):
    for caller in ("PA", "OA", "IU"):
        answer = await world.get("/team/info", as_caller=caller, team_id="nothing")
        assert answer.status == 404
        assert "not found" in answer.error["message"]
        assert "does not exist" in answer.error["message"]
    answer = await world.get("/team/info", as_caller="XO", team_id="alpha")
    assert answer.status == 403
    assert "not authorized to access this team" in answer.error["message"]


async def test_delete_takes_keys_and_memberships_along(world):
    await world.make_key("in-alpha", user_id="user-ow", team_id="alpha")
    assert (await world.get("/team/info", as_caller="in-alpha", team_id="alpha")).status == 200
    answer = await world.good("/team/delete", {"team_ids": ["alpha", "alpha"]})
    assert answer == {"deleted_teams": ["alpha"]}
    assert (await world.get("/team/info", team_id="alpha")).status == 404
    assert (await world.get("/team/info", as_caller="in-alpha", team_id="alpha")).status == 401
    _, left = await world.everything()
    assert [each for each in left.values() if each.team_id == "alpha"] == []
    assert (await world.get("/team/list", as_caller="IU")).json() == []
    assert await world.find(Kind.USER, "user-ow") is not None
    actions = {row.ref.kind: row.action for row in (await world.control.list_audit(
        AuditFilter(action="deleted"), offset=0, limit=100)).rows}  # fmt: skip
    assert actions == {Kind.TEAM: "deleted", Kind.KEY: "deleted", Kind.TEAM_MEMBER: "deleted"}


async def test_delete_is_all_or_nothing(world):
    error = await world.refused(404, "/team/delete", {"team_ids": ["alpha", "nothing"]})
    assert "not found" in error["message"].lower()
    await world.refused(404, "/team/delete", {"team_ids": ["alpha", "nothing"]}, as_caller="OA")
    await world.refused(401, "/team/delete", {"team_ids": ["nothing"]}, as_caller="IU")
    await world.refused(401, "/team/delete", {"team_ids": ["alpha", "beta"]}, as_caller="OA")
    await world.refused(400, "/team/delete", {"team_ids": []})
    await world.refused(400, "/team/delete", {})


async def test_a_deleted_team_is_listed_as_deleted_and_its_id_is_free(world):
    await world.good("/team/delete", {"team_ids": ["alpha"]})
    page = (await world.get("/v2/team/list", status="deleted")).json()
    assert [team["team_id"] for team in page["teams"]] == ["alpha"]
    assert page["teams"][0]["deleted_at"]
    assert {each["user_id"] for each in page["teams"][0]["members_with_roles"]} == {
        "user-ta",
        "user-iu",
        "user-ow",
        "user-un",
    }
    assert (await world.get("/v2/team/list", as_caller="IU", status="deleted")).json()["total"] == 1
    assert (await world.get("/v2/team/list", as_caller="XO", status="deleted")).json()["total"] == 0
    assert (await world.good("/team/new", {"team_id": "alpha"}))["members_with_roles"] == []


async def test_block_and_unblock(world):
    blocked = await world.good("/team/block", {"team_id": "alpha"})
    assert blocked["blocked"] is True
    assert (await world.info("alpha"))["team_info"]["blocked"] is True
    assert (await world.get("/team/info", as_caller="SA")).status == 401
    assert (await world.good("/team/unblock", {"team_id": "alpha"}))["blocked"] is False
    assert (await world.get("/team/info", as_caller="SA")).status == 200
    for path in ("/team/block", "/team/unblock"):
        assert "not found" in (await world.refused(404, path, {"team_id": "nothing"}))["message"]


async def test_models_are_added_and_taken_out(world):
    await world.good("/team/new", {"team_id": "t", "models": ["a"]})
    assert (await world.good("/team/model/add", {"team_id": "t", "models": ["b", "a"]}))["models"] == ["a", "b"]
    assert (await world.good("/team/model/delete", {"team_id": "t", "models": ["a", "x"]}))["models"] == ["b"]
    # An empty list would allow every model.
    last = await world.good("/team/model/delete", {"team_id": "t", "models": ["b"]})
    assert last["models"] == ["no-default-models"]
    assert (await world.good("/team/model/add", {"team_id": "t", "models": ["c"]}))["models"] == ["c"]
    assert (await world.info("t"))["team_info"]["models"] == ["c"]
    for path in ("/team/model/add", "/team/model/delete"):
        await world.refused(404, path, {"team_id": "nothing", "models": ["a"]})


async def test_permissions(world):
    async def listed():
        return (await world.get("/team/permissions_list", as_caller="TA", team_id="alpha")).json()

    assert (await listed())["team_member_permissions"] == []
    wanted = ["/key/generate", "/key/info"]
    body = {"team_id": "alpha", "team_member_permissions": wanted}
    assert await world.good("/team/permissions_update", body, as_caller="TA") == body
    shown = await listed()
    assert shown["team_id"] == "alpha"
    assert shown["team_member_permissions"] == wanted
    assert set(wanted) < set(shown["all_available_permissions"])
    assert (await world.info("alpha"))["team_info"]["team_member_permissions"] == wanted
    bulk = {"team_ids": ["alpha", "beta"], "permissions": ["/key/delete"]}
    assert (await world.good("/team/permissions_bulk_update", bulk))["teams_updated"] == 2
    assert (await listed())["team_member_permissions"] == [*wanted, "/key/delete"]


async def test_permissions_refuse(world):
    await world.refused(400, "/team/permissions_bulk_update", {"permissions": ["/key/delete"]})
    await world.refused(400, "/team/permissions_bulk_update", {"team_ids": [], "permissions": ["/key/delete"]})
    bulk = {"team_ids": ["alpha", "nothing"], "permissions": ["/key/delete"]}
    await world.refused(404, "/team/permissions_bulk_update", bulk)
    body = {"team_id": "alpha", "team_member_permissions": ["/chat"]}
    assert "/key/generate" in (await world.refused(400, "/team/permissions_update", body))["message"]
    assert (await world.get("/team/permissions_list", team_id="nothing")).status == 404
    assert (await world.get("/team/permissions_list")).status == 400


async def test_paged_list(world):
    for number in range(5):
        world.clock.advance(1)
        await world.good("/team/new", {"team_id": f"t{number}", "team_alias": f"Squad {number}"})
    page = (await world.get("/v2/team/list", page=2, page_size=3)).json()
    assert page.keys() == {"teams", "total", "page", "page_size", "total_pages"}
    assert (page["total"], page["page"], page["page_size"], page["total_pages"]) == (8, 2, 3, 3)
    assert [team["team_id"] for team in page["teams"]][:2] == ["t1", "t0"]
    assert (await world.get("/v2/team/list", page=9)).json()["teams"] == []

    async def ids(**query):
        return [team["team_id"] for team in (await world.get("/v2/team/list", **query)).json()["teams"]]

    assert await ids(search="sQuAd", sort_by="team_alias", sort_order="asc") == ["t0", "t1", "t2", "t3", "t4"]
    assert (await ids(team_alias="squad", sort_by="team_id", sort_order="desc"))[0] == "t4"
    assert await ids(search="squad", team_alias="Squad 3") == ["t3"]
    assert await ids(organization_id="org-b") == ["beta"]
    assert await ids(team_id="t2") == ["t2"]
    assert await ids(user_id="user-iu") == ["alpha"]
    assert await ids(user_id="nobody") == []
    for query in ({"sort_by": "colour"}, {"sort_order": "up"}, {"page": 0}, {"page_size": 0}, {"status": "x"}):
        assert (await world.get("/v2/team/list", **query)).status == 400


async def test_team_list_is_a_bare_array_and_available_is_empty(world):
    teams = (await world.get("/team/list")).json()
    assert isinstance(teams, list)
    assert {team["team_id"] for team in teams} == {"alpha", "beta", "gamma"}
    assert (await world.get("/team/available", as_caller="IU")).json() == []


async def test_fields_without_meaning_are_named(world):
    answer = await world.post("/team/new", {"colour": 1, "members_with_roles": [{"user_id": "u"}]})
    assert answer.headers["x-tallystick-ignored-fields"] == "colour"
    assert (await world.get("/team/list", colour=1)).headers["x-tallystick-ignored-fields"] == "colour"
    body = {"team_id": "alpha", "member": {"user_id": "u", "age": 3}}
    assert (await world.post("/team/member_add", body)).headers["x-tallystick-ignored-fields"] == "member.age"


async def test_two_updates_at_once_lose_nothing(world):
    bodies = [{"team_id": "alpha", "metadata": {f"k{number}": number}} for number in range(4)]
    answers = await asyncio.gather(*(world.post("/team/alpha", body, method="PATCH") for body in bodies))
    assert [answer.status for answer in answers] == [200] * 4
    assert (await world.info("alpha"))["team_info"]["metadata"] == {f"k{number}": number for number in range(4)}


async def test_the_audit_tells_who_changed_a_team(world):
    await world.good("/team/update", {"team_id": "alpha", "team_alias": "Alpha"}, as_caller="OA")
    where = AuditFilter(kind=Kind.TEAM, object_id="alpha", action="updated")
    (row,) = (await world.control.list_audit(where, offset=0, limit=10)).rows
    assert row.author.user_id == "user-oa"
    assert (row.before["name"], row.after["name"]) == ("alpha", "Alpha")


async def test_secrets_in_metadata_and_settings_are_sealed_and_never_shown(world):
    secrets = {
        "metadata": {"logging": [{"callback_vars": {"langfuse_secret_key": "the-secret-1"}}], "owner": "ann"},
        "router_settings": {"redis_password": "the-secret-2", "num_retries": 1},
    }
    made = await world.good("/team/new", {"team_id": "t", **secrets})
    assert made["metadata"]["logging"] == [{"callback_vars": {"langfuse_secret_key": "****"}}]
    assert made["router_settings"] == {"redis_password": "****", "num_retries": 1}
    await world.good("/team/t", {"metadata": {"owner": "bob"}}, method="PATCH")
    # Who writes back what he read changes no secret.
    shown = (await world.info("t"))["team_info"]
    back = {"team_id": "t", "metadata": shown["metadata"], "router_settings": shown["router_settings"]}
    updated = await world.good("/team/update", back)
    assert updated["data"]["metadata"]["owner"] == "bob"
    held = await world.find(Kind.TEAM, "t")
    opened = world.writer.sealer.open(held.kind, held.object_id, held.spec)
    assert opened["metadata"]["logging"] == secrets["metadata"]["logging"]
    assert opened["other"]["router_settings"] == secrets["router_settings"]
    audit = (await world.control.list_audit(AuditFilter(object_id="t"), offset=0, limit=10)).rows
    for text in (str(held.spec), str(shown), str(updated), str(audit)):
        assert "the-secret" not in text


@pytest.mark.parametrize("bad", ["nul\0", "x" * 257])
async def test_an_id_in_the_path_is_checked_like_one_in_the_body(world, bad):
    assert (await world.refused(400, f"/team/{bad}", {"team_alias": "a"}, method="PATCH"))["param"] == "team_id"
    assert (await world.refused(400, f"/team/{bad}/member/u/reset_spend"))["param"] == "team_id"
    assert (await world.refused(400, f"/team/alpha/member/{bad}/reset_spend"))["param"] == "user_id"
