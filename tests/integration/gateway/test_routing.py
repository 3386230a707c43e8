"""Routing through the whole gateway: names, what the request says, fallbacks and what they are admitted to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway_kit import RunningGateway, running_gateway, scripted
from tallystick.access.keys import hash_key
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author
from upstream import Upstream, running_upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def grouped(config: dict[str, Any], **params: dict[str, Any]) -> dict[str, Any]:
    """Make one group of all models; `params` are added by the model's script, with `_` for `:`."""
    for entry in config["model_list"]:
        more = params.get(entry["model_name"].replace(":", "_"), {})
        entry["litellm_params"].update(more)
        entry["model_name"] = "group"
    return config


async def make_key(gateway: RunningGateway, spec: dict[str, Any]) -> dict[str, str]:
    now = gateway.services.clock.now()
    key = "sk-routed-0123456789"
    made = ControlObject(kind=Kind.KEY, object_id=hash_key(key), spec=spec, created_at=now, updated_at=now)
    await gateway.services.writer.create(made, author=Author(key_hash="the-test"))
    return {"authorization": f"Bearer {key}"}


async def call(gateway: RunningGateway, model: str, key: dict[str, str], **fields: Any) -> tuple[int, Any, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], **fields}
    status, answer, headers = await gateway.post("/v1/chat/completions", body, **key)
    return status, json.loads(answer), headers


async def names_of(gateway: RunningGateway) -> list[str]:
    _, body, _ = await gateway.get("/v1/models")
    return [each["id"] for each in json.loads(body)["data"]]


# Names


async def test_aliases_of_the_settings(upstream: Upstream, tmp_path: Path) -> None:
    alias = {"shown": "plain", "secret": {"model": "plain", "hidden": True}}
    config = scripted(upstream.url, "plain") | {"router_settings": {"model_group_alias": alias}}
    async with running_gateway(tmp_path, config) as gateway:
        for name in ("shown", "secret"):
            status, _, headers = await gateway.chat(name)
            assert (status, headers["x-litellm-model-group"]) == (200, "plain")
        assert await names_of(gateway) == ["plain", "shown"]
        by_alias = await make_key(gateway, {"models": ["shown"]})
        assert (await call(gateway, "shown", by_alias))[0] == 200
        assert (await call(gateway, "plain", by_alias))[0] == 403


async def test_a_wildcard_group_serves_each_model_at_its_own_price(upstream: Upstream, tmp_path: Path) -> None:
    params = {"api_base": upstream.url, "api_key": "up-key"}
    config = {
        "model_list": [
            {"model_name": "*", "litellm_params": {"model": "*", **params}, "model_info": {"id": "any"}},
            {"model_name": "openai/*", "litellm_params": {"model": "openai/*", **params}, "model_info": {"id": "o"}},
        ]
    }
    async with running_gateway(tmp_path, config) as gateway:
        for model in ("openai/gpt-4o", "openai/gpt-4o-mini", "groq/llama-3.1-8b-instant"):
            assert (await gateway.chat(model))[0] == 200
        status, body, _ = await gateway.chat("nobody/knows")
        assert (status, json.loads(body)["error"]["param"]) == (400, "model")
        assert (await gateway.chat("openai/*"))[0] == 400
        assert await names_of(gateway) == []
        _, body, _ = await gateway.get("/v1/models?return_wildcard_routes=true")
        assert [each["id"] for each in json.loads(body)["data"]] == ["*", "openai/*"]
        for name, status in (("openai/gpt-4o", 200), ("nobody/knows", 404), ("openai/*", 404)):
            assert (await gateway.get(f"/v1/models/{name}"))[0] == status
        bound = await make_key(gateway, {"models": ["openai/*"]})
        _, body, _ = await gateway.get("/v1/models?return_wildcard_routes=true", **bound)
        assert [each["id"] for each in json.loads(body)["data"]] == ["openai/*"]
        assert (await gateway.get("/v1/models/groq/llama-3.1-8b-instant", **bound))[0] == 404
        events = [committed.event for committed in await gateway.events(3)]

    assert [(each.deployment_id, each.model_group, each.model) for each in events] == [
        ("o", "openai/gpt-4o", "gpt-4o"),
        ("o", "openai/gpt-4o-mini", "gpt-4o-mini"),
        ("any", "groq/llama-3.1-8b-instant", "llama-3.1-8b-instant"),
    ]
    costs = [each.cost_nano_usd for each in events]
    assert costs[0] > costs[1] > 0
    assert [request["model"] for request in upstream.requests] == [each.model for each in events]


