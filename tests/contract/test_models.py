"""Deployments over HTTP, as LiteLLM's clients, Terraform, Cline and Roo use them."""

from __future__ import annotations

import pytest

from contract.control_world import ControlWorld
from tallystick.access.users import Role

SECRET = "sk-secret-of-the-upstream"
PARAMS = {"model": "openai/gpt-4o", "api_key": SECRET, "api_base": "http://upstream/v1"}
FILE = (
    "model_list: [{model_name: filed, litellm_params: {model: openai/gpt-4o-mini, api_key: sk-filed-secret},"
    " model_info: {id: of-the-file, access_groups: [beta]}}]\n"
)


@pytest.fixture
def world(tmp_path):
    return ControlWorld(tmp_path, FILE)


async def add(world, name="gpt", info=None, **params):
    body = {"model_name": name, "litellm_params": {**PARAMS, **params}, "model_info": info or {}}
    return await world.ok("POST", "/model/new", body)


async def info(world, model_id=None, *, key=None):
    query = {"litellm_model_id": model_id} if model_id else {}
    return (await world.ok("GET", "/model/info", key=key, **query))["data"]


# POST /model/new


async def test_a_new_model_is_served_when_it_is_answered(world):
    row = await add(world, info={"id": "m-1", "mode": "chat"})
    assert row["model_id"] == "m-1"
    assert row["model_name"] == "gpt"
    assert row["litellm_params"] == {**PARAMS, "api_key": "****"}
    assert (row["blocked"], row["created_by"]) == (False, "litellm_proxy_master_key")
    (deployment,) = world.snapshots.current.model_groups["gpt"]
    assert deployment.target.headers == {"authorization": f"Bearer {SECRET}"}
    assert (await add(world))["model_id"] not in {"", "m-1"}
    assert len(world.snapshots.current.model_groups["gpt"]) == 2


async def test_secrets_are_neither_answered_nor_kept_in_the_clear(world):
    facts = {"api_key": "fact-secret-1", "note": {"password": "fact-secret-2"}}
    row = await add(
        world, info=facts, extra_headers={"x-auth": "header-secret-1"}, vertex_credentials="vertex-secret-1"
    )
    await world.ok("PATCH", f"/model/{row['model_id']}/update", {"litellm_params": {"api_key": "sk-second-secret"}})
    paths = ("/model/info", "/v1/model/info", "/v2/model/info", "/model_group/info", "/credentials")
    read = [str(row), *[str(await world.ok("GET", path)) for path in paths], await world.everything_written()]
    for secret in (SECRET, "header-secret-1", "vertex-secret-1", "sk-second-secret", "sk-filed-secret", "fact-secret"):
        assert [text for text in read if secret in text] == []


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"model": "nobody/x"}, "litellm_params.model", "'nobody' is not a provider"),
        ({"model": "azure/x", "api_base": None}, "litellm_params.api_base", "api_base"),
        ({"api_base": "not a url"}, "litellm_params.api_base", "base URL"),
        ({"model": None}, "litellm_params.model", "Field required"),
        ({"litellm_credential_name": "gone"}, "litellm_params.litellm_credential_name", "no credential 'gone'"),
        ({"api_key": "os.environ/NOT_THERE"}, "litellm_params.api_key", "NOT_THERE is not set"),
        ({"api_key": "file:///not/there"}, "litellm_params.api_key", "can't be read"),
        ({"timeout": -1}, "litellm_params.timeout", "greater than 0"),
        ({"input_cost_per_token": -1}, "litellm_params.input_cost_per_token", "greater than or equal"),
    ],
)
async def test_what_could_not_be_served_is_refused_with_the_reason(world, changes, param, words):
    body = {"model_name": "gpt", "litellm_params": {**PARAMS, **changes}}
    error = await world.refused(400, "POST", "/model/new", body)
    assert error["param"] == param
    assert words in error["message"]
    assert SECRET not in error["message"]
    assert "gpt" not in world.snapshots.current.model_groups


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"litellm_params": PARAMS}, "model_name"),
        ({"model_name": "m"}, "litellm_params"),
        ({"model_name": "", "litellm_params": PARAMS}, "model_name"),
        ({"model_name": "m", "litellm_params": [1]}, "litellm_params"),
        ({"model_name": "m", "litellm_params": PARAMS, "model_info": {"id": 5}}, "model_info.id"),
        ({"model_name": "m", "litellm_params": PARAMS, "model_info": {"team_id": "nobody"}}, "model_info.team_id"),
        ({"model_name": "m", "litellm_params": PARAMS, "model_info": {"team_id": 5}}, "model_info.team_id"),
        ({"model_name": "m", "litellm_params": PARAMS, "model_info": {"id": "of-the-file"}}, "id"),
    ],
)
async def test_a_body_that_is_not_right(world, body, param):
    assert (await world.refused(400, "POST", "/model/new", body))["param"] == param


