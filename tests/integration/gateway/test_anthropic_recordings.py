"""Every recorded exchange with Anthropic, replayed natively: unchanged; one of each shape to an OpenAI client's SDK."""

from __future__ import annotations

import asyncio
import json
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from distinct import one_of_each
from gateway_kit import AUTHORIZATION, MASTER_KEY, running_gateway
from tallystick.ledger.event import SpendEvent
from upstream import running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "anthropic.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
PRICES = {  # USD per million, far apart, so that no unit can stand for another.
    "input_cost_per_token": "0.000003",
    "output_cost_per_token": "0.000017",
    "cache_read_input_token_cost": "0.0000003",
    "cache_creation_input_token_cost": "0.00000375",
    "cache_creation_input_token_cost_above_1hr": "0.000006",
}


PICTURE = "data:image/png;base64,aGVsbG8="
DOCUMENT = "data:application/pdf;base64,cGFnZXM="
FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object"}, "strict": True}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"where": "here"}'}}
MESSAGES: list[Any] = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": DOCUMENT}},
        ],
    },
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [CALL, {**CALL, "id": "c2"}],
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "A stick."},
    {"role": "tool", "tool_call_id": "c2", "content": "Another."},
    {"role": "user", "content": "So?"},
]

SAID: dict[str, Any] = {
    "messages": MESSAGES,
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_completion_tokens": 5000,
    "stop": "END",
    "temperature": 0.5,
    "user": "ada",
    "reasoning_effort": "medium",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
}
"""What an OpenAI client may say."""
ARRIVES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
                {"type": "image", "source": {"type": "url", "url": "https://pictures.example/1.png"}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "cGFnZXM="},
                    "title": "a.pdf",
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"where": "here"}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {"where": "here"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "A stick."},
                {"type": "tool_result", "tool_use_id": "c2", "content": "Another."},
                {"type": "text", "text": "So?"},
            ],
        },
    ],
    "tools": [{"name": "look", "description": "Look.", "input_schema": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "metadata": {"user_id": "ada"},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
}
"""The same as Anthropic gets it."""


def exchanges(*, status: int = 200) -> list[Any]:
    return [pytest.param(each, id=each["id"]) for each in EXCHANGES if each["status"] == status]


def config(api_base: str, model: str) -> dict[str, Any]:
    params = {"model": f"anthropic/{model}", "api_base": api_base, "api_key": "up-key", "drop_params": True, **PRICES}
    return {"model_list": [{"model_name": "public", "litellm_params": params}]}


def told_of(usage: dict[str, Any]) -> dict[str, int]:
    """Read the recorded usage as Anthropic's documentation has it, independently of the gateway's code."""
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": usage["input_tokens"] + read + written,
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": read,
        "cache_write_tokens": written,
    }


def check(event: SpendEvent, usage: dict[str, Any]) -> None:
    expected = told_of(usage)
    assert event.usage_source == "provider"
    assert {name: getattr(event.usage, name) or 0 for name in expected} == expected
    one_hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
    exact = (
        usage["input_tokens"] * Decimal(3)
        + expected["output_tokens"] * Decimal(17)
        + expected["cache_read_tokens"] * Decimal("0.3")
        + (expected["cache_write_tokens"] - one_hour) * Decimal("3.75")
        + one_hour * Decimal(6)
        + (usage.get("server_tool_use") or {}).get("web_search_requests", 0) * Decimal(10_000)  # $10 a thousand.
    ) * 1000
    assert event.cost_nano_usd == int(exact.to_integral_value(ROUND_HALF_EVEN))
    assert event.cost_status == "priced"


@pytest.mark.parametrize("exchange", exchanges())
async def test_natively(exchange: dict[str, Any], tmp_path: Path) -> None:
    request, recorded = exchange["request"], exchange["body"].encode()

    async def replay(asked: web.Request, _body: dict[str, Any]) -> web.Response:
        assert asked.path == exchange["path"]
        assert asked.headers["x-api-key"] == "up-key"
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert asked.headers["anthropic-beta"] == "some-beta"
        assert "authorization" not in asked.headers
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, request["model"])) as gateway:
            status, body, headers = await gateway.post(
                exchange["path"], {**request, "model": "public"}, **{"anthropic-beta": "some-beta"}
            )
            event = await gateway.event()
        asked = upstream.requests[0]

    assert (status, body) == (200, recorded)
    assert headers["content-type"] == exchange["content_type"]
    assert asked == request
    assert event.provider == "anthropic"
    if exchange["path"].endswith("count_tokens"):
        assert (event.call_type, event.usage_source, event.cost_nano_usd) == ("count_tokens", "none", 0)
        assert event.cost_status == "free"
    else:
        assert event.call_type == "anthropic_messages"
        check(event, exchange["usage"])


