"""Rate limits through the whole gateway, counted in memory and in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway_kit import RunningGateway, running_gateway, scripted
from services import RedisServer
from tallystick.access.keys import hash_key
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author
from upstream import Upstream, running_upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
async def gateway(request: Any, upstream: Upstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    config = scripted(upstream.url, "plain", "big")
    if request.param == "redis":
        prefix = request.getfixturevalue("redis_prefix")
        url = request.getfixturevalue("redis_url")
        config["general_settings"] = {"redis_url": url, "redis_key_prefix": prefix, "redis_socket_timeout": 5}
    async with running_gateway(tmp_path, config) as running:
        yield running


async def make_key(gateway: RunningGateway, name: str, spec: dict[str, Any]) -> dict[str, str]:
    now = gateway.services.clock.now()
    key = f"sk-{name}-0123456789"
    made = ControlObject(kind=Kind.KEY, object_id=hash_key(key), spec=spec, created_at=now, updated_at=now, name=name)
    await gateway.services.writer.create(made, author=Author(key_hash="the-test"))
    return {"authorization": f"Bearer {key}"}


async def call(gateway: RunningGateway, headers: dict[str, str], **fields: Any) -> tuple[int, Any, dict[str, str]]:
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, **fields}
    status, answer, answered = await gateway.post("/v1/chat/completions", body, **headers)
    return status, json.loads(answer), answered


async def test_the_limit_and_not_one_more(gateway: RunningGateway) -> None:
    key = await make_key(gateway, "ci", {"limits": {"rpm_limit": 5}})
    answers = await asyncio.gather(*(call(gateway, key) for _ in range(20)))

    assert sorted(status for status, _, _ in answers) == [200] * 5 + [429] * 15
    refused, headers = next((body["error"], headers) for status, body, headers in answers if status == 429)
    assert (refused["type"], refused["code"]) == ("rate_limit_error", "429")
    assert "5 of 5 requests per minute are used. Try again in" in refused["message"]
    assert 1 <= int(headers["retry-after"]) <= 60
    left = {int(headers["x-ratelimit-remaining-requests"]) for status, _, headers in answers if status == 200}
    assert left == {0, 1, 2, 3, 4}
    assert len(await gateway.events(5)) == 5, "a call that was refused is none"


async def test_tokens_are_those_that_were_used(gateway: RunningGateway) -> None:
    key = await make_key(gateway, "ci", {"limits": {"tpm_limit": 100_000}})
    _, body, _ = await call(gateway, key)
    _, _, headers = await call(gateway, key, max_tokens=1_000)

    taken = 100_000 - int(headers["x-ratelimit-remaining-tokens"])
    estimate = taken - body["usage"]["total_tokens"]
    assert 1_000 <= estimate <= 1_200, "the first call counts with what it used, the second with its estimate"


async def test_one_call_after_the_other_never_meets_itself(gateway: RunningGateway) -> None:
    key = await make_key(gateway, "ci", {"limits": {"max_parallel_requests": 1}})
    for _ in range(15):
        status, body, _ = await call(gateway, key)
        assert status == 200, body


async def test_a_full_deployment_is_passed_over(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "plain")
    limited, other = config["model_list"][0], json.loads(json.dumps(config["model_list"][0]))
    limited["litellm_params"]["rpm"], limited["model_info"]["id"] = 2, "limited"
    other["litellm_params"]["rpm"], other["model_info"]["id"] = 3, "other"
    config["model_list"].append(other)
    async with running_gateway(tmp_path, config) as gateway:
        answers = [await gateway.chat("plain") for _ in range(6)]
        assert [status for status, _, _ in answers] == [200] * 5 + [429]
        assert "deployment '" in json.loads(answers[-1][1])["error"]["message"]
        events = [each.event.deployment_id for each in await gateway.events(5)]
        assert (events.count("limited"), events.count("other")) == (2, 3)


async def test_a_redis_that_dies_is_no_obstacle(
    own_redis_server: RedisServer, upstream: Upstream, tmp_path: Path
) -> None:
    config = scripted(upstream.url, "plain") | {"general_settings": {"redis_url": own_redis_server.url}}
    async with running_gateway(tmp_path, config) as gateway:
        key = await make_key(gateway, "ci", {"limits": {"rpm_limit": 2}})
        assert (await call(gateway, key))[0] == 200
        assert json.loads((await gateway.get("/health"))[1])["rate_limits"] == {"counted": "shared", "reason": ""}
        own_redis_server.kill()
        assert [(await call(gateway, key))[0] for _ in range(3)] == [200, 200, 429]
        told = json.loads((await gateway.get("/health"))[1])["rate_limits"]
        assert told["counted"] == "per_instance"
        assert f"127.0.0.1:{own_redis_server.port}" in told["reason"]
