"""Terraform's life of its team resources: create, read back without a difference, update, delete, and its 404."""

from __future__ import annotations

import pytest

from contract.team_world import TeamWorld

TEAM = {
    "team_id": "tf-team",
    "team_alias": "Terraform",
    "organization_id": "org-a",
    "models": ["gpt-4o"],
    "model_aliases": {"fast": "gpt-4o-mini"},
    "metadata": {"owner": "platform", "level": "1"},
    "tags": ["prod"],
    "max_budget": 100.0,
    "budget_duration": "30d",
    "tpm_limit": 1000,
    "rpm_limit": 60,
    "tpm_limit_type": "guaranteed_throughput",
    "rpm_limit_type": "guaranteed_throughput",
    "model_tpm_limit": {"gpt-4o": 500},
    "model_rpm_limit": {"gpt-4o": 30},
    "guardrails": ["pii"],
    "prompts": ["greeting"],
    "router_settings": {"num_retries": 1},
    "team_member_budget": 10.0,
    "team_member_rpm_limit": 5,
    "team_member_tpm_limit": 100,
    "blocked": False,
}
PROVIDER_SAYS_GONE = ("not found", "404", "does not exist")


@pytest.fixture
async def world():
    return await TeamWorld.build()


async def read(world):
    shown = (await world.info(TEAM["team_id"]))["team_info"]
    return {name: shown[name] for name in TEAM}


def says_gone(answer):
    return answer.status == 404 and any(text in answer.error["message"] for text in PROVIDER_SAYS_GONE)


async def test_team(world):
    await world.good("/team/new", TEAM)
    assert await read(world) == TEAM
    permissions = {"team_id": TEAM["team_id"], "team_member_permissions": ["/key/generate", "/key/info"]}
    await world.good("/team/permissions_update", permissions)
    listed = (await world.get("/team/permissions_list", team_id=TEAM["team_id"])).json()
    assert listed["team_member_permissions"] == permissions["team_member_permissions"]
    changed = {**TEAM, "team_alias": "Renamed", "max_budget": 50.0, "models": ["gpt-4o", "o3"], "tags": ["dev"]}
    await world.good("/team/update", changed)
    assert await read(world) == changed
    await world.good("/team/delete", {"team_ids": [TEAM["team_id"]]})
    assert says_gone(await world.get("/team/info", team_id=TEAM["team_id"]))
    assert says_gone(await world.post("/team/delete", {"team_ids": [TEAM["team_id"]]}))


async def test_team_with_nothing_but_its_alias(world):
    made = await world.good("/team/new", {"team_alias": "Bare"})
    shown = (await world.info(made["team_id"]))["team_info"]
    assert shown == made
    empty = {"models": [], "tags": [], "metadata": {}, "model_aliases": {}, "blocked": False}
    assert {name: shown[name] for name in empty} == empty
    assert {shown[name] for name in TEAM if name not in {"team_id", "team_alias", *empty}} == {None}


async def test_team_block(world):
    await world.good("/team/new", TEAM)
    for path, blocked in (("/team/block", True), ("/team/unblock", False)):
        await world.good(path, {"team_id": TEAM["team_id"]})
        assert (await read(world))["blocked"] is blocked
        assert says_gone(await world.post(path, {"team_id": "gone"}))


async def members(world):
    shown = await world.info(TEAM["team_id"])
    roles = {each["user_id"]: each["role"] for each in shown["team_info"]["members_with_roles"]}
    budgets = {each["user_id"]: each["litellm_budget_table"]["max_budget"] for each in shown["team_memberships"]}
    return {user_id: (roles[user_id], budgets[user_id]) for user_id in roles}


async def test_team_member(world):
    await world.good("/team/new", TEAM)
    named = {"team_id": TEAM["team_id"], "user_id": "tf-user"}
    await world.good(
        "/team/member_add",
        {"team_id": TEAM["team_id"], "member": [{"role": "user", "user_id": "tf-user"}], "max_budget_in_team": 5},
    )
    assert await members(world) == {"tf-user": ("user", 5)}
    await world.good("/team/member_update", {**named, "role": "admin", "max_budget_in_team": 7})
    assert await members(world) == {"tf-user": ("admin", 7)}
    await world.good("/team/member_delete", named)
    assert await members(world) == {}
    assert "not found" in (await world.refused(400, "/team/member_delete", named))["message"]


async def test_team_member_add(world):
    await world.good("/team/new", TEAM)
    several = [{"role": "user", "user_id": "u1"}, {"role": "admin", "user_email": "u2@example.org"}]
    await world.good("/team/member_add", {"team_id": TEAM["team_id"], "member": several})
    held = await members(world)
    assert sorted(held.values()) == [("admin", 10), ("user", 10)]
    for user_id in held:
        await world.good("/team/member_delete", {"team_id": TEAM["team_id"], "user_id": user_id})
    assert await members(world) == {}
    assert says_gone(await world.post("/team/member_add", {"team_id": "gone", "member": several}))