async def test_an_id_is_taken_once(world):
    await add(world, info={"id": "m-1"})
    body = {"model_name": "other", "litellm_params": PARAMS, "model_info": {"id": "m-1"}}
    await world.refused(409, "POST", "/model/new", body)


async def test_what_has_no_effect_is_named(world):
    body = {"model_name": "m", "litellm_params": {**PARAMS, "use_litellm_proxy": True}, "surprise": 1}
    answer = await world.client.post("/model/new", body)
    assert answer.status == 200
    assert answer.headers["x-tallystick-ignored-fields"] == "litellm_params.use_litellm_proxy, surprise"


@pytest.mark.parametrize("role", [None, Role.INTERNAL_USER, Role.ORG_ADMIN, Role.PROXY_ADMIN_VIEWER])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/model/new", {"model_name": "m", "litellm_params": PARAMS}),
        ("POST", "/model/update", {"id": "m-1", "model_name": "n"}),
        ("PATCH", "/model/m-1/update", {"model_name": "n"}),
        ("POST", "/model/delete", {"id": "m-1"}),
        ("POST", "/model/block", {"model_id": "m-1"}),
        ("POST", "/model/unblock", {"model_id": "m-1"}),
    ],
)
async def test_only_admins_write_and_a_denied_write_changes_nothing(world, role, method, path, body):
    await add(world, info={"id": "m-1"})
    key = await world.key(role=role)
    before = world.snapshots.current
    error = await world.refused(403, method, path, body, key=key)
    assert "does not have permission to make this model call" in error["message"]
    assert world.snapshots.current.model_groups == before.model_groups


async def test_models_are_not_written_where_they_are_not_read(tmp_path):
    world = ControlWorld(tmp_path, "general_settings: {store_model_in_db: false}")
    for method, path, body in (
        ("POST", "/model/new", {"model_name": "m", "litellm_params": PARAMS}),
        ("POST", "/credentials", {"credential_name": "c", "credential_values": {}}),
        ("POST", "/config/update", {"router_settings": {"num_retries": 1}}),
    ):
        assert "STORE_MODEL_IN_DB" in (await world.refused(400, method, path, body))["message"]


# Update, block, delete


async def test_patch_merges_and_null_removes(world):
    await add(world, info={"id": "m-1", "mode": "chat", "tier": "paid"}, rpm=5)
    patch = {"litellm_params": {"rpm": None, "tpm": 7, "model": "openai/gpt-4o-mini"}, "model_info": {"tier": None}}
    row = await world.ok("PATCH", "/model/m-1/update", patch)
    assert row["litellm_params"] == {**PARAMS, "api_key": "****", "model": "openai/gpt-4o-mini", "tpm": 7}
    assert row["model_info"]["mode"] == "chat"
    assert "tier" not in row["model_info"]
    deployment = world.snapshots.current.deployments()["m-1"]
    assert deployment.target.model == "gpt-4o-mini"
    assert deployment.target.headers == {"authorization": f"Bearer {SECRET}"}
    renamed = await world.ok("PATCH", "/model/m-1/update", {"model_name": "new-name"})
    assert (renamed["model_name"], set(world.snapshots.current.model_groups)) == ("new-name", {"filed", "new-name"})