async def test_tags_choose_the_deployment(upstream: Upstream, tmp_path: Path) -> None:
    config = grouped(
        scripted(upstream.url, "paid", "free", "other"),
        paid={"tags": ["paid", "eu"]},
        free={"tags": ["default"]},
    )
    config["router_settings"] = {"enable_tag_filtering": True}
    async with running_gateway(tmp_path, config) as gateway:
        for tags, expected in ((["eu"], "paid"), (["nobody"], "free"), ([], "free")):
            _, _, headers = await gateway.chat("group", metadata={"tags": tags})
            assert headers["x-litellm-model-id"] == expected


async def test_order_and_context_window(upstream: Upstream, tmp_path: Path) -> None:
    config = grouped(scripted(upstream.url, "small", "large"), small={"order": 1}, large={"order": 2})
    config["model_list"][0]["model_info"]["max_input_tokens"] = 50
    config["router_settings"] = {"enable_pre_call_checks": True}
    async with running_gateway(tmp_path, config) as gateway:
        _, _, headers = await gateway.chat("group")
        assert headers["x-litellm-model-id"] == "small"
        _, _, headers = await gateway.chat("group", messages=[{"role": "user", "content": "word " * 400}])
        assert headers["x-litellm-model-id"] == "large"


async def test_input_that_is_too_long_everywhere_falls_back_by_its_own_list(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "small", "large", "other")
    config["model_list"][0]["model_info"]["max_input_tokens"] = 50
    router = {"enable_pre_call_checks": True, "fallbacks": [{"small": ["other"]}]}
    config["router_settings"] = router | {"context_window_fallbacks": [{"small": ["large"]}]}
    long = [{"role": "user", "content": "word " * 400}]
    async with running_gateway(tmp_path, config) as gateway:
        _, _, headers = await gateway.chat("small", messages=long)
        assert headers["x-litellm-model-id"] == "large"
        status, body, _ = await gateway.chat("small", messages=long, disable_fallbacks=True)
        assert status == 400
        assert "context_length_exceeded" in json.loads(body)["error"]["message"]


# What the request says


async def test_retries_of_the_request_and_of_a_policy(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "bare:500", "bare:400", "bare:401")
    config["router_settings"] = {"retry_policy": {"BadRequestErrorRetries": 1, "InternalServerErrorRetries": 3}}
    async with running_gateway(tmp_path, config) as gateway:
        for model, retries in (("bare:500", "3"), ("bare:400", "1"), ("bare:401", "0")):
            _, _, headers = await gateway.chat(model, num_retries=0)
            assert headers["x-litellm-attempted-retries"] == retries
    config["router_settings"] = {}
    (tmp_path / "second").mkdir()
    async with running_gateway(tmp_path / "second", config) as gateway:
        _, _, headers = await gateway.chat("bare:500", num_retries=1)
        assert headers["x-litellm-attempted-retries"] == "1"
        body = {"model": "bare:500", "messages": [{"role": "user", "content": "x"}]}
        _, _, headers = await gateway.post("/v1/chat/completions", body, **{"x-litellm-num-retries": "0"})
        assert headers["x-litellm-attempted-retries"] == "0"
    assert not {"num_retries", "fallbacks"} & {field for request in upstream.requests for field in request}


