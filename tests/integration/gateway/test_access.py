"""Who may call what, through the whole gateway: lists of models, routes, customers, and what `/health` shows."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway_kit import RunningGateway, running_gateway, scripted
from tallystick.access.keys import hash_key
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import Author
from upstream import Upstream, running_upstream

AUTHOR = Author(key_hash="the-test")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


@pytest.fixture
async def gateway(upstream: Upstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain", "big")) as running:
        yield running


async def make(gateway: RunningGateway, kind: Kind, object_id: str, spec: dict[str, Any], **columns: Any) -> None:
    now = gateway.services.clock.now()
    made = ControlObject(kind=kind, object_id=object_id, spec=spec, created_at=now, updated_at=now, **columns)
    await gateway.services.writer.create(made, author=AUTHOR)


async def make_key(gateway: RunningGateway, name: str, spec: dict[str, Any], **columns: Any) -> dict[str, str]:
    """Make a key and return the header that presents it."""
    key = f"sk-{name}-0123456789"
    await make(gateway, Kind.KEY, hash_key(key), spec, **columns)
    return {"authorization": f"Bearer {key}"}


async def called(gateway: RunningGateway, model: str, headers: dict[str, str], **fields: Any) -> tuple[int, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], **fields}
    status, answer, _ = await gateway.post("/v1/chat/completions", body, **headers)
    return status, json.loads(answer)


async def listed(gateway: RunningGateway, headers: dict[str, str]) -> list[str]:
    status, answer, _ = await gateway.get("/v1/models", **headers)
    assert status == 200
    return [model["id"] for model in json.loads(answer)["data"]]


async def test_lists_of_models_bound_calls_and_the_list_of_models(gateway: RunningGateway) -> None:
    await make(gateway, Kind.ORGANIZATION, "o", {"models": ["plain", "quick"]})
    await make(gateway, Kind.TEAM, "t", {"models": ["plain"], "model_aliases": {"quick": "plain"}}, organization_id="o")
    await make(gateway, Kind.USER, "u", {"models": ["plain"]})
    await make(gateway, Kind.ACCESS_GROUP, "g-1", {"models": ["plain"]}, name="small")
    keys = {
        "key": await make_key(gateway, "listed", {"models": ["small"]}),
        "team": await make_key(gateway, "of-team", {}, team_id="t"),
        "user": await make_key(gateway, "of-user", {}, user_id="u"),
        "org": await make_key(gateway, "of-organization", {}, organization_id="o"),
    }
    for level, headers in keys.items():
        assert (await called(gateway, "plain", headers))[0] == 200, level
        for model in ("big", "no-such-model"):
            status, answer = await called(gateway, model, headers)
            error = answer["error"]
            assert (status, error["type"]) == (403, f"{level}_model_access_denied")
            assert (error["param"], error["code"]) == ("model", "403")
            assert error["message"].startswith(
                f"The requested model '{model}' is not available for this API key, or the model name is invalid."
            )
    assert await listed(gateway, keys["key"]) == ["plain"]
    assert await listed(gateway, keys["team"]) == ["plain", "quick"]
    assert (await called(gateway, "quick", keys["team"]))[0] == 200
    # Refused calls never reached the ledger.
    assert {event.event.model_group for event in await gateway.events(5)} == {"plain"}


async def test_a_team_s_own_model_is_its_own(gateway: RunningGateway, upstream: Upstream) -> None:
    await make(gateway, Kind.TEAM, "t", {"models": ["plain"]})
    params = {"model": "openai/plain", "api_base": upstream.url, "api_key": "k"}
    info = {"team_id": "t", "team_public_model_name": "ours"}
    await make(gateway, Kind.MODEL, "m", {"litellm_params": params, "model_info": info}, name="ours", team_id="t")
    mine = await make_key(gateway, "mine", {}, team_id="t")
    other = await make_key(gateway, "other", {})
    assert (await called(gateway, "ours", mine))[0] == 200
    assert (await called(gateway, "ours", other))[0] == 400
    assert await listed(gateway, mine) == ["plain", "ours"]
    assert await listed(gateway, other) == ["plain", "big"]
    event = (await gateway.events(1))[0].event
    assert (event.team_id, event.model_group, event.deployment_id) == ("t", "ours", "m")


async def test_keys_are_bound_to_their_routes(gateway: RunningGateway) -> None:
    await make(gateway, Kind.USER, "admin", {"role": "proxy_admin"})

    async def statuses(name: str, **spec: Any) -> list[int]:
        headers = await make_key(gateway, name, spec, user_id="admin")
        answers = [
            await gateway.post("/chat/completions", {"model": "plain", "messages": [{"role": "user"}]}, **headers),
            await gateway.get("/v1/models", **headers),
            await gateway.get("/key/list", **headers),
            await gateway.get("/health", **headers),
            await gateway.post("/key/generate", {}, **headers),
        ]
        for status, body, _ in answers:
            assert status == 200 or "not allowed to call this route" in json.loads(body)["error"]["message"]
        return [status for status, _, _ in answers]

    assert await statuses("free") == [200, 200, 200, 200, 200]
    assert await statuses("calls", key_type="llm_api") == [200, 200, 403, 403, 403]
    assert await statuses("manages", key_type="management") == [403, 200, 200, 200, 200]
    assert await statuses("reads", key_type="read_only") == [403, 200, 200, 200, 403]
    assert await statuses("listed", allowed_routes=["/v1/chat/completions", "/key/*"]) == [200, 403, 200, 403, 200]


async def test_a_blocked_customer_is_refused_and_nothing_is_sent(gateway: RunningGateway, upstream: Upstream) -> None:
    await make(gateway, Kind.CUSTOMER, "eve", {}, blocked=True)
    status, answer = await called(gateway, "plain", {}, user="eve")
    assert status == 403
    assert "Customer 'eve' is blocked" in answer["error"]["message"]
    assert upstream.requests == []
    assert (await called(gateway, "plain", {}, user="bob"))[0] == 200
    await gateway.services.writer.delete([ObjectRef(Kind.CUSTOMER, "eve")], author=AUTHOR)
    assert (await called(gateway, "plain", {}, user="eve"))[0] == 200


async def test_health_shows_the_revision_and_what_is_left_out(gateway: RunningGateway) -> None:
    await make(gateway, Kind.USER, "v", {"role": "proxy_admin_viewer"})
    viewer = await make_key(gateway, "viewer", {}, user_id="v")
    spec = {"litellm_params": {"model": "openai/gpt-4o", "litellm_credential_name": "gone"}, "model_info": {}}
    await make(gateway, Kind.MODEL, "broken", spec, name="broken")
    status, body, _ = await gateway.get("/health", **viewer)
    control = json.loads(body)["control"]
    assert status == 200
    assert (control["revision"], control["feed"], control["snapshot_revision"]) == (3, "following", 3)
    (left_out,) = control["left_out"]
    assert (left_out["kind"], left_out["id"], left_out["name"]) == ("model", "broken", "broken")
    assert "gone" in left_out["reason"]
    assert "tallystick_control_objects_left_out 1.0" in gateway.metrics.render().decode()
    assert (await called(gateway, "plain", {}))[0] == 200


async def test_health_shows_every_worker_on_the_database(gateway: RunningGateway) -> None:
    async def heard() -> list[dict[str, object]]:
        _, body, _ = await gateway.get("/health")
        return json.loads(body)["instances"]

    async with asyncio.timeout(10):
        while not (instances := await heard()) or not instances[0]["is_leader"]:
            await asyncio.sleep(0.01)
    (mine,) = instances
    assert (mine["pid"], mine["state"], mine["is_this"]) == (os.getpid(), "here", True)
    assert mine["events_pending"] == 0
