"""Calls that upstreams serve in other tiers than the usual, through the gateway: the answer decides the price."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import bedrock_kit
from gateway_kit import RunningGateway, running_gateway
from upstream import running_upstream

PRICES = {
    "input_cost_per_token": 0.000002,
    "output_cost_per_token": 0.000008,
    "input_cost_per_token_flex": 0.000001,
    "output_cost_per_token_flex": 0.000004,
    "input_cost_per_token_priority": 0.000004,
    "output_cost_per_token_priority": 0.000016,
}
INPUT, OUTPUT = 12, 6
USUAL = INPUT * 2_000 + OUTPUT * 8_000
CALLER = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Who owes whom?"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Who owes whom?"}]}]}

CHAT_USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
MESSAGE = {"type": "message", "id": "a", "model": "m", "role": "assistant", "stop_reason": "end_turn"}
TOKENS = {"input_tokens": INPUT, "output_tokens": OUTPUT}
METADATA = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}


def chat(tier: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Two."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "c", "model": "m", "choices": [choice], "usage": CHAT_USAGE, "service_tier": tier}


def chat_stream(tier: str) -> list[dict[str, Any]]:
    head = {"id": "c", "model": "m", "service_tier": tier}
    said = {"index": 0, "delta": {"content": "Two."}, "finish_reason": "stop"}
    return [head | {"choices": [said]}, head | {"choices": [], "usage": CHAT_USAGE}]


def response(tier: str) -> dict[str, Any]:
    return {"id": "r", "model": "m", "status": "completed", "output": [], "usage": TOKENS, "service_tier": tier}


def response_stream(tier: str) -> list[dict[str, Any]]:
    created = {"id": "r", "model": "m", "status": "in_progress", "service_tier": "auto"}
    return [
        {"type": "response.created", "response": created},
        {"type": "response.completed", "response": response(tier)},
    ]


def message(tier: str) -> dict[str, Any]:
    return {**MESSAGE, "content": [{"type": "text", "text": "Two."}], "usage": TOKENS | {"service_tier": tier}}


def message_stream(tier: str) -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": MESSAGE | {"content": [], "usage": TOKENS | {"service_tier": tier}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": OUTPUT}},
        {"type": "message_stop"},
    ]


def gemini(tier: str) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": "Two."}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": METADATA | {"serviceTier": tier}}


def gemini_stream(tier: str) -> list[dict[str, Any]]:
    return [gemini(tier)]


@asynccontextmanager
async def world(
    home: Path, model: str, plain: Any, events: list[dict[str, Any]], *, prices: Any = None, **info: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway in front of an upstream that answers so, plain or streamed, whatever it is asked."""

    async def answer(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("stream") or "streamGenerate" in request.path:
            sent = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
            sent += b"" if "type" in events[0] or "candidates" in events[0] else b"data: [DONE]\n\n"
            return web.Response(body=sent, content_type="text/event-stream")
        if request.path.endswith("converse-stream"):
            return web.Response(body=b"".join(plain[1]), content_type=bedrock_kit.EVENT_STREAM)
        return web.Response(
            body=plain[0] if isinstance(plain, tuple) else json.dumps(plain).encode(), content_type="application/json"
        )

    async with running_upstream() as upstream:
        upstream.answer = answer
        api_base = upstream.url.removesuffix("/v1") if model.startswith(("anthropic", "bedrock")) else upstream.url
        params = {"model": model, "api_base": api_base, "api_key": "up-key", **(PRICES if prices is None else prices)}
        entry = {"model_name": "m", "litellm_params": params, "model_info": {"id": "d1", **info}}
        async with running_gateway(home, {"model_list": [entry]}) as gateway:
            yield gateway


DIALECTS = {
    "chat": ("openai/m", chat, chat_stream, "/v1/chat/completions", CALLER),
    "responses": ("openai/m", response, response_stream, "/v1/responses", {"model": "m", "input": "Who owes whom?"}),
    "messages": ("anthropic/m", message, message_stream, "/v1/messages", CALLER),
    "gemini": ("gemini/m", gemini, gemini_stream, "/v1beta/models/m:generateContent", CONTENTS),
    "chat of anthropic": ("anthropic/m", message, message_stream, "/v1/chat/completions", CALLER),
    "chat of gemini": ("gemini/m", gemini, gemini_stream, "/v1/chat/completions", CALLER),
    "messages of openai": ("openai/m", chat, chat_stream, "/v1/messages", CALLER),
}
TIERS = [("standard", USUAL, ""), ("flex", USUAL // 2, "flex"), ("priority", USUAL * 2, "priority")]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("streams", [False, True])
async def test_the_tier_of_the_answer_decides_the_price(tmp_path: Path, name: str, streams: bool) -> None:
    model, plain, events, path, asked = DIALECTS[name]
    if streams and "Content" in path:
        path = path.replace(":generate", ":streamGenerate") + "?alt=sse"
    elif streams:
        asked = {**asked, "stream": True}
    told: dict[str, Any] = {}
    sent: list[Any] = []
    async with world(tmp_path, model, told, sent) as gateway:
        for count, (tier, nano_usd, prices) in enumerate(TIERS, start=1):
            told.update(plain(tier))
            sent[:] = events(tier)
            status, body, _ = await gateway.post(path, asked)
            assert status == 200, body
            event = (await gateway.events(count))[-1].event
            assert (event.usage.input_tokens, event.usage.output_tokens) == (INPUT, OUTPUT)
            assert event.usage_source == "provider"
            assert event.cost_nano_usd == sum(event.cost_breakdown.values()) == nano_usd
            assert event.price_version.partition(";")[2].partition("_prices=")[0] == prices


@pytest.mark.parametrize("streams", [False, True])
async def test_bedrock(tmp_path: Path, streams: bool) -> None:
    plain = json.loads(bedrock_kit.answer([{"text": "Two."}])) | {"serviceTier": {"type": "flex"}}
    pieces = bedrock_kit.stream([{"text": "Two."}])[:-1]
    metadata = {"usage": plain["usage"], "serviceTier": {"type": "flex"}}
    answers = (json.dumps(plain).encode(), [*pieces, bedrock_kit.event("metadata", **metadata)])
    prices = PRICES | {"aws_region_name": "eu-west-1"}
    async with world(tmp_path, "bedrock/us.meta.llama3-3-70b-instruct-v1:0", answers, [], prices=prices) as gateway:
        status, body, _ = await gateway.post("/v1/chat/completions", {**CALLER, "stream": streams})
        assert status == 200, body
        event = await gateway.event()
    assert event.cost_nano_usd == USUAL // 2


async def test_a_fast_answer_made_in_the_usa_is_multiplied(tmp_path: Path) -> None:
    told = message("standard")
    told["usage"] = told["usage"] | {"speed": "fast", "inference_geo": "us"}
    factors = {"us": 1.1, "fast": 6.0}
    async with world(tmp_path, "anthropic/m", told, [], provider_specific_entry=factors) as gateway:
        status, body, _ = await gateway.post("/v1/messages", CALLER)
        assert status == 200, body
        event = await gateway.event()
    assert event.cost_nano_usd == USUAL * 66 // 10
    assert event.price_version.endswith(";fast_factor=6;us_factor=1.1")


async def test_a_tier_without_a_price_costs_the_usual_and_the_event_says_so(tmp_path: Path) -> None:
    usual = {"input_cost_per_token": 0.000002, "output_cost_per_token": 0.000008}
    async with world(tmp_path, "openai/m", chat("scale"), [], prices=usual) as gateway:
        await gateway.post("/v1/chat/completions", CALLER)
        event = await gateway.event()
    assert event.cost_nano_usd == USUAL
    assert event.price_version.endswith(";no_price_for=scale")


async def test_a_deployment_may_know_the_price_of_a_tier_only(tmp_path: Path) -> None:
    flex = {name: price for name, price in PRICES.items() if name.endswith("_flex")}
    for tier, status, nano_usd in (("flex", "priced", USUAL // 2), ("default", "unpriced", 0)):
        home = tmp_path / tier
        home.mkdir()
        async with world(home, "openai/m", chat(tier), [], prices=flex) as gateway:
            await gateway.post("/v1/chat/completions", CALLER)
            event = await gateway.event()
        assert (event.cost_status, event.cost_nano_usd) == (status, nano_usd)


async def test_a_response_in_the_background_is_priced_by_the_tier_in_which_it_was_made(tmp_path: Path) -> None:
    async def answer(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
        queued = {"id": "r", "model": "m", "status": "queued", "service_tier": "auto", "background": True}
        return web.json_response(response("flex") if request.method == "GET" else queued)

    async with running_upstream() as upstream:
        upstream.answer = answer
        params = {"model": "openai/m", "api_base": upstream.url, "api_key": "up-key", **PRICES}
        entry = {"model_name": "m", "litellm_params": params, "model_info": {"id": "d1"}}
        async with running_gateway(tmp_path, {"model_list": [entry]}) as gateway:
            await gateway.post("/v1/responses", {"model": "m", "input": "Who owes whom?", "background": True})
            event = await gateway.event()
    assert event.cost_nano_usd == USUAL // 2


async def test_a_caller_who_leaves_pays_for_the_tier_that_was_told(tmp_path: Path) -> None:
    events = [{"id": "c", "model": "m", "service_tier": "priority",
               "choices": [{"index": 0, "delta": {"content": "Two."}}]}]  # fmt: skip
    async with world(tmp_path, "openai/m", None, events) as gateway:
        await gateway.post("/v1/chat/completions", {**CALLER, "stream": True})
        event = await gateway.event()
    assert event.usage_source == "estimated"
    assert ";priority_prices=" in event.price_version