@pytest.mark.parametrize(
    ("fields", "stream"), [({"timeout": 0.2}, False), ({"timeout": 30, "stream_timeout": 0.2}, True)]
)
async def test_timeouts_of_the_request(
    upstream: Upstream, tmp_path: Path, fields: dict[str, float], stream: bool
) -> None:
    model = "late" if stream else "hang"
    async with running_gateway(tmp_path, scripted(upstream.url, model)) as gateway:
        status, _, _ = await gateway.chat(model, stream=stream, num_retries=0, **fields)
    assert status == 504


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_retries": -1}, "num_retries"),
        ({"timeout": 0}, "timeout"),
        ({"fallbacks": "plain"}, "fallbacks"),
        ({"fallbacks": [{"model": "plain", "messages": []}]}, "fallbacks"),
        ({"fallbacks": ["nope"]}, "model"),
    ],
)
async def test_what_a_request_can_not_say(
    upstream: Upstream, tmp_path: Path, fields: dict[str, Any], param: str
) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        status, body, _ = await gateway.chat("plain", **fields)
    assert (status, json.loads(body)["error"]["param"]) == (400, param)
    assert upstream.requests == []


# Fallbacks


async def test_fallbacks_of_the_request(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "bare:400", "bare:401", "plain")) as gateway:
        for fallbacks in (["bare:401", "plain"], [{"bare:400": ["bare:401"], "bare:401": ["plain"]}]):
            status, _, headers = await gateway.chat("bare:400", fallbacks=fallbacks)
            assert (status, headers["x-litellm-attempted-fallbacks"]) == (200, "2")
        status, _, headers = await gateway.chat("bare:400", fallbacks=["bare:401", "plain"], max_fallbacks=1)
        assert (status, headers["x-litellm-attempted-fallbacks"]) == (401, "1")


@pytest.mark.parametrize(
    ("field", "expected", "error_code"),
    [
        ("mock_testing_fallbacks", "usual", "500"),
        ("mock_testing_context_fallbacks", "wide", "400"),
        ("mock_testing_content_policy_fallbacks", "lenient", "400"),
    ],
)
async def test_fallbacks_can_be_tried_out(
    upstream: Upstream, tmp_path: Path, field: str, expected: str, error_code: str
) -> None:
    config = scripted(upstream.url, "plain", "usual", "wide", "lenient")
    config["router_settings"] = {
        "default_fallbacks": ["usual"],
        "context_window_fallbacks": [{"plain": ["wide"]}],
        "content_policy_fallbacks": [{"*": ["lenient"]}],
    }
    async with running_gateway(tmp_path, config) as gateway:
        status, _, headers = await gateway.chat("plain", **{field: True})
        event = await gateway.event()

    assert (status, headers["x-litellm-model-id"]) == (200, expected)
    assert [request["model"] for request in upstream.requests] == [expected]
    assert field not in upstream.requests[0]
    assert [(each.deployment_id, each.error_code) for each in event.attempts] == [("plain", error_code), (expected, "")]


async def test_a_fallback_must_be_allowed(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "bare:500", "plain", "allowed")
    config["router_settings"] = {"num_retries": 0, "fallbacks": [{"bare:500": ["plain"]}]}
    async with running_gateway(tmp_path, config) as gateway:
        key = await make_key(gateway, {"models": ["bare:500", "allowed"]})
        assert (await call(gateway, "bare:500", key))[0] == 500
        assert (await call(gateway, "bare:500", key, fallbacks=["plain"]))[0] == 403
        assert (await call(gateway, "bare:500", key, fallbacks=["allowed"]))[0] == 200
    assert [request["model"] for request in upstream.requests] == ["bare:500", "bare:500", "allowed"]


async def test_a_fallback_is_admitted_to_its_rates_and_the_call_is_one_request(
    upstream: Upstream, tmp_path: Path
) -> None:
    config = scripted(upstream.url, "bare:500", "plain")
    config["router_settings"] = {"num_retries": 0, "fallbacks": [{"bare:500": ["plain"]}]}
    limits = {"rpm_limit": 3, "max_parallel_requests": 1, "model_rpm_limit": {"plain": 1}}
    async with running_gateway(tmp_path, config) as gateway:
        key = await make_key(gateway, {"limits": limits})
        statuses = [(await call(gateway, "bare:500", key))[0] for _ in range(4)]
    # The second time the fallback has no room, and the call that failed counts all the same; the fourth is none.
    assert statuses == [200, 500, 500, 429]


