"""Pass-through endpoints over HTTP, as LiteLLM's clients use them."""

from __future__ import annotations

from typing import Any

import pytest

from contract.control_world import ControlWorld
from tallystick.access.users import Role

SECRET = "the-secret-of-the-service"
PATH = "/config/pass_through_endpoint"
FILE = (
    "general_settings: {pass_through_endpoints: [{path: /filed, target: 'https://filed.example',"
    f" headers: {{x-key: {SECRET}}}, cost_per_request: 0.5}}]}}\n"
)


@pytest.fixture
def world(tmp_path: Any) -> ControlWorld:
    return ControlWorld(tmp_path, FILE, environ={"TOKEN": "t-1"})


async def add(world: ControlWorld, **fields: Any) -> dict[str, Any]:
    body = {"path": "/svc", "target": "https://service.example/v1", "headers": {"authorization": SECRET}, **fields}
    return (await world.ok("POST", PATH, body))["endpoints"][0]


def served(world: ControlWorld) -> dict[str, Any]:
    return {each.path: each for each in world.snapshots.current.pass_through.endpoints}


async def test_made_shown_changed_and_deleted(world: ControlWorld) -> None:
    made = await add(world, cost_per_request=0.25, methods=["GET"], include_subpath=True)
    assert made == {
        "id": made["id"], "path": "/svc", "target": "https://service.example/v1", "headers": {"authorization": "****"},
        "default_query_params": {}, "auth": True, "cost_per_request": 0.25, "methods": ["GET"],
        "include_subpath": True, "forward_headers": False, "timeout": None, "is_from_config": False,
    }  # fmt: skip
    assert served(world)["/svc"].target.headers == {"authorization": SECRET}
    assert (await world.ok("GET", PATH, endpoint_id=made["id"]))["endpoints"] == [made]
    listed = (await world.ok("GET", PATH))["endpoints"]
    assert [(each["path"], each["is_from_config"]) for each in listed] == [("/filed", True), ("/svc", False)]
    assert listed[0]["headers"] == {"x-key": "****"}
    assert SECRET not in str(listed) + await world.everything_written()

    patch = {"path": "/moved", "headers": {"authorization": "****", "x-more": "os.environ/TOKEN"}, "methods": None}
    changed = (await world.ok("POST", f"{PATH}/{made['id']}", patch))["endpoints"][0]
    assert (changed["path"], changed["methods"], changed["cost_per_request"]) == ("/moved", None, 0.25)
    assert served(world)["/moved"].target.headers == {"authorization": SECRET, "x-more": "t-1"}
    assert "/svc" not in served(world)

    gone = await world.ok("DELETE", PATH, endpoint_id=made["id"])
    assert gone["endpoints"][0]["path"] == "/moved"
    assert served(world).keys() == {"/filed"}


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"path": "/key"}, 400, "path"),
        ({"path": "/filed"}, 409, "path"),
        ({"target": "gopher://x"}, 400, "target"),
        ({"target": "https://u:p@x"}, 400, "target"),
        ({"methods": ["TRACE"]}, 400, "methods"),
        ({"headers": {"a": "os.environ/GONE"}}, 400, "headers"),
        ({"headers": {"a b": "x"}}, 400, "target"),
        ({"cost_per_request": -1}, 400, "cost_per_request"),
    ],
)
async def test_what_can_not_be_called_is_refused_by_name(
    world: ControlWorld, fields: dict[str, Any], status: int, named: str
) -> None:
    body = {"path": "/svc", "target": "https://service.example", **fields}
    answer = await world.client.request("POST", PATH, body)
    assert (answer.status, answer.json()["error"]["param"]) == (status, named)
    assert served(world).keys() == {"/filed"}


async def test_the_files_endpoints_are_changed_in_the_file(world: ControlWorld) -> None:
    filed = (await world.ok("GET", PATH))["endpoints"][0]["id"]
    assert (await world.client.request("POST", f"{PATH}/{filed}", {"auth": False})).status == 409
    assert (await world.client.request("DELETE", PATH, query={"endpoint_id": filed})).status == 409
    assert (await world.client.request("DELETE", PATH, query={"endpoint_id": "nobody"})).status == 404
    assert (await world.client.request("GET", PATH, query={"endpoint_id": "nobody"})).status == 404


async def test_fields_without_effect_are_named(world: ControlWorld) -> None:
    body = {"path": "/svc", "target": "https://service.example", "guardrails": {"x": {}}}
    answer = await world.client.request("POST", PATH, body)
    assert (answer.status, answer.headers["x-tallystick-ignored-fields"]) == (200, "guardrails")


async def test_only_admins_write(world: ControlWorld) -> None:
    body = {"path": "/svc", "target": "https://service.example"}
    keys = {role: await world.key(role=role) for role in (Role.INTERNAL_USER, Role.PROXY_ADMIN_VIEWER)}
    for key in keys.values():
        assert (await world.client.request("POST", PATH, body, key=key)).status in (401, 403)
    assert (await world.client.request("GET", PATH, key=keys[Role.PROXY_ADMIN_VIEWER])).status == 200
    assert (await world.client.request("GET", PATH, key=keys[Role.INTERNAL_USER])).status in (401, 403)


async def test_nothing_is_written_that_is_not_read(tmp_path: Any) -> None:
    world = ControlWorld(tmp_path, "general_settings: {supported_db_objects: [models]}\n")
    body = {"path": "/svc", "target": "https://service.example"}
    assert (await world.client.request("POST", PATH, body)).status == 400