async def test_what_was_read_may_be_written_back(world):
    written = await add(world, info={"id": "m-1"})
    again = await world.ok("PATCH", "/model/m-1/update", {"litellm_params": written["litellm_params"]})
    assert again == written
    assert world.snapshots.current.deployments()["m-1"].target.headers == {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize("where", [{"id": "m-1"}, {"model_id": "m-1"}, {"model_info": {"id": "m-1"}}])
async def test_update_names_the_model_in_the_body(world, where):
    await add(world, info={"id": "m-1"})
    row = await world.ok("POST", "/model/update", {**where, "litellm_params": {"api_key": "sk-rotated"}})
    assert row["model_id"] == "m-1"
    assert world.snapshots.current.deployments()["m-1"].target.headers == {"authorization": "Bearer sk-rotated"}


async def test_an_update_that_could_not_be_served_changes_nothing(world):
    await add(world, info={"id": "m-1"})
    error = await world.refused(400, "PATCH", "/model/m-1/update", {"litellm_params": {"model": "nobody/x"}})
    assert error["param"] == "litellm_params.model"
    assert world.snapshots.current.deployments()["m-1"].target.model == "gpt-4o"
    await world.refused(400, "POST", "/model/update", {"litellm_params": {}})


async def test_block_and_unblock(world):
    await add(world, info={"id": "m-1"})
    blocked = await world.ok("POST", "/model/block", {"model_id": "m-1"})
    assert (blocked["model_id"], blocked["blocked"]) == ("m-1", True)
    assert "gpt" not in world.snapshots.current.model_groups
    (row,) = await info(world, "m-1")
    assert row["model_info"]["blocked"] is True
    unblocked = await world.ok("POST", "/model/unblock", {"model_id": "m-1"})
    assert (unblocked["blocked"], "gpt" in world.snapshots.current.model_groups) == (False, True)


async def test_delete(world):
    await add(world, info={"id": "m-1"})
    assert "deleted successfully" in (await world.ok("POST", "/model/delete", {"id": "m-1"}))["message"]
    assert "gpt" not in world.snapshots.current.model_groups
    for method, path, body in (
        ("POST", "/model/delete", {"id": "m-1"}),
        ("POST", "/model/block", {"model_id": "m-1"}),
        ("POST", "/model/update", {"id": "m-1"}),
        ("PATCH", "/model/m-1/update", {}),
    ):
        assert "not found" in (await world.refused(404, method, path, body))["message"]
    error = await world.refused(404, "GET", "/model/info", litellm_model_id="m-1")
    assert "not found" in error["message"]
    await add(world, info={"id": "m-1"})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/model/update", {"id": "of-the-file", "model_name": "n"}),
        ("PATCH", "/model/of-the-file/update", {"model_name": "n"}),
        ("POST", "/model/delete", {"id": "of-the-file"}),
        ("POST", "/model/block", {"model_id": "of-the-file"}),
    ],
)
async def test_the_file_owns_its_models(world, method, path, body):
    assert "configuration file" in (await world.refused(400, method, path, body))["message"]
    assert "filed" in world.snapshots.current.model_groups


# Reading


@pytest.mark.parametrize("path", ["/model/info", "/v1/model/info"])
async def test_model_info_has_what_cline_and_roo_read(world, path):
    await add(world, info={"id": "m-1", "supports_vision": True}, input_cost_per_token=0.000001)
    (row,) = (await world.ok("GET", path, litellm_model_id="m-1"))["data"]
    assert row["model_name"] == "gpt"
    assert row["litellm_params"] == {
        "model": "openai/gpt-4o",
        "api_base": "http://upstream/v1",
        "input_cost_per_token": 0.000001,
    }
    facts = row["model_info"]
    assert (facts["id"], facts["db_model"], facts["supports_vision"]) == ("m-1", True, True)
    assert (facts["input_cost_per_token"], facts["output_cost_per_token"]) == (0.000001, 0.00001)
    assert facts["max_input_tokens"] == 128_000
    assert {"max_tokens", "supports_computer_use", "supports_prompt_caching", "mode"} <= facts.keys()
    assert facts["supports_computer_use"] is None


async def test_the_files_models_are_shown_too(world):
    (row,) = await info(world)
    assert row["model_name"] == "filed"
    assert row["litellm_params"] == {"model": "openai/gpt-4o-mini"}
    assert (row["model_info"]["id"], row["model_info"]["db_model"]) == ("of-the-file", False)
    assert row["model_info"]["input_cost_per_token"] == 0.0000025


async def test_only_models_that_the_key_may_use(world):
    await add(world, "allowed", {"access_groups": ["beta"]})
    await add(world, "other")
    by_name, by_group = await world.key(models=("allowed",)), await world.key(models=("beta",))
    assert [row["model_name"] for row in await info(world, key=by_name)] == ["allowed"]
    assert {row["model_name"] for row in await info(world, key=by_group)} == {"allowed", "filed"}
    assert len(await info(world, key=await world.key())) == 3
    groups = (await world.ok("GET", "/model_group/info", key=by_name))["data"]
    assert [row["model_group"] for row in groups] == ["allowed"]
    paged = await world.ok("GET", "/v2/model/info", key=by_name)
    assert paged["total_count"] == 1
    await world.refused(401, "GET", "/model/info", key="sk-unknown")


async def test_a_teams_own_model_is_its_alone(world):
    await world.team("t1", models=["filed"])
    await world.team("t2")
    row = await add(world, "gpt-of-t1", {"id": "m-1", "team_id": "t1", "team_public_model_name": "gpt"})
    assert row["model_info"]["team_id"] == "t1"
    one, two = await world.key(team_id="t1"), await world.key(team_id="t2")
    assert {each["model_name"] for each in await info(world, key=one)} == {"gpt", "filed"}
    assert [each["model_name"] for each in await info(world, key=two)] == ["filed"]
    (as_admin,) = await info(world, "m-1")
    assert (as_admin["model_name"], as_admin["model_info"]["team_id"]) == ("gpt-of-t1", "t1")
    given_to_all = await world.ok("PATCH", "/model/m-1/update", {"model_info": {"team_id": None}})
    assert given_to_all["model_info"]["team_id"] is None
    assert {each["model_name"] for each in await info(world, key=two)} == {"filed", "gpt-of-t1"}


