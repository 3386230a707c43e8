"""Cohere behind the gateway: what it really said, and callers with the official SDK."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import openai
import pytest
from aiohttp import web

from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from tallystick.ledger.event import SpendEvent
from upstream import Upstream, running_upstream

USAGE = {"billed_units": {"input_tokens": 13, "output_tokens": 7}, "tokens": {"input_tokens": 542, "output_tokens": 9}}
CALL = {"id": "weigh_1", "type": "function", "function": {"name": "weigh", "arguments": '{"what":"the stick"}'}}
WEIGH = {"type": "function", "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}}}


class World:
    def __init__(self, gateway: RunningGateway, upstream: Upstream, paths: list[str]) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.paths = paths
        self.openai = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0)


@asynccontextmanager
async def world(
    home: Path, body: bytes, *, status: int = 200, model: str = "command-r7b-12-2024", stream: bool = False
) -> AsyncIterator[World]:
    paths: list[str] = []

    async def answer(request: web.Request, _body: dict[str, Any]) -> web.Response:
        paths.append(request.path)
        kind = "text/event-stream" if stream else "application/json"
        return web.Response(status=status, body=body, headers={"content-type": kind})

    async with running_upstream() as upstream:
        upstream.answer = answer
        params = {"model": f"cohere/{model}", "api_base": upstream.url, "api_key": "k"}
        config = {"model_list": [{"model_name": "public", "litellm_params": params}]}
        async with running_gateway(home, config) as gateway:
            made = World(gateway, upstream, paths)
            async with made.openai:
                yield made


def exchanges(path: str) -> list[Any]:
    lines = (Path(__file__).resolve().parents[2] / "recordings" / "cohere.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [pytest.param(each, id=each["id"]) for each in found if each["path"] == path]


def as_openai(message: dict[str, Any]) -> dict[str, Any]:
    if isinstance(message["content"], str):
        return message
    texts = {part["type"]: part[part["type"]] for part in message["content"]}
    return {"role": message["role"], "content": texts["text"], "reasoning_content": texts["thinking"]}


def check_event(event: SpendEvent, model: str, units: dict[str, int]) -> None:
    usage = event.usage
    assert (usage.input_tokens, usage.output_tokens) == (units["input_tokens"], units.get("output_tokens"))
    assert event.usage_source == "provider"
    try:
        counted = genai_prices.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        cost = genai_prices.calc_price(counted, model_ref=model, provider_id="cohere").total_price
    except LookupError:
        assert (event.cost_status, event.cost_nano_usd) == ("unpriced", 0)
        return
    assert (event.cost_status, event.cost_nano_usd) == ("priced", round(Decimal(cost) * 10**9))


@pytest.mark.parametrize("exchange", exchanges("/v2/chat"))
async def test_a_recorded_chat(tmp_path: Path, exchange: dict[str, Any]) -> None:
    request, recorded = exchange["request"], json.loads(exchange["body"])
    async with world(tmp_path, exchange["body"].encode(), model=request["model"]) as at:
        messages: Any = [as_openai(message) for message in request["messages"]]
        made = await at.openai.chat.completions.create(model="public", messages=messages)
        event = await at.gateway.event()
    assert at.upstream.requests == [request]
    assert (at.paths, at.upstream.headers[0]["Authorization"]) == (["/v2/chat"], "Bearer k")
    said = {part["type"]: part[part["type"]] for part in recorded["message"]["content"]}
    message = made.choices[0].message
    assert (made.id, message.content, made.choices[0].finish_reason) == (recorded["id"], said["text"], "stop")
    assert getattr(message, "reasoning_content", None) == said.get("thinking")
    check_event(event, request["model"], exchange["usage"]["billed_units"])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("exchange", exchanges("/v2/embed"))
async def test_recorded_embeddings(tmp_path: Path, exchange: dict[str, Any], *, packed: bool) -> None:
    request, recorded = exchange["request"], json.loads(exchange["body"])
    async with world(tmp_path, exchange["body"].encode(), model=request["model"], status=exchange["status"]) as at:
        asking = at.openai.embeddings.create(
            model="public",
            input=request["texts"],
            encoding_format="base64" if packed else "float",
            extra_body={"input_type": request["input_type"]},
        )
        if exchange["status"] != 200:
            with pytest.raises(openai.NotFoundError) as caught:
                await asking
            event = await at.gateway.event()
            assert caught.value.body == {
                "message": recorded["message"],
                "type": "not_found_error",
                "param": None,
                "code": "404",
            }
            assert (event.status, event.error_code) == ("failure", "404")
            return
        made = await asking
        event = await at.gateway.event()
    assert at.upstream.requests == [{name: value for name, value in request.items() if value is not None}]
    assert at.paths == ["/v2/embed"]
    vectors = recorded["embeddings"]["float"]
    if packed:
        packed_vectors = [each.embedding for each in made.data]
        assert all(isinstance(vector, str) for vector in packed_vectors)
        unpacked = [struct.unpack(f"<{len(base64.b64decode(v)) // 4}f", base64.b64decode(v)) for v in packed_vectors]  # type: ignore[arg-type]
        assert unpacked == [pytest.approx(vector, rel=1e-6) for vector in vectors]
    else:
        assert [each.embedding for each in made.data] == vectors
    assert [each.index for each in made.data] == list(range(len(vectors)))
    assert made.usage.prompt_tokens == recorded["meta"]["billed_units"]["input_tokens"]
    check_event(event, request["model"], recorded["meta"]["billed_units"])


@pytest.mark.parametrize(
    ("fields", "named"), [({"input": [[1, 2]]}, "input"), ({"input": ["x"], "truncation": 1}, "truncation")]
)
async def test_embeddings_that_cannot_be_asked_for(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    async with world(tmp_path, b"{}", model="embed-v4.0") as at:
        status, body, _ = await at.gateway.post("/v1/embeddings", {"model": "public", **fields})
    assert (status, json.loads(body)["error"]["param"], at.upstream.requests) == (400, named, [])


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


def message(**fields: Any) -> dict[str, Any]:
    return {"delta": {"message": fields}}


START = {
    "id": "c0",
    "type": "message-start",
    "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}},
}
TALK = [
    {**START, "delta": {"message": {"role": "assistant"}}},
    {"type": "content-start", "index": 0, **message(content={"type": "thinking", "thinking": ""})},
    {"type": "content-delta", "index": 0, **message(content={"thinking": "Two"})},
    {"type": "content-end", "index": 0},
    {"type": "content-start", "index": 1, **message(content={"type": "text", "text": ""})},
    {"type": "content-delta", "index": 1, **message(content={"text": "Two "})},
    {"type": "content-delta", "index": 1, **message(content={"text": "halves."})},
    {"type": "content-end", "index": 1},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
]
TOOLS = [
    START,
    {"type": "tool-plan-delta", **message(tool_plan="I will ")},
    {"type": "tool-plan-delta", **message(tool_plan="weigh it.")},
    {
        "type": "tool-call-start",
        "index": 0,
        **message(tool_calls={**CALL, "function": {"name": "weigh", "arguments": ""}}),
    },
    {"type": "tool-call-delta", "index": 0, **message(tool_calls={"function": {"arguments": '{"what":'}})},
    {"type": "tool-call-delta", "index": 0, **message(tool_calls={"function": {"arguments": '"the stick"}'}})},
    {"type": "tool-call-end", "index": 0},
    {
        "type": "tool-call-start",
        "index": 1,
        **message(tool_calls={"id": "l", "function": {"name": "look", "arguments": ""}}),
    },
    {"type": "tool-call-end", "index": 1},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
]


async def read(at: World) -> tuple[str, str, dict[int, str], Any, Any]:
    text, thought, arguments, reason, usage = "", "", {}, None, None  # type: ignore[var-annotated]
    stream = await at.openai.chat.completions.create(
        model="public",
        messages=[{"role": "user", "content": "x"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", None) or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return text, thought, arguments, reason, usage


async def test_an_openai_client_reads_a_stream(tmp_path: Path) -> None:
    async with world(tmp_path, sse(TALK), stream=True) as at:
        text, thought, _, reason, usage = await read(at)
        event = await at.gateway.event()
    assert (text, thought, reason, usage.prompt_tokens) == ("Two halves.", "Two", "stop", 13)
    assert at.upstream.requests[0]["stream"] is True
    assert event.provider_response_id == "c0"
    check_event(event, "command-r7b-12-2024", USAGE["billed_units"])


async def test_an_openai_client_reads_calls_of_tools_in_a_stream(tmp_path: Path) -> None:
    async with world(tmp_path, sse(TOOLS), stream=True) as at:
        text, thought, arguments, reason, _ = await read(at)
    assert (text, thought, reason) == ("", "I will weigh it.", "tool_calls")
    assert {index: json.loads(given) for index, given in arguments.items()} == {0: {"what": "the stick"}, 1: {}}


async def test_an_openai_client_calls_tools_and_gives_pictures(tmp_path: Path) -> None:
    plan = {"role": "assistant", "tool_plan": "I will weigh it.", "tool_calls": [CALL]}
    answer = {"id": "c1", "finish_reason": "TOOL_CALL", "message": plan, "usage": USAGE}
    async with world(tmp_path, json.dumps(answer).encode()) as at:
        first: Any = [
            {"role": "system", "content": "Be exact."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "How heavy?"},
                    {"type": "image_url", "image_url": {"url": "https://h/stick.png"}},
                ],
            },
        ]
        asked: Any = {"model": "public", "tools": [WEIGH], "tool_choice": "required", "max_tokens": 9, "top_p": 0.5}
        made = (await at.openai.chat.completions.create(messages=first, **asked)).choices[0]
        again = [*first, made.message.model_dump(), {"role": "tool", "tool_call_id": "weigh_1", "content": "12 g"}]
        await at.openai.chat.completions.create(messages=again, **asked)
    assert made.finish_reason == "tool_calls"
    assert made.message.tool_calls is not None
    assert made.message.tool_calls[0].function.arguments == '{"what":"the stick"}'  # type: ignore[union-attr]
    assert at.upstream.requests[1] == {
        "model": "command-r7b-12-2024",
        "stream": False,
        "messages": [*first, plan, {"role": "tool", "tool_call_id": "weigh_1", "content": "12 g"}],
        "max_tokens": 9,
        "p": 0.5,
        "tools": [WEIGH],
        "tool_choice": "REQUIRED",
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_failed(tmp_path: Path, *, stream: bool) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "usage": USAGE}}
    plain = {"id": "c1", "finish_reason": "ERROR", "message": {"content": []}, "usage": USAGE}
    async with world(tmp_path, sse([*TALK[:3], end]) if stream else json.dumps(plain).encode(), stream=stream) as at:
        with pytest.raises(openai.APIError, match="The model failed"):
            if stream:
                await read(at)
            else:
                await at.openai.chat.completions.create(model="public", messages=[{"role": "user", "content": "x"}])
        event = await at.gateway.event()
    assert (event.status, event.error_code) == ("failure", "502")
    assert (event.usage_source, event.usage.output_tokens is not None) == ("provider", True)
