"""Settings and environment variables over HTTP: what may be written, what the file owns, and that it acts."""

from __future__ import annotations

import pytest

from contract.control_world import ControlWorld
from tallystick.access.users import Role
from tallystick.control.objects import Kind, ObjectRef

FILE = (
    "litellm_settings: {cost_margin_config: {global: 0.2}, default_team_params: {max_budget: 5}}\n"
    "general_settings: {database_url: 'sqlite:////tmp/x.db?password=db-secret'}\n"
    "environment_variables: {FILED: filed-secret}\n"
    "model_list: [{model_name: m, litellm_params: {model: openai/gpt-4o, api_key: k}, model_info: {id: m}}]\n"
)


@pytest.fixture
def world(tmp_path):
    return ControlWorld(tmp_path, FILE)


def price(world):
    return world.snapshots.current.deployments()["m"].price


async def rows(world, config_type=None):
    query = {"config_type": config_type} if config_type else {}
    return {row["field_name"]: row for row in await world.ok("GET", "/config/list", **query)}


async def test_a_setting_is_in_force_when_it_is_answered(world):
    before = price(world).discount_ppm
    body = {"litellm_settings": {"cost_discount_config": {"openai": 0.05}}, "router_settings": {"num_retries": 7}}
    assert (await world.ok("POST", "/config/update", body))["message"] == "Config updated successfully"
    assert (before, price(world).discount_ppm) == (0, 50_000)
    assert world.snapshots.current.settings.routing.num_retries == 7
    assert (await world.ok("GET", "/get/config/callbacks"))["router_settings"]["num_retries"] == 7
    assert (await world.ok("GET", "/config/cost_discount_config"))["values"] == {"openai": 0.05}
    await world.ok("POST", "/config/update", {"router_settings": {"num_retries": None}})
    assert world.snapshots.current.settings.routing.num_retries == 2


async def test_the_file_owns_what_it_sets(world):
    body = {
        "router_settings": {"num_retries": 7},
        "litellm_settings": {"cost_margin_config": {"global": 0.1}},
    }
    error = await world.refused(409, "POST", "/config/update", body)
    assert error["param"] == "litellm_settings.cost_margin_config"
    assert "config.yaml: litellm_settings.cost_margin_config" in error["message"]
    assert world.snapshots.current.settings.routing.num_retries == 2, "all or nothing"
    assert price(world).margin_ppm == 200_000
    await world.refused(409, "PATCH", "/config/cost_margin_config", {"global": 0.1})
    field = {"field_name": "default_team_params", "config_type": "litellm_settings", "field_value": {}}
    await world.refused(409, "POST", "/config/field/update", field)
    await world.refused(409, "POST", "/config/field/delete", field)


async def test_the_environment_owns_what_it_sets(tmp_path, monkeypatch):
    world = ControlWorld(tmp_path)
    world.snapshots.builder.settings.owned["router_settings.num_retries"] = "environment: TALLYSTICK_NUM_RETRIES"
    error = await world.refused(409, "POST", "/config/update", {"router_settings": {"num_retries": 1}})
    assert "TALLYSTICK_NUM_RETRIES" in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"general_settings": {"port": 1}}, "general_settings.port", "only at start"),
        ({"router_settings": {"routing_strategy": "x"}}, "router_settings.routing_strategy", "least-busy"),
        ({"litellm_settings": {"cost_discount_confg": {}}}, "litellm_settings.cost_discount_confg", "Did you mean"),
        ({"router_settings": {"num_retries": -1}}, "router_settings.num_retries", "from 0 to 20"),
        ({"router_settings": {"num_retries": True}}, "router_settings.num_retries", "from 0 to 20"),
        (
            {"litellm_settings": {"cost_discount_config": {"openai": 2}}},
            "litellm_settings.cost_discount_config",
            "less than or equal to 1",
        ),
        ({"litellm_settings": []}, "litellm_settings", "dictionary"),
        ({"environment_variables": {"1X": "v"}}, "environment_variables", "name of a variable"),
        ({"environment_variables": {"X": []}}, "environment_variables.X", "must be a text"),
    ],
)
async def test_what_cannot_be_written_is_refused_with_the_reason(world, body, param, words):
    error = await world.refused(400, "POST", "/config/update", body)
    assert error["param"] == param
    assert words in error["message"]


