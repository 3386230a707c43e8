"""A gateway that calls models by LiteLLM's SDK, from an environment of its own, against the upstream of the tests.

Not part of the suite, because the SDK brings 50 packages: `pytest tests/acceptance/test_litellm_library.py
--litellm-python /path/to/python`, which has `tallystick[litellm]`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server_kit import AUTHORIZATION, ServerProcess, eventually, serving
from upstream import USAGE, WORDS, Upstream, running_upstream

TEXT = "".join(WORDS)
MODELS = ("plain", "pause:500", "bare:429", "bare:500", "bare:401", "hang", "refuse", "garbage")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as upstream:
        yield upstream


@pytest.fixture
async def server(
    tmp_path: Path, upstream: Upstream, session: aiohttp.ClientSession, litellm_python: str
) -> AsyncIterator[ServerProcess]:
    entries = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"litellm/openai/{name}",
                "api_base": "http://127.0.0.1:1/v1" if name == "refuse" else upstream.url,
                "api_key": "up-key",
                "timeout": 2 if name == "hang" else 60,
            },
            "model_info": {"base_model": "gpt-4o"},
        }
        for name in MODELS
    ]
    sections = {"model_list": entries, "router_settings": {"num_retries": 0}}
    server = ServerProcess(
        tmp_path / "home", upstream_url=upstream.url, models=(), sections=sections, python=litellm_python
    )
    with serving(server):
        await server.ready(session)
        yield server


async def ask(server: ServerProcess, session: aiohttp.ClientSession, path: str, **body: Any) -> tuple[int, bytes]:
    async with session.post(f"{server.url}{path}", json=body, headers=AUTHORIZATION) as response:
        return response.status, await response.read()


async def events(server: ServerProcess, session: aiohttp.ClientSession, count: int) -> list[dict[str, Any]]:
    async def committed() -> list[dict[str, Any]] | None:
        async with session.get(f"{server.url}/ledger/events", headers=AUTHORIZATION) as response:
            found = (await response.json())["events"]
        return found if len(found) >= count else None

    return list(await eventually(committed, seconds=20, what="the events are committed"))


async def test_answers(server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream) -> None:
    said = [{"role": "user", "content": "Hi"}]
    status, body = await ask(server, session, "/v1/chat/completions", model="plain", messages=said, metadata={"a": "b"})
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, TEXT)
    assert upstream.requests == [{"model": "plain", "messages": said}]
    assert upstream.headers[0]["Authorization"] == "Bearer up-key"
    options = {"stream": True, "stream_options": {"include_usage": True}}
    _, body = await ask(server, session, "/v1/chat/completions", model="plain", messages=said, **options)
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert "".join(c["delta"].get("content", "") for each in chunks for c in each["choices"]) == TEXT
    told = [each["usage"] for each in chunks if each.get("usage")]
    assert [{name: usage[name] for name in USAGE} for usage in told] == [USAGE]
    _, body = await ask(server, session, "/v1/embeddings", model="plain", input=["a"])
    assert json.loads(body)["data"][0]["embedding"] == [0.1, 0.2]
    _, body = await ask(server, session, "/v1/messages", model="plain", messages=said, max_tokens=9)
    assert json.loads(body)["content"][0]["text"] == TEXT
    found = await events(server, session, 4)
    assert {(each["provider"], each["usage_source"], each["status"]) for each in found} == {
        ("openai", "provider", "success")
    }
    assert [each["cost_nano_usd"] for each in found] == [90_000, 90_000, 30_000, 90_000]
    assert "Give Feedback" not in server.log_tail()


@pytest.mark.parametrize(
    ("model", "status", "error_class"),
    [
        ("bare:429", 429, "UpstreamRefused"),
        ("bare:500", 500, "UpstreamRefused"),
        ("bare:401", 401, "UpstreamRefused"),
        ("hang", 504, "UpstreamTimeout"),
        ("refuse", 502, "UpstreamUnreachable"),
        ("garbage", 502, "UpstreamGarbled"),
    ],
)
async def test_faults(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, model: str, status: int, error_class: str
) -> None:
    said = [{"role": "user", "content": "Hi"}]
    await ask(server, session, "/v1/chat/completions", model="plain", messages=said)  # Loads the library.
    answered, body = await ask(server, session, "/v1/chat/completions", model=model, messages=said)
    found = await events(server, session, 2)
    assert (answered, found[-1]["error_class"]) == (status, error_class), body
    assert len(upstream.requests) == (1 if model == "refuse" else 2)


async def test_a_client_who_leaves(server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream) -> None:
    body = {"model": "pause:500", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    async with session.post(f"{server.url}/v1/chat/completions", json=body, headers=AUTHORIZATION) as response:
        await response.content.readany()
    found = await events(server, session, 1)
    assert found[0]["status"] == "interrupted"

    async def is_closed() -> bool:
        return not upstream.open_streams

    await eventually(is_closed, seconds=10, what="the upstream is closed")
    assert upstream.cut_streams == 1