async def test_admins_see_what_is_not_served_and_why(world):
    await world.ok("POST", "/credentials", {"credential_name": "c", "credential_values": {"api_key": "sk-c"}})
    await add(world, info={"id": "m-1"}, litellm_credential_name="c")
    await world.ok("DELETE", "/credentials/c")
    assert "gpt" not in world.snapshots.current.model_groups
    (row,) = await info(world, "m-1")
    assert "no credential 'c'" in row["model_info"]["left_out_because"]
    assert [each["model_name"] for each in await info(world, key=await world.key())] == ["filed"]


async def test_paging_search_and_sort(world):
    for number in range(5):
        await add(world, f"model-{number}", {"id": f"m-{number}"})
        world.clock.advance(60)
    page = await world.ok(
        "GET", "/v2/model/info", page=2, size=2, search="MODEL", sortBy="model_name", sortOrder="desc"
    )
    assert [row["model_name"] for row in page["data"]] == ["model-2", "model-1"]
    assert (page["total_count"], page["current_page"], page["total_pages"], page["size"]) == (5, 2, 3, 2)
    beyond = await world.ok("GET", "/v2/model/info", page=9)
    assert (beyond["data"], beyond["total_count"]) == ([], 6)
    assert (await world.ok("GET", "/v2/model/info", modelId="m-3"))["data"][0]["model_name"] == "model-3"
    newest = await world.ok("GET", "/v2/model/info", sortBy="created_at", sortOrder="desc")
    assert newest["data"][0]["model_name"] == "model-4"
    assert (await world.refused(400, "GET", "/v2/model/info", sortBy="nothing"))["param"] == "sortBy"


async def test_model_groups(world):
    await add(world, "gpt", {"supports_vision": True, "mode": "chat"}, rpm=5)
    await add(world, "gpt", rpm=6, model="groq/llama")
    await world.ok("POST", "/config/update", {"litellm_settings": {"public_model_groups": ["gpt"]}})
    (row,) = (await world.ok("GET", "/model_group/info", model_group="gpt"))["data"]
    assert (row["model_group"], row["providers"], row["mode"], row["rpm"]) == ("gpt", ["groq", "openai"], "chat", 11)
    assert (row["max_input_tokens"], row["input_cost_per_token"]) == (128_000, 0.0000025)
    assert (row["supports_vision"], row["supports_reasoning"], row["is_public_model_group"]) == (True, False, True)


# Terraform


async def test_terraforms_life_of_a_model(world):
    body = {
        "model_name": "tf",
        "litellm_params": {
            "model": "openai/gpt-4o",
            "api_key": "sk-terraform-secret",
            "api_base": "http://tf/v1",
            "custom_llm_provider": "openai",
            "input_cost_per_token": 0.00003,
            "output_cost_per_token": 0.00006,
            "tpm": 100_000,
            "rpm": 1_000,
        },
        "model_info": {"id": "tf-1", "base_model": "gpt-4o", "tier": "free", "mode": "chat", "access_groups": ["beta"]},
    }
    await world.ok("POST", "/model/new", body)
    (row,) = await info(world, "tf-1")
    read = {name: row["litellm_params"].get(name) for name in body["litellm_params"] if name != "api_key"}
    assert read == {name: value for name, value in body["litellm_params"].items() if name != "api_key"}
    assert {name: row["model_info"][name] for name in body["model_info"]} == body["model_info"]
    change = {"litellm_params": {"rpm": 5, "api_base": None}, "model_info": {"id": "tf-1", "tier": "paid"}}
    await world.ok("PATCH", "/model/tf-1/update", change)
    (row,) = await info(world, "tf-1")
    assert ("api_base" in row["litellm_params"], row["litellm_params"]["rpm"]) == (False, 5)
    assert (row["model_info"]["tier"], row["model_info"]["base_model"]) == ("paid", "gpt-4o")
    await world.ok("POST", "/model/delete", {"id": "tf-1"})
    error = await world.refused(404, "GET", "/model/info", litellm_model_id="tf-1")
    assert "not found" in error["message"]


async def test_another_instance_finds_what_was_written_just_now(tmp_path, world):
    other = ControlWorld(tmp_path, store=world.control)
    await world.ok("POST", "/credentials", {"credential_name": "c", "credential_values": {"api_key": "sk-c"}})
    body = {"model_name": "m", "litellm_params": {"model": "openai/gpt-4o", "litellm_credential_name": "c"}}
    await other.ok("POST", "/model/new", body)
    assert "m" in other.snapshots.current.model_groups
