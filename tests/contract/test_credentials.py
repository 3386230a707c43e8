"""Credentials over HTTP, as LiteLLM's clients and Terraform use them."""

from __future__ import annotations

import pytest

from contract.control_world import ControlWorld
from tallystick.access.users import Role

SECRET = "sk-secret-of-the-credential"
FILE = (
    "credential_list: [{credential_name: filed, credential_values: {api_key: sk-filed-secret},"
    " credential_info: {custom_llm_provider: openai}}]\n"
)


@pytest.fixture
def world(tmp_path):
    return ControlWorld(tmp_path, FILE)


async def add(world, name="c", **values):
    body = {"credential_name": name, "credential_values": values or {"api_key": SECRET}, "credential_info": {"d": "x"}}
    return await world.ok("POST", "/credentials", body)


async def add_model(world, model_id="m-1", **params):
    body = {
        "model_name": "gpt",
        "litellm_params": {"model": "openai/gpt-4o", "litellm_credential_name": "c", **params},
        "model_info": {"id": model_id},
    }
    return await world.ok("POST", "/model/new", body)


def key_of(world, model_id="m-1"):
    return world.snapshots.current.deployments()[model_id].target.headers["authorization"]


async def test_values_are_masked_on_every_read(world):
    answer = await add(world, api_key=SECRET, api_base="http://upstream/v1", region="os.environ/REGION")
    assert answer == {"success": True, "message": "Credential created successfully"}
    shown = await world.ok("GET", "/credentials/by_name/c")
    assert shown == {
        "credential_name": "c",
        "credential_values": {"api_key": "****", "api_base": "****", "region": "os.environ/REGION"},
        "credential_info": {"d": "x"},
    }
    assert await world.ok("GET", "/credentials/c") == shown
    listed = await world.ok("GET", "/credentials")
    assert listed["success"] is True
    assert [each["credential_name"] for each in listed["credentials"]] == ["filed", "c"]
    read = [str(shown), str(listed), str(await world.ok("GET", "/credentials/by_name/filed"))]
    read.append(await world.everything_written())
    for secret in (SECRET, "sk-filed-secret", "http://upstream"):
        assert [text for text in read if secret in text] == []


async def test_rotating_a_credential_changes_every_model_that_names_it(world):
    await add(world)
    await add_model(world, "m-1")
    await add_model(world, "m-2")
    await world.ok("PATCH", "/credentials/c", {"credential_values": {"api_key": "sk-next"}})
    assert [key_of(world, each) for each in ("m-1", "m-2")] == ["Bearer sk-next"] * 2


async def test_patch_merges_and_null_removes(world):
    await add(world, api_key=SECRET, api_base="http://upstream/v1")
    await add_model(world)
    patch = {"credential_values": {"api_base": None, "api_key": "****"}, "credential_info": {"d": None, "e": 1}}
    answer = await world.ok("PATCH", "/credentials/c", patch)
    assert answer["success"] is True
    shown = await world.ok("GET", "/credentials/by_name/c")
    assert (shown["credential_values"], shown["credential_info"]) == ({"api_key": "****"}, {"e": 1})
    assert key_of(world) == f"Bearer {SECRET}"


async def test_a_change_that_would_break_a_served_model_is_refused(world):
    await add(world)
    await add_model(world)
    error = await world.refused(400, "PATCH", "/credentials/c", {"credential_values": {"api_key": None}})
    assert "the model 'm-1' needs it" in error["message"]
    error = await world.refused(400, "PATCH", "/credentials/c", {"credential_values": {"api_base": "no url"}})
    assert error["param"] == "litellm_params.api_base"
    assert key_of(world) == f"Bearer {SECRET}"


async def test_deleting_names_the_models_that_are_served_no_more(world):
    await add(world)
    await add_model(world)
    answer = await world.ok("DELETE", "/credentials/c")
    assert answer["success"] is True
    assert "m-1" in answer["message"]
    for method, path, body in (
        ("GET", "/credentials/by_name/c", None),
        ("GET", "/credentials/c", None),
        ("PATCH", "/credentials/c", {"credential_values": {}}),
        ("DELETE", "/credentials/c", None),
    ):
        assert "not found" in (await world.refused(404, method, path, body))["message"]


async def test_a_credential_of_a_model(world):
    body = {
        "model_name": "gpt",
        "litellm_params": {"model": "openai/gpt-4o", "api_key": SECRET, "api_base": "http://upstream/v1"},
        "model_info": {"id": "m-0"},
    }
    await world.ok("POST", "/model/new", body)
    shown = await world.ok("GET", "/credentials/by_model/m-0")
    assert shown["credential_values"] == {"api_key": "****", "api_base": "****"}
    await world.ok("POST", "/credentials", {"credential_name": "c", "model_id": "m-0"})
    await add_model(world)
    assert key_of(world) == f"Bearer {SECRET}"
    await world.refused(404, "GET", "/credentials/by_model/gone")
    await world.refused(404, "POST", "/credentials", {"credential_name": "d", "model_id": "gone"})


async def test_the_file_owns_its_credentials(world):
    for method, path, body in (
        ("POST", "/credentials", {"credential_name": "filed", "credential_values": {}}),
        ("PATCH", "/credentials/filed", {"credential_values": {}}),
        ("DELETE", "/credentials/filed", None),
    ):
        assert "configuration file" in (await world.refused(409, method, path, body))["message"]


async def test_what_is_not_right(world):
    await add(world)
    await world.refused(409, "POST", "/credentials", {"credential_name": "c", "credential_values": {}})
    error = await world.refused(400, "POST", "/credentials", {"credential_values": {}})
    assert error["param"] == "credential_name"
    error = await world.refused(400, "POST", "/credentials", {"credential_name": "d"})
    assert error["param"] == "credential_values"
    error = await world.refused(400, "PATCH", "/credentials/c", {"credential_name": "other"})
    assert error["param"] == "credential_name"


@pytest.mark.parametrize("role", [None, Role.INTERNAL_USER, Role.PROXY_ADMIN_VIEWER])
async def test_only_admins(world, role):
    await add(world)
    key = await world.key(role=role)
    await world.refused(401, "POST", "/credentials", {"credential_name": "d", "credential_values": {}}, key=key)
    await world.refused(401, "DELETE", "/credentials/c", key=key)
    if role == Role.PROXY_ADMIN_VIEWER:
        await world.ok("GET", "/credentials", key=key)
    else:
        await world.refused(401, "GET", "/credentials", key=key)


async def test_terraforms_life_of_a_credential(world):
    info = {"custom_llm_provider": "openai", "description": "by terraform"}
    body = {"credential_name": "tf/prod key", "credential_info": info, "credential_values": {"api_key": SECRET}}
    await world.ok("POST", "/credentials", body)
    read = await world.ok("GET", "/credentials/by_name/tf/prod key", model_id="m-1")
    assert (read["credential_name"], read["credential_info"]) == ("tf/prod key", info)
    info["description"] = "changed"
    await world.ok("PATCH", "/credentials/tf/prod key", body)
    assert (await world.ok("GET", "/credentials/by_name/tf/prod key"))["credential_info"] == info
    await world.ok("DELETE", "/credentials/tf/prod key")
    assert "not found" in (await world.refused(404, "GET", "/credentials/by_name/tf/prod key"))["message"]
