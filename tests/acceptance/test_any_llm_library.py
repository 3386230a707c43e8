"""Models that are called by any-llm, the real library, against the upstream of the tests.

Not part of the suite, because any-llm holds Anthropic's client back at a version that few use any more: install
`tallystick[any-llm]` into the environment of the tests, then run
`pytest --any-llm tests/acceptance/test_any_llm_library.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from gateway_kit import MASTER_KEY, RunningGateway, running_gateway, scripted
from integration.gateway.faults import FAULTS, Fault
from tallystick.ledger.event import SpendEvent
from upstream import USAGE, WORDS, Upstream, running_upstream

pytestmark = pytest.mark.usefixtures("any_llm")
TEXT = "".join(WORDS)
TOOL = {"type": "function", "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}}}
TOLD_OTHERWISE = {
    # What a library does not let us see: what stands in an answer that it refuses, and where a connection broke.
    "200 with an error inside": (502, "UpstreamGarbled", "estimated"),
    "breaks off in a plain answer": (502, "UpstreamUnreachable", "none"),
    "a stream breaks off in the middle": (200, "UpstreamUnreachable", "estimated"),
}
PICTURE = "data:image/png;base64," + base64.b64encode(b"a picture").decode()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as upstream:
        yield upstream


def by_library(config: dict[str, Any]) -> dict[str, Any]:
    """The same deployments, called by the library."""
    for entry in config["model_list"]:
        entry["litellm_params"]["model"] = f"any-llm/{entry['litellm_params']['model']}"
    return config


def client_of(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0)


async def test_a_plain_answer(upstream: Upstream, tmp_path: Path) -> None:
    config = by_library(scripted(upstream.url, "plain", extra_headers={"x-own": "yes"}))
    async with running_gateway(tmp_path, config) as gateway, client_of(gateway) as client:
        answer = await client.chat.completions.create(
            model="plain", messages=[{"role": "user", "content": "Hi"}], temperature=0.5, metadata={"job": "7"}
        )
        event: SpendEvent = await gateway.event()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 18
    asked = upstream.requests[0]
    assert asked == {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5} | {
        "stream": False
    }
    assert upstream.headers[0]["Authorization"] == "Bearer up-key"
    assert upstream.headers[0]["x-own"] == "yes"
    assert (event.provider, event.model, event.usage_source) == ("openai", "plain", "provider")
    assert (event.usage.input_tokens, event.usage.output_tokens) == (12, 6)
    assert (event.cost_status, event.cost_nano_usd) == ("priced", 12 * 2500 + 6 * 10000)
    assert event.provider_response_id == "chatcmpl-upstream"


@pytest.mark.parametrize("wants_usage", [False, True])
async def test_a_stream(upstream: Upstream, tmp_path: Path, wants_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    async with running_gateway(tmp_path, by_library(scripted(upstream.url, "plain"))) as gateway:
        _, body, headers = await gateway.chat("plain", stream=True, **options)
        event: SpendEvent = await gateway.event()
    assert headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert events.pop() == b"[DONE]"
    chunks = [json.loads(each) for each in events]
    assert "".join(choice["delta"].get("content", "") for each in chunks for choice in each["choices"]) == TEXT
    assert [each["usage"] for each in chunks if each.get("usage")] == ([USAGE] if wants_usage else [])
    assert upstream.requests[0]["stream_options"] == {"include_usage": True}
    assert (event.status, event.usage_source, event.usage.output_tokens) == ("success", "provider", 6)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_faults_are_told_apart_as_without_the_library(upstream: Upstream, tmp_path: Path, fault: Fault) -> None:
    config = by_library(scripted(upstream.url, fault.model, timeout=2, stream_timeout=2))
    if fault.model == "refuse":
        config["model_list"][0]["litellm_params"]["api_base"] = "http://127.0.0.1:1/v1"
    async with running_gateway(tmp_path, config) as gateway:
        status, body, _ = await gateway.chat(fault.model, stream=fault.stream)
        event: SpendEvent = await gateway.event()
    expected = (fault.status, fault.error_class, fault.usage_source)
    assert b"error" in body
    assert (status, event.error_class, event.usage_source) == TOLD_OTHERWISE.get(fault.name, expected)
    assert max(1, len(event.attempts)) == fault.attempts
    assert len(upstream.requests) in (0, fault.attempts)  # The library tries nothing again.
    assert fault.pauses is None or tuple(gateway.pauses) == fault.pauses
    if fault.model.startswith("bare:"):
        told = json.loads(body)["error"]
        assert (told["message"], told["type"], told["code"]) == (
            f"upstream says {status}", "upstream_type", "upstream_code"
        )  # fmt: skip


async def test_tools_and_pictures_reach_the_upstream(upstream: Upstream, tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weigh", "arguments": "{}"}}

    async def answer(_request: web.Request, body: dict[str, Any]) -> web.Response:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choices = [{"index": 0, "finish_reason": "tool_calls", "message": message}]
        return web.json_response(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
        )

    upstream.answer = answer
    said = [
        {"role": "user", "content": [
            {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7 g"},
    ]  # fmt: skip
    async with running_gateway(tmp_path, by_library(scripted(upstream.url, "m"))) as gateway:
        _, body, _ = await gateway.chat("m", messages=said, tools=[TOOL], tool_choice="required")
        event: SpendEvent = await gateway.event()
    assert json.loads(body)["choices"][0] == {
        "index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
    }  # fmt: skip
    asked = upstream.requests[0]
    assert (asked["messages"], asked["tools"], asked["tool_choice"]) == (said, [TOOL], "required")
    assert event.usage_source == "estimated"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_in_another_dialect(upstream: Upstream, tmp_path: Path, stream: bool) -> None:
    config = by_library(scripted(upstream.url, "plain"))
    asked: dict[str, Any] = {"model": "plain", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    async with (
        running_gateway(tmp_path, config) as gateway,
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0) as client,
    ):
        if stream:
            async with client.messages.stream(**asked) as events:
                answer = await events.get_final_message()
        else:
            answer = await client.messages.create(**asked)
        event: SpendEvent = await gateway.event()
    assert answer.content[0].type == "text"
    assert answer.content[0].text == TEXT
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 6)
    assert (event.usage_source, event.usage.input_tokens, event.usage.output_tokens) == ("provider", 12, 6)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(upstream: Upstream, tmp_path: Path, encoding: str) -> None:
    async with running_gateway(tmp_path, by_library(scripted(upstream.url, "m"))) as gateway:
        asked = {"model": "m", "input": ["a", "b"], "encoding_format": encoding}
        _, body, _ = await gateway.post("/v1/embeddings", asked)
        event: SpendEvent = await gateway.event()
    vector = json.loads(body)["data"][0]["embedding"]
    if encoding == "base64":
        vector = struct.unpack("<2f", base64.b64decode(vector))
    assert list(vector) == pytest.approx([0.1, 0.2])
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage_source) == (12, None, "provider")


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "top_k": 3}, b"'top_k'"),
        # What a library would take as its own parameters, and go elsewhere with the deployment's key.
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Hi"}], "extra_headers": {}},
            b"'extra_headers'",
        ),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "timeout_": 1}, b"'timeout_'"),
        ("/v1/completions", {"prompt": "Hi"}, b"no /v1/completions"),
        ("/v1/moderations", {"input": "Hi"}, b"no /v1/moderations"),
    ],
)
async def test_what_can_not_be_said_is_refused(
    upstream: Upstream, tmp_path: Path, path: str, fields: dict[str, Any], words: bytes
) -> None:
    async with running_gateway(tmp_path, by_library(scripted(upstream.url, "m"))) as gateway:
        status, body, _ = await gateway.post(path, {"model": "m", **fields})
        assert (status, words in body) == (400, True), body
        if path == "/v1/chat/completions":
            status, _, _ = await gateway.post(path, {"model": "m", "drop_params": True, **fields})
            assert (status, len(upstream.requests)) == (200, 1)
            assert words.decode().strip("'") not in upstream.requests[0]
    assert upstream.url.startswith("http://127.0.0.1")


async def test_a_client_who_leaves_closes_the_upstream(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, by_library(scripted(upstream.url, "pause:50"))) as gateway:
        async with gateway.open_stream("pause:50") as response:
            await response.content.readany()
        event: SpendEvent = await gateway.event()
        async with asyncio.timeout(10):
            while upstream.open_streams:
                await asyncio.sleep(0.01)
    assert (event.status, event.usage_source) == ("interrupted", "estimated")
    assert upstream.cut_streams == 1


async def test_a_fallback_answers_in_its_place(upstream: Upstream, tmp_path: Path) -> None:
    config = by_library(scripted(upstream.url, "bare:500", "plain"))
    config["router_settings"] = {"fallbacks": [{"bare:500": ["plain"]}], "num_retries": 0}
    async with running_gateway(tmp_path, config) as gateway:
        status, _, headers = await gateway.chat("bare:500")
    assert (status, headers["x-litellm-attempted-fallbacks"]) == (200, "1")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("any-llm/nobody/m", b"can't call this provider"),
        ("any-llm/mistral/m", b"any-llm-sdk[mistral]"),  # Its own extra is missing here.
    ],
)
async def test_a_provider_that_the_library_can_not_call(
    upstream: Upstream, tmp_path: Path, model: str, words: bytes
) -> None:
    config = scripted(upstream.url, "m")
    config["model_list"][0]["litellm_params"]["model"] = model
    async with running_gateway(tmp_path, config) as gateway:
        status, body, _ = await gateway.chat("m")
    assert (status, words in body) == (502, True), body


async def test_unknown_providers_by_setting(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "plain")
    config["model_list"][0]["litellm_params"]["model"] = "llamafile/plain"
    config["general_settings"] = {"unknown_providers": "any-llm"}
    async with running_gateway(tmp_path, config) as gateway:
        status, _, _ = await gateway.chat("plain")
        event: SpendEvent = await gateway.event()
    assert (status, event.provider, event.model) == (200, "llamafile", "plain")


def test_nothing_of_a_library_is_imported_before_a_call_needs_it(tmp_path: Path) -> None:
    """A whole gateway, with and without a model of any-llm: its packages come with the first call to it."""
    program = """
import asyncio, json, sys
from pathlib import Path
from gateway_kit import running_gateway
home = Path(sys.argv[1])
def loaded():
    return sorted(name for name in ("any_llm", "litellm") if name in sys.modules)
def config(model):
    entry = {"model_name": "m", "litellm_params": {"model": model, "api_key": "k", "api_base": "http://127.0.0.1:1/v1"}}
    return {"model_list": [entry], "router_settings": {"num_retries": 0}}
async def main():
    seen = []
    for name, model in (("without", "openai/m"), ("with", "any-llm/openai/m")):
        (home / name).mkdir()
        async with running_gateway(home / name, config(model)) as gateway:
            seen.append(loaded())
            await gateway.chat("m")
            seen.append(loaded())
    print(json.dumps(seen))
asyncio.run(main())
"""
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False, env={"PYTHONPATH": tests, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[], [], [], ["any_llm"]]