@pytest.mark.parametrize("exchange", exchanges(status=400))
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_an_error_keeps_status_type_and_message(exchange: dict[str, Any], path: str, tmp_path: Path) -> None:
    recorded = json.loads(exchange["body"])

    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(status=exchange["status"], text=exchange["body"], content_type="application/json")

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, "m")) as gateway:
            body = {"model": "public", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
            status, answer, _headers = await gateway.post(path, body)
            event = await gateway.event()
    error = json.loads(answer)["error"]
    assert status == exchange["status"]
    assert (error["type"], error["message"]) == (recorded["error"]["type"], recorded["error"]["message"])
    assert (json.loads(answer).get("type") == "error") is (path == "/v1/messages")
    assert (event.status, event.error_code, event.cost_nano_usd) == ("failure", "400", 0)


@pytest.mark.parametrize(
    "exchange", [each for each in one_of_each(exchanges()) if "count" not in each.values[0]["path"]]
)
async def test_an_openai_client_understands_it(exchange: dict[str, Any], tmp_path: Path) -> None:
    recorded = exchange["body"].encode()
    is_stream = "event-stream" in exchange["content_type"]

    async def replay(_asked: web.Request, body: dict[str, Any]) -> web.Response:
        assert body["model"] == exchange["request"]["model"]
        assert body["max_tokens"] == 4096
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, exchange["request"]["model"])) as gateway:
            async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0) as client:
                asked: dict[str, Any] = {"model": "public", "messages": [{"role": "user", "content": "Hi"}]}
                text, calls, finish_reason, usage = (
                    await streamed(client, asked) if is_stream else await plain(client, asked)
                )
            event = await gateway.event()
    blocks, stop_reason = recorded_blocks(exchange)
    assert text == "".join(block["text"] for block in blocks if block["type"] == "text")
    assert calls == [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    stops = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
    assert finish_reason == stops.get(stop_reason, "stop")
    check(event, exchange["usage"])
    assert (usage.prompt_tokens, usage.completion_tokens) == (event.usage.input_tokens, event.usage.output_tokens)
    assert usage.prompt_tokens_details.cached_tokens == (exchange["usage"].get("cache_read_input_tokens") or 0)


async def test_what_an_openai_client_says_arrives(tmp_path: Path) -> None:
    async def answer(_asked: web.Request, body: dict[str, Any]) -> web.Response:
        creation = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200}
        usage = {
            "input_tokens": 10,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 500,
            "cache_creation": creation,
            "output_tokens": 7,
        }
        content = [{"type": "text", "text": "Two sticks."}]
        message = {"type": "message", "role": "assistant", "id": "msg_1", "model": body["model"], "content": content}
        return web.json_response({**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, config(upstream.url, "m")) as gateway:
            async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0) as client:
                said = await client.chat.completions.create(model="public", **SAID)
            event = await gateway.event()
        asked = upstream.requests[0]

    assert asked == ARRIVES
    assert said.choices[0].message.content == "Two sticks."
    assert said.usage is not None
    assert said.usage.prompt_tokens == 1510
    usage = event.usage
    assert (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (1510, 500, 200)
    assert event.cost_breakdown == {
        "input": 10 * 3000,
        "output": 7 * 17000,
        "cache_read": 1000 * 300,
        "cache_write": 300 * 3750,
        "cache_write_1h": 200 * 6000,
    }


async def test_a_client_that_leaves_pays_the_input_as_anthropic_counted_it(tmp_path: Path) -> None:
    exchange = next(each for each in EXCHANGES if "event-stream" in each["content_type"])
    head = exchange["body"].encode()[:1500]

    async def begin(asked: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": exchange["content_type"]})
        await response.prepare(asked)
        await response.write(head)
        await asyncio.sleep(3600)
        return response

    async with running_upstream() as upstream:
        upstream.answer = begin
        async with running_gateway(tmp_path, config(upstream.url, "m")) as gateway:
            asked = {"model": "public", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
            async with gateway._session.post(
                gateway.url + "/v1/chat/completions", json=asked, headers=AUTHORIZATION
            ) as response:
                await response.content.readany()
            event = await gateway.event()
    assert (event.status, event.usage_source) == ("interrupted", "estimated")
    assert event.usage.input_tokens == 690
    assert event.usage.output_tokens >= 8


async def plain(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> tuple[str, list[Any], str, Any]:
    answer = await client.chat.completions.create(**asked)
    message = answer.choices[0].message
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
    return message.content or "", calls, answer.choices[0].finish_reason, answer.usage


async def streamed(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> tuple[str, list[Any], str, Any]:
    async with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        async for _event in stream:
            pass
        answer = await stream.get_final_completion()
    message = answer.choices[0].message
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
    return message.content or "", calls, answer.choices[0].finish_reason, answer.usage


def recorded_blocks(exchange: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Return the blocks of an answer, a stream's put together without the gateway's code."""
    if "event-stream" not in exchange["content_type"]:
        answer = json.loads(exchange["body"])
        return answer["content"], answer["stop_reason"]
    blocks: dict[int, dict[str, Any]] = {}
    stop_reason = ""
    for line in exchange["body"].splitlines():
        if not line.startswith("data: "):
            continue
        event = json.loads(line[6:])
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "input_json_delta":
                block["json"] += delta["partial_json"]
        elif event["type"] == "message_delta":
            stop_reason = event["delta"]["stop_reason"]
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["json"] or "{}")
    return list(blocks.values()), stop_reason