async def test_a_fallback_is_held_at_its_own_price(upstream: Upstream, tmp_path: Path) -> None:
    """The budget has room for the cheap group that fails, and none for the dear one that it falls back to."""
    config = scripted(upstream.url, "bare:500", "plain")
    for entry, cost in zip(config["model_list"], (0.000001, 1.0), strict=True):
        entry["litellm_params"] |= {"input_cost_per_token": cost, "output_cost_per_token": cost}
    config["router_settings"] = {"num_retries": 0, "fallbacks": [{"bare:500": ["plain"]}]}
    async with running_gateway(tmp_path, config) as gateway:
        _, made, _ = await gateway.post("/key/generate", {"max_budget": 5.0})
        key = {"authorization": f"Bearer {json.loads(made)['key']}"}
        assert (await call(gateway, "bare:500", key, max_tokens=10))[0] == 500
        _, _, headers = await call(gateway, "bare:500", key, max_tokens=10)
        event = (await gateway.events(2))[-1].event
    assert headers["x-litellm-attempted-fallbacks"] == "0" or event.model_group == "bare:500"
    assert [request["model"] for request in upstream.requests] == ["bare:500", "bare:500"]
    assert event.cost_nano_usd == 0


async def test_a_group_that_is_full_is_left_for_its_fallback(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "full", "plain")
    config["model_list"][0]["litellm_params"]["rpm"] = 1
    config["router_settings"] = {"default_fallbacks": ["plain"]}
    async with running_gateway(tmp_path, config) as gateway:
        served = [(await gateway.chat("full"))[2]["x-litellm-model-id"] for _ in range(2)]
    assert served == ["full", "plain"]


async def test_a_retry_counts_in_the_limits_of_its_deployment(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "bare:500")
    config["model_list"][0]["litellm_params"]["rpm"] = 2
    async with running_gateway(tmp_path, config) as gateway:
        status, _, headers = await gateway.chat("bare:500", num_retries=5)
    assert (status, headers["x-litellm-attempted-retries"]) == (500, "1")
    assert len(upstream.requests) == 2


# Cooldowns, settings, headers


async def test_a_deployment_that_fails_is_left_alone(upstream: Upstream, tmp_path: Path) -> None:
    config = grouped(scripted(upstream.url, "status:429", "plain"), status_429={"order": 1}, plain={"order": 2})
    config["router_settings"] = {"num_retries": 1}
    async with running_gateway(tmp_path, config) as gateway:
        for _ in range(3):
            assert (await gateway.chat("group"))[0] == 200
        cooling = json.loads((await gateway.get("/health"))[1])["cooldowns"]
    assert [request["model"] for request in upstream.requests].count("status:429") == 2, "of the first call only"
    assert 5 < cooling["status:429"] <= 7, "as long as the upstream asked for"


async def test_settings_change_while_calls_run(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "bare:500", "plain")
    async with running_gateway(tmp_path, config) as gateway:
        assert (await gateway.chat("bare:500"))[0] == 500
        router = {"fallbacks": [{"bare:500": ["plain"]}], "num_retries": 0, "timeout": 3}
        status, body, _ = await gateway.post("/config/update", {"router_settings": router})
        assert status == 200, body
        _, _, headers = await gateway.chat("bare:500")
        assert headers["x-litellm-attempted-fallbacks"] == "1"
        assert headers["x-litellm-attempted-retries"] == "0"
        _, body, _ = await gateway.get("/get/config/callbacks")
        shown = json.loads(body)["router_settings"]
        assert (shown["fallbacks"], shown["timeout"]) == ([{"bare:500": ["plain"]}], 3)
        assert gateway.services.snapshot().deployments()["plain"].target.timeout_seconds == 3


async def test_headers_tell_deployment_times_and_cost(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        _, _, plain = await gateway.chat("plain")
        _, _, stream = await gateway.chat("plain", stream=True)
        first = (await gateway.events(2))[0].event

    assert plain["x-litellm-model-api-base"] == upstream.url
    assert float(plain["x-litellm-response-cost"]) == first.cost_nano_usd / 1e9 > 0
    assert "x-litellm-response-cost" not in stream
    for headers in (plain, stream):
        whole = float(headers["x-litellm-response-duration-ms"])
        assert 0 < float(headers["x-litellm-overhead-duration-ms"]) < whole
