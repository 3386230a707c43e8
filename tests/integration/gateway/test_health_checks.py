"""Deployments that are asked whether they answer: in the background, on demand, and before a model is saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway_kit import RunningGateway, running_gateway, scripted
from tallystick.access.keys import hash_key
from tallystick.calls.health.check import HEALTH_CHECK_KEY
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author
from upstream import Upstream, running_upstream

SECRET = "up-key-not-to-be-told"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def checked(upstream: Upstream, *models: str, background: bool = False) -> dict[str, Any]:
    config = scripted(upstream.url, *models)
    for entry in config["model_list"]:
        entry["litellm_params"]["api_key"] = SECRET
    settings = {"background_health_checks": background, "health_check_interval": 0.2, "health_check_timeout": 0.3}
    return {**config, "general_settings": settings}


async def health(gateway: RunningGateway, query: str = "") -> dict[str, Any]:
    status, body, _ = await gateway.get("/health" + query)
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def by_id(found: dict[str, Any], which: str) -> dict[str, Any]:
    return {each["model_id"]: each for each in found[f"{which}_endpoints"]}


async def make_key(gateway: RunningGateway, name: str, spec: dict[str, Any]) -> dict[str, str]:
    now = gateway.services.clock.now()
    key = f"sk-{name}-0123456789"
    made = ControlObject(kind=Kind.KEY, object_id=hash_key(key), spec=spec, created_at=now, updated_at=now, name=name)
    await gateway.services.writer.create(made, author=Author(key_hash="the-test"))
    return {"authorization": f"Bearer {key}"}


async def test_every_deployment_is_asked_in_the_background_and_each_call_is_an_event(
    upstream: Upstream, tmp_path: Path
) -> None:
    config = checked(upstream, "plain", "status:500", "hang", "off", background=True)
    config["model_list"][3]["model_info"]["disable_background_health_check"] = True
    async with running_gateway(tmp_path, config) as gateway:
        async with asyncio.timeout(20):
            found = await health(gateway)
            while len(by_id(found, "unhealthy")) < 2 or "checked_at" not in by_id(found, "healthy").get("plain", {}):
                await asyncio.sleep(0.02)
                found = await health(gateway)
        assert by_id(found, "healthy").keys() == {"plain", "off"}
        assert "upstream says 500" in by_id(found, "unhealthy")["status:500"]["error"]
        assert by_id(found, "unhealthy")["hang"]["error"].startswith("UpstreamTimeout 504")
        assert gateway.metrics.registry.get_sample_value("tallystick_deployments_unhealthy") == 2
        assert found["cooldowns"] == {}, "what checks see changes no routing"
        events = [each.event for each in await gateway.events(3)]
        assert {event.key_hash for event in events} == {HEALTH_CHECK_KEY}
        assert {event.model for event in events} == {"plain", "status:500", "hang"}
        good = next(event for event in events if event.model == "plain")
        assert (good.status, good.usage.output_tokens, good.usage_source) == ("success", 6, "provider")
        assert good.cost_nano_usd > 0
        assert all(each["max_tokens"] == 16 for each in upstream.requests)


async def test_who_answers_callers_is_not_asked(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, checked(upstream, "plain", "other")) as gateway:
        await gateway.chat("plain")
        checks = gateway.services.health_checks
        assert checks is not None
        await checks.check_all()
        assert [each["model"] for each in upstream.requests] == ["plain", "other"]
        assert by_id(await health(gateway), "healthy")["plain"]["answered_a_caller"] is True
        await checks.check_all()
        assert [each["model"] for each in upstream.requests][2:] in (["plain", "other"], ["other", "plain"])


async def test_on_demand_only_what_is_named_is_asked(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, checked(upstream, "plain", "inside", "garbage")) as gateway:
        assert (await health(gateway, "?model=plain"))["healthy_count"] == 1
        assert len(upstream.requests) == 1
        for model in ("inside", "garbage"):
            found = await health(gateway, f"?model_id={model}")
            assert (found["healthy_count"], list(by_id(found, "unhealthy"))) == (0, [model])
        status, _, _ = await gateway.get("/health?model=nothing")
        assert status == 404
        events = [each.event for each in await gateway.events(3)]
        assert [event.status for event in events] == ["success", "failure", "failure"]


async def test_who_may_have_calls_made(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, checked(upstream, "plain")) as gateway:
        key = await make_key(gateway, "a", {})
        assert (await gateway.get("/health?model=plain", **key))[0] in (401, 403)
        body = {"litellm_params": {"model": "openai/plain", "api_base": upstream.url}}
        assert (await gateway.post("/health/test_connection", body, **key))[0] == 401
        assert upstream.requests == []


async def test_modes_and_models_of_checks(upstream: Upstream, tmp_path: Path) -> None:
    config = checked(upstream, "a", "b", "c", "d", "openai/*", "e/*")
    infos = [entry["model_info"] for entry in config["model_list"]]
    infos[0]["mode"] = "embedding"
    infos[1]["mode"] = "completion"
    infos[2]["mode"] = "image_generation"
    infos[3]["health_check_model"] = "openai/small"
    config["model_list"][4]["litellm_params"]["model"] = "openai/*"
    infos[4]["health_check_model"] = "openai/tiny"
    async with running_gateway(tmp_path, config) as gateway:
        checks = gateway.services.health_checks
        assert checks is not None
        await checks.check_all()
        asked = {each["model"]: each for each in upstream.requests}
        assert asked.keys() == {"a", "b", "small", "tiny"}
        assert "input" in asked["a"]
        assert "prompt" in asked["b"]
        found = by_id(await health(gateway), "healthy")
        assert "image_generation" in found["c"]["unchecked"]
        assert "health_check_model" in found["e/*"]["unchecked"]
        events = {each.event.model: each.event for each in await gateway.events(4)}
        assert events["small"].cost_status == "unpriced", "the price is the other model's"


async def test_a_connection_is_tested_before_a_model_is_saved(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, checked(upstream, "plain")) as gateway:

        async def tried(**params: Any) -> tuple[int, dict[str, Any]]:
            given = {"api_base": upstream.url, "api_key": SECRET, **params}
            status, body, _ = await gateway.post("/health/test_connection", {"litellm_params": given, "mode": "chat"})
            assert SECRET.encode() not in body
            return status, json.loads(body)

        status, good = await tried(model="openai/plain")
        assert (status, good["status"], good["result"]["model"]) == (200, "success", "plain")
        status, bad = await tried(model="openai/status:401")
        assert (status, bad["status"]) == (200, "error")
        assert "upstream says 401" in bad["result"]["error"]
        status, wrong = await tried(model="nobody-knows-this/x")
        assert (status, wrong["status"]) == (200, "error")
        assert len(await gateway.events(2)) == 2
        assert gateway.services.snapshot().find("test_connection") == ()


async def test_what_was_sent_to_sign_in_is_not_told(upstream: Upstream, tmp_path: Path) -> None:
    async def echo(request: web.Request, _body: dict[str, Any]) -> web.Response:
        said = f"Incorrect key: {request.headers['authorization']}"
        return web.json_response({"error": {"message": said}}, status=401)

    upstream.answer = echo
    async with running_gateway(tmp_path, checked(upstream, "plain")) as gateway:
        found = await health(gateway, "?model=plain")
        error = by_id(found, "unhealthy")["plain"]["error"]
        assert "Incorrect key" in error
        assert SECRET not in error


async def test_a_stop_in_the_middle_of_a_check_leaves_an_event(upstream: Upstream, tmp_path: Path) -> None:
    config = checked(upstream, "hang", background=True)
    config["general_settings"]["health_check_timeout"] = 60
    async with running_gateway(tmp_path, config) as gateway:
        async with asyncio.timeout(20):
            while not upstream.requests:
                await asyncio.sleep(0.01)
        loop = gateway.services._check_loop
        assert loop is not None
        await loop.stop()
        (only,) = await gateway.events(1)
        assert (only.event.status, only.event.key_hash) == ("interrupted", HEALTH_CHECK_KEY)
