"""Access groups over HTTP, by name and by id, as LiteLLM's clients and Terraform use them."""

from __future__ import annotations

import pytest

from contract.control_world import ControlWorld
from tallystick.access.users import Role

FILE = (
    "model_list:\n"
    "- {model_name: a, litellm_params: {model: openai/a, api_key: k}, model_info: {access_groups: [of-the-file]}}\n"
    "- {model_name: a, litellm_params: {model: openai/a2, api_key: k}}\n"
    "- {model_name: b, litellm_params: {model: openai/b, api_key: k}, model_info: {id: b-1}}\n"
)


@pytest.fixture
def world(tmp_path):
    return ControlWorld(tmp_path, FILE)


async def seen(world, key):
    return sorted({row["model_name"] for row in (await world.ok("GET", "/model/info", key=key))["data"]})


async def test_a_group_is_usable_as_a_keys_model(world):
    key = await world.key(models=("beta",))
    assert await seen(world, key) == []
    answer = await world.ok("POST", "/access_group/new", {"access_group": "beta", "model_names": ["a"]})
    assert (answer["access_group"], answer["models_updated"]) == ("beta", 2)
    assert await seen(world, key) == ["a"]
    shown = await world.ok("GET", "/access_group/beta/info")
    assert shown == {"access_group": "beta", "model_names": ["a"], "deployment_count": 2}
    changed = await world.ok("PUT", "/access_group/beta/update", {"model_names": ["b"]})
    assert (changed["access_group"], changed["models_updated"]) == ("beta", 1)
    assert await seen(world, key) == ["b"]
    deleted = await world.ok("DELETE", "/access_group/beta/delete")
    assert (deleted["access_group"], deleted["models_updated"]) == ("beta", 1)
    assert await seen(world, key) == []


async def test_the_list_has_the_deployments_own_groups_too(world):
    await world.ok("POST", "/access_group/new", {"access_group": "beta", "model_ids": ["b-1"]})
    listed = (await world.ok("GET", "/access_group/list"))["access_groups"]
    assert [(each["access_group"], each["model_names"]) for each in listed] == [("beta", ["b"]), ("of-the-file", ["a"])]


async def test_a_group_made_of_deployments_is_changed_there(world):
    assert (await world.ok("GET", "/access_group/of-the-file/info"))["model_names"] == ["a"]
    for method, path, body in (
        ("PUT", "/access_group/of-the-file/update", {"model_names": ["b"]}),
        ("DELETE", "/access_group/of-the-file/delete", None),
    ):
        assert "model_info.access_groups" in (await world.refused(400, method, path, body))["message"]
    await world.refused(409, "POST", "/access_group/new", {"access_group": "of-the-file", "model_names": ["a"]})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model_names": ["a"]}, "access_group"),
        ({"access_group": "g"}, "model_names"),
        ({"access_group": "g", "model_names": []}, "model_names"),
        ({"access_group": "g", "model_names": ["a", "nothing"]}, "model_names"),
        ({"access_group": "g", "model_ids": ["nothing"]}, "model_names"),
        ({"access_group": "g", "model_names": "a"}, "model_names"),
    ],
)
async def test_what_is_not_right(world, body, param):
    assert (await world.refused(400, "POST", "/access_group/new", body))["param"] == param


async def test_names_are_taken_once_and_absent_ones_are_not_found(world):
    await world.ok("POST", "/access_group/new", {"access_group": "beta", "model_names": ["a"]})
    await world.refused(409, "POST", "/access_group/new", {"access_group": "beta", "model_names": ["a"]})
    await world.refused(409, "POST", "/v1/access_group", {"access_group_name": "beta"})
    for method, path, body in (
        ("GET", "/access_group/gone/info", None),
        ("PUT", "/access_group/gone/update", {"model_names": ["a"]}),
        ("DELETE", "/access_group/gone/delete", None),
        ("GET", "/v1/access_group/gone", None),
        ("PUT", "/v1/access_group/gone", {"description": "x"}),
        ("DELETE", "/v1/access_group/gone", None),
    ):
        assert "not found" in (await world.refused(404, method, path, body))["message"]


@pytest.mark.parametrize("role", [None, Role.INTERNAL_USER, Role.PROXY_ADMIN_VIEWER])
async def test_only_admins_write(world, role):
    key = await world.key(role=role)
    await world.refused(401, "POST", "/access_group/new", {"access_group": "g", "model_names": ["a"]}, key=key)
    await world.refused(401, "POST", "/v1/access_group", {"access_group_name": "g"}, key=key)
    if role == Role.PROXY_ADMIN_VIEWER:
        await world.ok("GET", "/access_group/list", key=key)


async def test_unified_groups(world):
    answer = await world.client.post(
        "/v1/access_group",
        {
            "access_group_name": "beta",
            "description": "for the brave",
            "access_model_names": ["a"],
            "access_mcp_server_ids": ["s"],
            "assigned_team_ids": ["t"],
        },
    )
    assert answer.status == 201
    assert answer.headers["x-tallystick-ignored-fields"] == "access_mcp_server_ids, assigned_team_ids"
    made = answer.json()
    assert made["created_at"]
    path = f"/v1/access_group/{made['access_group_id']}"
    assert await world.ok("GET", path) == made
    assert await world.ok("GET", "/v1/access_group") == [made]
    by_name, by_id = await world.key(models=("beta",)), await world.key(models=(made["access_group_id"],))
    assert [await seen(world, key) for key in (by_name, by_id)] == [["a"], ["a"]]
    changed = await world.ok("PUT", path, {"access_group_name": "gamma", "access_model_names": None})
    assert (changed["access_group_name"], changed["access_model_names"], changed["access_mcp_server_ids"]) == (
        "gamma",
        [],
        ["s"],
    )
    assert changed["description"] == "for the brave"
    assert (await world.client.request("DELETE", path)).status == 204
    assert await world.ok("GET", "/v1/access_group") == []


async def test_terraforms_life_of_an_access_group(world):
    await world.ok("POST", "/access_group/new", {"access_group": "tf", "model_names": ["b", "a"]})
    read = await world.ok("GET", "/access_group/tf/info")
    assert (read["access_group"], sorted(read["model_names"])) == ("tf", ["a", "b"])
    await world.ok("PUT", "/access_group/tf/update", {"model_names": ["a"]})
    assert (await world.ok("GET", "/access_group/tf/info"))["model_names"] == ["a"]
    await world.ok("DELETE", "/access_group/tf/delete")
    assert "not found" in (await world.refused(404, "GET", "/access_group/tf/info"))["message"]