async def test_a_variable_is_resolved_at_load_and_never_shown(world):
    model = {"model_name": "v", "litellm_params": {"model": "openai/x", "api_key": "os.environ/UPSTREAM"}}
    await world.refused(400, "POST", "/model/new", model)
    await world.ok("POST", "/config/update", {"environment_variables": {"UPSTREAM": "variable-secret", "N": 5}})
    await world.ok("POST", "/model/new", model)
    (deployment,) = world.snapshots.current.model_groups["v"]
    assert deployment.target.headers == {"authorization": "Bearer variable-secret"}
    await world.ok("POST", "/config/update", {"environment_variables": {"UPSTREAM": "second-secret"}})
    (deployment,) = world.snapshots.current.model_groups["v"]
    assert deployment.target.headers == {"authorization": "Bearer second-secret"}
    shown = await rows(world, "environment_variables")
    assert {name: row["field_value"] for name, row in shown.items()} == {
        "FILED": "****",
        "UPSTREAM": "****",
        "N": "****",
    }
    read = [str(await world.ok("GET", path)) for path in ("/config/list", "/get/config/callbacks", "/model/info")]
    read.append(await world.everything_written())
    for secret in ("variable-secret", "second-secret", "filed-secret", "db-secret"):
        assert [text for text in read if secret in text] == []
    error = await world.refused(409, "POST", "/config/update", {"environment_variables": {"FILED": "x"}})
    assert "configuration file" in error["message"]
    await world.ok("POST", "/config/update", {"environment_variables": {"UPSTREAM": None}})
    assert "v" not in world.snapshots.current.model_groups


async def test_one_field_at_a_time(world):
    field = {"field_name": "num_retries", "config_type": "router_settings"}
    await world.ok("POST", "/config/field/update", {**field, "field_value": 3})
    shown = await world.ok("GET", "/config/field/info", **field)
    assert (shown["field_value"], shown["stored_in_db"], shown["writable"]) == (3, True, True)
    deleted = await world.ok("POST", "/config/field/delete", field)
    assert deleted["field_name"] == "num_retries"
    shown = await world.ok("GET", "/config/field/info", **field)
    assert (shown["field_value"], shown["stored_in_db"]) == (None, None)
    assert "not found" in (await world.refused(404, "POST", "/config/field/delete", field))["message"]
    assert (await world.refused(400, "GET", "/config/field/info", field_name="nothing"))["param"]
    await world.refused(400, "POST", "/config/field/update", {**field, "field_value": None})
    filed = await world.ok("GET", "/config/field/info", field_name="cost_margin_config")
    assert (filed["field_value"], filed["stored_in_db"], filed["writable"]) == ({"global": 0.2}, False, False)


async def test_the_list(world):
    listed = await rows(world)
    assert listed["num_retries"]["writable"] is True
    assert (listed["port"]["writable"], listed["port"]["field_default_value"]) == (False, "4000")
    assert listed["database_url"]["field_value"] == "****"
    assert {row["config_type"] for row in (await rows(world, "router_settings")).values()} == {"router_settings"}


async def test_settings_that_are_kept_without_effect_are_named(world):
    body = {"litellm_settings": {"public_model_groups_links": {"a": "b"}}, "surprise": 1}
    answer = await world.client.post("/config/update", body)
    assert answer.status == 200
    assert answer.headers["x-tallystick-ignored-fields"] == "litellm_settings.public_model_groups_links, surprise"
    assert world.snapshots.current.settings.values["litellm_settings.public_model_groups_links"] == {"a": "b"}


async def test_settings_of_budgets_are_in_force_at_once(world):
    assert not world.snapshots.current.settings.budget_rollover
    names = {"budget_rollover": True, "block_requests_for_models_without_pricing": True}
    answer = await world.client.post("/config/update", {"litellm_settings": names})
    assert (answer.status, answer.headers.get("x-tallystick-ignored-fields")) == (200, None)
    settings = world.snapshots.current.settings
    assert (settings.budget_rollover, settings.denies_unknown_prices) == (True, True)
    await world.client.post("/config/update", {"litellm_settings": dict.fromkeys(names)})
    settings = world.snapshots.current.settings
    assert (settings.budget_rollover, settings.denies_unknown_prices) == (False, False)


async def test_costs_by_their_own_paths(world):
    await world.ok("PATCH", "/config/cost_discount_config", {"openai": 0.1})
    assert price(world).discount_ppm == 100_000
    assert (await world.ok("GET", "/config/cost_margin_config"))["values"] == {
        "global": {"percentage": 0.2, "fixed_amount": 0.0}
    }


async def test_values_of_the_database_are_written_once(world):
    body = {"router_settings": {"num_retries": 7}}
    await world.ok("POST", "/config/update", body)
    revision = await world.control.revision()
    await world.ok("POST", "/config/update", body)
    assert await world.control.revision() == revision
    held = await world.control.find(ObjectRef(Kind.SETTING, "router_settings.num_retries"))
    assert held.spec == {"value": 7}


@pytest.mark.parametrize("role", [None, Role.INTERNAL_USER, Role.PROXY_ADMIN_VIEWER])
async def test_only_admins_write(world, role):
    key = await world.key(role=role)
    await world.refused(401, "POST", "/config/update", {"router_settings": {"num_retries": 1}}, key=key)
    await world.refused(401, "POST", "/config/field/delete", {"field_name": "num_retries"}, key=key)
    if role == Role.PROXY_ADMIN_VIEWER:
        await world.ok("GET", "/config/list", key=key)
    else:
        await world.refused(401, "GET", "/get/config/callbacks", key=key)
