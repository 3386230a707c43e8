"""Answers that are kept and given again, through the whole gateway, in memory and in Redis."""

from __future__ import annotations

import asyncio
import json
import socket
import time
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

HIT, KEY = "x-litellm-cache-hit", "x-litellm-cache-key"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def cached(upstream: Upstream, *models: str, **general: Any) -> dict[str, Any]:
    config = scripted(upstream.url, *(models or ("plain",)))
    return {**config, "litellm_settings": {"cache": True}, "general_settings": general}


@pytest.fixture(params=["local", "redis"])
async def gateway(request: Any, upstream: Upstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    config = cached(upstream)
    if request.param == "redis":
        prefix = request.getfixturevalue("redis_prefix")
        url = request.getfixturevalue("redis_url")
        config["general_settings"] = {"redis_url": url, "redis_key_prefix": prefix, "redis_socket_timeout": 5}
    config["litellm_settings"]["cache_params"] = {"type": request.param, "ttl": 60}
    async with running_gateway(tmp_path, config) as running:
        yield running


@pytest.fixture
async def local(upstream: Upstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, cached(upstream)) as running:
        yield running


async def make_key(gateway: RunningGateway, name: str, spec: dict[str, Any], **columns: Any) -> dict[str, str]:
    now = gateway.services.clock.now()
    key = f"sk-{name}-0123456789"
    made = ControlObject(
        kind=Kind.KEY, object_id=hash_key(key), spec=spec, created_at=now, updated_at=now, name=name, **columns
    )
    await gateway.services.writer.create(made, author=Author(key_hash="the-test"))
    return {"authorization": f"Bearer {key}"}


async def make(gateway: RunningGateway, kind: Kind, object_id: str) -> None:
    now = gateway.services.clock.now()
    made = ControlObject(kind=kind, object_id=object_id, spec={}, created_at=now, updated_at=now)
    await gateway.services.writer.create(made, author=Author(key_hash="the-test"))


def chat(text: str = "Who owes whom?", **fields: Any) -> dict[str, Any]:
    return {"model": "plain", "messages": [{"role": "user", "content": text}], **fields}


async def ask(
    gateway: RunningGateway, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions", **fields: Any
) -> tuple[str, bytes, dict[str, str]]:
    """Ask and return whether it was a hit, the body and the headers."""
    status, body, told = await gateway.post(path, chat(**fields), **(headers or {}))
    assert status == 200, body
    return told.get(HIT, ""), body, told


async def kept(gateway: RunningGateway, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Ask until it is a hit: what goes to Redis is kept soon."""
    async with asyncio.timeout(10):
        while True:
            hit, body, told = await ask(gateway, **fields)
            if hit == "True":
                return body, told


async def test_a_hit_is_the_same_answer_free_and_one_event(gateway: RunningGateway, upstream: Upstream) -> None:
    hit, first, told = await ask(gateway)
    assert (hit, len(told[KEY])) == ("False", 64)
    second, told_again = await kept(gateway)

    assert second == first
    assert told_again[KEY] == told[KEY]
    assert told_again["x-litellm-response-cost"] == "0.000000000"
    assert told_again["x-litellm-model-id"] == "plain"
    asked = len(upstream.requests)
    for _ in range(3):
        assert (await ask(gateway))[0] == "True"
    assert len(upstream.requests) == asked
    events = [each.event for each in await gateway.events(asked + 4)]
    assert len(events) == asked + 4
    billed = [event for event in events if not event.cache_hit]
    hits = [event for event in events if event.cache_hit]
    assert (len(billed), len(hits)) == (asked, 4)
    assert all(event.cost_nano_usd > 0 and event.usage.input_tokens == 12 for event in billed)
    for event in hits:
        assert (event.status, event.cost_nano_usd, event.cost_status) == ("success", 0, "free")
        assert (event.usage.input_tokens, event.usage.output_tokens, event.usage_source) == (None, None, "none")
        assert (event.model_group, event.model, event.deployment_id) == ("plain", "plain", "plain")
        assert event.provider_response_id == "chatcmpl-upstream"
    assert told_again["x-litellm-call-id"] in {event.event_id for event in hits}


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"stream_options": {"include_usage": True}}),
        ("/v1/messages", {"max_tokens": 50}),
        ("/v1beta/models/plain:streamGenerateContent", {}),
        ("/v1beta/models/plain:streamGenerateContent?alt=sse", {}),
    ],
)
async def test_a_stream_is_replayed_in_the_caller_s_dialect(
    gateway: RunningGateway, upstream: Upstream, path: str, extra: dict[str, Any]
) -> None:
    body = chat(stream=True, **extra)
    if "GenerateContent" in path:
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    status, first, told = await gateway.post(path, body)
    assert (status, told.get(HIT)) == (200, "False")
    async with asyncio.timeout(10):
        again = await gateway.post(path, body)
        while again[2][HIT] == "False":
            again = await gateway.post(path, body)
    if path.startswith("/v1/chat"):
        assert again[1] == first
        assert first.endswith(b"data: [DONE]\n\n")
    assert again[2]["content-type"] == told["content-type"]
    assert again[1].count(b"stick") == first.count(b"stick") == 1


async def test_a_plain_answer_is_no_stream_s_and_no_other_dialect_s(local: RunningGateway) -> None:
    await ask(local)
    assert (await ask(local, stream=True))[0] == "False"
    status, _, told = await local.post("/v1/messages", chat(max_tokens=5))
    assert (status, told.get(HIT)) == (200, "False")


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Who owes me?"},
        {"temperature": 0.5},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"seed": 7},
        {"user": "somebody"},
        {"mock_response": "no"},
        {"a_field_that_nobody_knows": 1},
        {"cache": {"namespace": "elsewhere"}},
    ],
)
async def test_what_changes_the_answer_is_asked_anew(local: RunningGateway, other: dict[str, Any]) -> None:
    await ask(local)
    assert (await ask(local, **other))[0] == "False"
    assert (await ask(local, **other))[0] == "True"


@pytest.mark.parametrize("same", [{"metadata": {"trace_id": "t"}}, {"tags": ["a"]}, {"num_retries": 1}])
async def test_what_does_not_change_it_is_not(local: RunningGateway, same: dict[str, Any]) -> None:
    await ask(local)
    assert (await ask(local, **same))[0] == "True"


async def test_the_order_of_fields_is_nothing(local: RunningGateway) -> None:
    await local.post("/v1/chat/completions", chat(seed=1, temperature=0))
    turned = dict(reversed(chat(seed=1, temperature=0).items()))
    assert (await local.post("/v1/chat/completions", turned))[2][HIT] == "True"


async def test_no_tenant_gets_another_s_answer(local: RunningGateway) -> None:
    for kind, name in ((Kind.TEAM, "t1"), (Kind.TEAM, "t2"), (Kind.USER, "u1")):
        await make(local, kind, name)
    keys = [
        await make_key(local, "a", {}),
        await make_key(local, "b", {}),
        await make_key(local, "c", {}, team_id="t1"),
        await make_key(local, "d", {}, team_id="t2"),
        await make_key(local, "e", {}, user_id="u1"),
    ]
    for key in keys:
        assert (await ask(local, key))[0] == "False"
        assert (await ask(local, key, cache={"namespace": "x"}))[0] == "False"
    mates = [await make_key(local, "f", {}, team_id="t1"), await make_key(local, "g", {}, user_id="u1")]
    for key in (*keys, *mates):
        assert (await ask(local, key))[0] == "True"


@pytest.mark.parametrize(("scope", "hit"), [("everybody", "True"), ("key", "False")])
async def test_who_shares_is_a_setting(upstream: Upstream, tmp_path: Path, scope: str, hit: str) -> None:
    async with running_gateway(tmp_path, cached(upstream, cache_scope=scope)) as gateway:
        await make(gateway, Kind.TEAM, "t1")
        await ask(gateway, await make_key(gateway, "a", {}, team_id="t1"))
        assert (await ask(gateway, await make_key(gateway, "b", {}, team_id="t1")))[0] == hit


async def test_a_key_that_may_not_call_the_model_gets_nothing(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, cached(upstream, "plain", "other", cache_scope="everybody")) as gateway:
        await ask(gateway)
        key = await make_key(gateway, "a", {"models": ["other"]})
        status, _, _ = await gateway.post("/v1/chat/completions", chat(), **key)
        assert status in (401, 403)


async def test_controls_of_a_call(local: RunningGateway, upstream: Upstream) -> None:
    assert (await ask(local, cache={"no-store": True}))[0] == "False"
    assert (await ask(local))[0] == "False"
    assert (await ask(local))[0] == "True"
    assert (await ask(local, cache={"no-cache": True}))[0] == "False"
    assert (await ask(local, {"cache-control": "no-cache"}))[0] == "False"
    assert (await ask(local, {"cache-control": "max-age=60"}))[0] == "True"
    assert (await ask(local, cache={"s-maxage": 0}))[0] == "False"
    assert (await ask(local, cache={"s-maxage": 60}))[0] == "True"
    assert (await ask(local, text="brief", cache={"ttl": 0.001}))[0] == "False"
    assert (await ask(local, {"cache-control": "no-store"}, text="header"))[0] == "False"
    assert (await ask(local, text="header"))[0] == "False"
    assert all("cache" not in request for request in upstream.requests)


@pytest.mark.parametrize("wrong", [{"ttl": -1}, {"s-maxage": "soon"}, {"no-cash": True}, 5])
async def test_wrong_controls_are_refused_by_name(local: RunningGateway, wrong: Any) -> None:
    status, body, _ = await local.post("/v1/chat/completions", chat(cache=wrong))
    assert status == 400
    assert json.loads(body)["error"]["param"].startswith("cache")


async def test_off_by_default(upstream: Upstream, tmp_path: Path) -> None:
    config = cached(upstream)
    config["litellm_settings"]["cache_params"] = {"type": "local", "mode": "default_off"}
    async with running_gateway(tmp_path, config) as gateway:
        for _ in range(2):
            assert (await ask(gateway))[0] == ""
        assert (await ask(gateway, cache={"use-cache": True}))[0] == "False"
        assert (await ask(gateway, cache={"use-cache": True}))[0] == "True"


async def test_only_supported_call_types(upstream: Upstream, tmp_path: Path) -> None:
    config = cached(upstream)
    config["litellm_settings"]["cache_params"] = {"type": "local", "supported_call_types": ["aembedding"]}
    async with running_gateway(tmp_path, config) as gateway:
        assert (await ask(gateway))[0] == ""
        body = {"model": "plain", "input": "x"}
        assert [(await gateway.post("/v1/embeddings", body))[2][HIT] for _ in range(2)] == ["False", "True"]


async def test_what_is_not_good_is_not_kept(upstream: Upstream, tmp_path: Path) -> None:
    models = ("status:500", "inside", "first_error", "reset", "garbage")
    async with running_gateway(tmp_path, cached(upstream, *models)) as gateway:
        for model in models:
            for stream in (False, True) if model != "first_error" else (True,):
                for _ in range(2):
                    _, _, told = await gateway.post(
                        "/v1/chat/completions", chat(model=model, stream=stream, num_retries=0)
                    )
                    assert told.get(HIT) != "True", (model, stream)


async def test_a_stream_that_the_client_left_is_not_kept(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, cached(upstream, "pause:50")) as gateway:
        async with gateway.open_stream("pause:50") as response:
            await response.content.readany()
        (first,) = await gateway.events(1)
        assert first.event.status == "interrupted"
        assert (await gateway.chat("pause:50", stream=True))[2][HIT] == "False"
        assert (await gateway.chat("pause:50", stream=True))[2][HIT] == "True"


async def test_an_answer_of_a_fallback_is_not_kept(upstream: Upstream, tmp_path: Path) -> None:
    config = cached(upstream, "status:500", "plain")
    config["router_settings"] = {"fallbacks": [{"status:500": ["plain"]}], "num_retries": 0, "disable_cooldowns": True}
    async with running_gateway(tmp_path, config) as gateway:
        for _ in range(2):
            hit, _, told = await ask(gateway, model="status:500")
            assert (hit, told["x-litellm-attempted-fallbacks"]) == ("False", "1")


async def test_a_hit_takes_no_budget_and_one_request(local: RunningGateway) -> None:
    key = await make_key(local, "poor", {"limits": {"rpm_limit": 3, "max_budget": 0.0001}})
    hit, _, told = await ask(local, key)
    assert hit == "False"
    for _ in range(2):
        hit, _, told = await ask(local, key)
        assert hit == "True"
    assert told["x-ratelimit-remaining-requests"] == "0"
    status, _, _ = await local.post("/v1/chat/completions", chat(), **key)
    assert status == 429


async def test_too_large_an_answer_is_not_kept(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, cached(upstream, cache_answer_bytes_max=100)) as gateway:
        for stream in (False, True):
            for _ in range(2):
                assert (await ask(gateway, stream=stream))[0] == "False"
        value = gateway.metrics.registry.get_sample_value
        assert value("tallystick_cache_writes_total", {"outcome": "too_large"}) == 4


async def test_forgetting(gateway: RunningGateway) -> None:
    _, told = await kept(gateway)
    await kept(gateway, text="two")
    status, body, _ = await gateway.get("/cache/ping")
    assert (status, json.loads(body)["ping_response"]) == (200, True)
    status, body, _ = await gateway.post("/cache/delete", {"keys": [told[KEY], "f" * 64]})
    assert (status, json.loads(body)["deleted"]) == (200, 1)
    assert (await ask(gateway, text="two"))[0] == "True"
    assert (await ask(gateway))[0] == "False"
    await kept(gateway)
    status, body, _ = await gateway.post("/cache/flushall", {})
    assert (status, json.loads(body)["deleted"]) == (200, 2)
    assert (await ask(gateway, text="two"))[0] == "False"


async def test_only_admins_forget(local: RunningGateway) -> None:
    key = await make_key(local, "a", {})
    for path in ("/cache/delete", "/cache/flushall"):
        status, _, _ = await local.post(path, {"keys": ["x"]}, **key)
        assert status == 401


async def test_a_hung_redis_slows_no_call(upstream: Upstream, tmp_path: Path) -> None:
    """It accepts connections and says nothing: every call is a miss, and none waits for it."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(64)
    config = cached(
        upstream,
        redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
        redis_socket_timeout=0.2,
        cache_type="redis",
    )
    try:
        async with running_gateway(tmp_path, config) as gateway:
            await ask(gateway)
            begun = time.monotonic()
            for _ in range(10):
                assert (await ask(gateway))[0] == "False"
            assert time.monotonic() - begun < 1.0  # Ten times its timeout would be two seconds.
            assert (await gateway.get("/cache/ping"))[0] == 503
            assert len(await gateway.events(11)) == 11
    finally:
        silent.close()


async def test_a_redis_that_hangs_and_comes_back(
    upstream: Upstream, tmp_path: Path, own_redis_server: RedisServer
) -> None:
    server = own_redis_server
    config = cached(upstream, redis_url=server.url, redis_socket_timeout=0.2)
    async with running_gateway(tmp_path, config) as gateway:
        await kept(gateway)
        server.pause()
        begun = time.monotonic()
        for _ in range(5):
            assert (await ask(gateway))[0] == "False"
        assert time.monotonic() - begun < 1.0
        server.resume()
        await kept(gateway)
        server.kill()
        assert (await ask(gateway))[0] == "False"
        server.start()
        await kept(gateway)
