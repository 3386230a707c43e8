"""Every recorded exchange with Gemini, replayed natively: unchanged; one of each shape to an OpenAI client's SDK."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import genai_prices
import openai
import pytest
from aiohttp import web

from distinct import one_of_each
from gateway_kit import AUTHORIZATION, MASTER_KEY, RunningGateway, running_gateway
from tallystick.ledger.event import SpendEvent
from upstream import running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "gemini.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
SEARCH_PRICES = {2: 35, 3: 14}  # USD a thousand: of grounded prompts before the third generation, of queries since.


def exchanges(*, status: int = 200, method: str = "", stream: bool | None = None) -> list[Any]:
    return [
        pytest.param(each, id=f"{method_of(each)}-{each['id']}")
        for each in EXCHANGES
        if each["status"] == status
        and method in each["path"]
        and (stream is None or stream == ("event-stream" in each["content_type"]))
    ]


def method_of(exchange: dict[str, Any]) -> str:
    return str(exchange["path"]).partition("?")[0].rpartition(":")[2]


def model_of(exchange: dict[str, Any]) -> str:
    found = re.search(r"/models/([^:]+):", exchange["path"])
    assert found is not None
    return found[1]


def config(api_base: str, model: str, **params: Any) -> dict[str, Any]:
    params = {"model": f"gemini/{model}", "api_base": api_base, "api_key": "up-key", **params}
    return {"model_list": [{"model_name": "public", "litellm_params": params}]}


def answers_of(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answer, or those that its stream is made of."""
    if "event-stream" not in exchange["content_type"]:
        return [json.loads(exchange["body"])]
    return [json.loads(line[6:]) for line in exchange["body"].splitlines() if line.startswith("data: ")]


def told_of(exchange: dict[str, Any]) -> dict[str, int]:
    """Read the recorded usage as Google's documentation has it, independently of the gateway's code."""
    usage = exchange["usage"]
    sound = [
        each["tokenCount"] for each in usage.get("promptTokensDetails", ()) if each["modality"] == "AUDIO"
    ]  # No recording has cached sound.
    return {
        "input_tokens": usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        "output_tokens": usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
        "reasoning_tokens": usage.get("thoughtsTokenCount", 0),
        "cache_read_tokens": usage.get("cachedContentTokenCount", 0),
        "audio_input_tokens": sum(sound),
        "searches": searches_of(exchange),
    }


def searches_of(exchange: dict[str, Any]) -> int:
    queries = [
        query
        for answer in answers_of(exchange)
        for candidate in answer.get("candidates", ())
        for query in candidate.get("groundingMetadata", {}).get("webSearchQueries", ())
    ]
    return min(len(queries), 1) if generation(exchange) == 2 else len(queries)


def generation(exchange: dict[str, Any]) -> int:
    return 3 if "gemini-3" in model_of(exchange) else 2


def independent_cost(event: SpendEvent, exchange: dict[str, Any]) -> int:
    """Price the body by genai-prices' own reading and calculation, and the searches beside it."""
    body = {"usageMetadata": exchange["usage"], "modelVersion": event.model}
    extracted = genai_prices.extract_usage(body, provider_id="google")
    price = genai_prices.calc_price(
        extracted.usage, model_ref=event.model, provider_id="google", genai_request_timestamp=datetime.now(UTC)
    )
    total = price.total_price + Decimal(SEARCH_PRICES[generation(exchange)] * searches_of(exchange)) / 1000
    return int((total * 10**9).to_integral_value(ROUND_HALF_EVEN))


def check(event: SpendEvent, exchange: dict[str, Any]) -> None:
    if not exchange["usage"]:  # Some embeddings tell none.
        assert event.usage_source == "estimated"
        assert event.usage.input_tokens > 0
        return
    assert event.usage_source == "provider"
    if method_of(exchange) == "batchEmbedContents":
        assert event.usage.input_tokens == exchange["usage"]["promptTokenCount"]
        assert event.usage.output_tokens is None
    else:
        expected = told_of(exchange)
        assert {name: getattr(event.usage, name) or 0 for name in expected} == expected
    assert event.cost_nano_usd == independent_cost(event, exchange)
    assert event.cost_status == "priced"
    assert sum(event.cost_breakdown.values()) == event.cost_nano_usd


@pytest.mark.parametrize("exchange", exchanges())
async def test_natively(exchange: dict[str, Any], tmp_path: Path) -> None:
    model, method = model_of(exchange), method_of(exchange)
    is_stream = method == "streamGenerateContent"
    recorded = exchange["body"].encode()

    async def replay(asked: web.Request, _body: dict[str, Any]) -> web.Response:
        assert asked.path == f"/v1/models/{model}:{method}"
        assert dict(asked.query) == ({"alt": "sse"} if is_stream else {})
        assert asked.headers["x-goog-api-key"] == "up-key"
        assert "authorization" not in asked.headers
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model)) as gateway:
            path = f"/v1beta/models/public:{method}" + ("?alt=sse" if is_stream else "")
            asked = json.dumps(exchange["request"]).replace(f"models/{model}", "models/public").encode()
            status, body, headers = await gateway.post(path, asked)
            event = await gateway.event()
        sent = upstream.requests[0]

    assert (status, body) == (200, recorded)
    assert headers["content-type"] == exchange["content_type"]
    assert sent == exchange["request"]
    assert (event.provider, event.model, event.model_group) == ("gemini", model, "public")
    if method == "countTokens":
        assert (event.call_type, event.usage_source, event.cost_nano_usd) == ("count_tokens", "none", 0)
        return
    assert event.call_type == ("embedding" if method == "batchEmbedContents" else "generate_content")
    if "enerateContent" in method:
        assert event.provider_response_id == answers_of(exchange)[0].get("responseId", "")
    check(event, exchange)


@pytest.mark.parametrize("exchange", exchanges(stream=True))
async def test_a_stream_as_one_array(exchange: dict[str, Any], tmp_path: Path) -> None:
    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(body=exchange["body"].encode(), headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model_of(exchange))) as gateway:
            status, body, headers = await gateway.post(
                "/models/public:streamGenerateContent", exchange["request"], authorization=""
            )
            assert status == 401
            status, body, headers = await gateway.post(
                f"/models/public:streamGenerateContent?key={MASTER_KEY}", exchange["request"], authorization=""
            )
            event = await gateway.event()
    assert (status, headers["content-type"]) == (200, "application/json; charset=UTF-8")
    assert json.loads(body) == answers_of(exchange)
    check(event, exchange)


@pytest.mark.parametrize("exchange", exchanges(status=404))
async def test_an_error_natively(exchange: dict[str, Any], tmp_path: Path) -> None:
    recorded = exchange["body"].encode()
    async with running_upstream() as upstream:

        async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
            return web.Response(status=404, body=recorded, content_type="application/json")

        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model_of(exchange))) as gateway:
            asked = f"/v1beta/models/public:{method_of(exchange)}"
            status, body, _headers = await gateway.post(asked, exchange["request"])
            event = await gateway.event()
    assert (status, body) == (404, recorded)
    assert (event.status, event.error_code, event.cost_nano_usd) == ("failure", "404", 0)


@pytest.mark.parametrize("exchange", exchanges(status=404))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
async def test_an_error_in_another_dialect(exchange: dict[str, Any], path: str, tmp_path: Path) -> None:
    recorded = json.loads(exchange["body"])["error"]
    async with running_upstream() as upstream:

        async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
            return web.Response(status=404, text=exchange["body"], content_type="application/json")

        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model_of(exchange))) as gateway:
            body = {"model": "public", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
            if path != "/v1/embeddings":
                del body["input"]
            else:
                body = {"model": "public", "input": "Hi"}
            status, answer, _headers = await gateway.post(path, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"], error["message"]) == (404, "not_found_error", recorded["message"])


@pytest.mark.parametrize("exchange", one_of_each(exchanges(method="enerateContent")))
async def test_an_openai_client_understands_it(exchange: dict[str, Any], tmp_path: Path) -> None:
    is_stream = "event-stream" in exchange["content_type"]

    async def replay(_asked: web.Request, body: dict[str, Any]) -> web.Response:
        assert body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
        return web.Response(body=exchange["body"].encode(), headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model_of(exchange))) as gateway:
            answer = await ask_openai(gateway, stream=is_stream)
            event = await gateway.event()
    message = answer.choices[0].message
    parts = [
        part
        for each in answers_of(exchange)
        for candidate in each["candidates"]
        for part in candidate["content"].get("parts", ())
    ]
    assert (message.content or "") == "".join(p["text"] for p in parts if "text" in p and not p.get("thought"))
    assert (message.model_extra or {}).get("reasoning_content", "") == "".join(
        part["text"] for part in parts if part.get("thought")
    )
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    given = message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in given] == [
        (call["name"], call["args"]) for call in calls
    ]
    assert len({call.id for call in given}) == len(calls)
    reason = answers_of(exchange)[-1]["candidates"][0]["finishReason"]
    stops = {"STOP": "tool_calls" if calls else "stop", "MAX_TOKENS": "length"}
    assert answer.choices[0].finish_reason == stops.get(reason, answer.choices[0].finish_reason)
    assert answer.id == answers_of(exchange)[0].get("responseId", "")
    check(event, exchange)
    assert answer.usage.prompt_tokens == event.usage.input_tokens
    assert answer.usage.completion_tokens == (event.usage.output_tokens or 0)
    assert answer.usage.completion_tokens_details.reasoning_tokens == (event.usage.reasoning_tokens or 0)


@pytest.mark.parametrize("exchange", one_of_each(exchanges(method="batchEmbedContents")))
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_an_openai_client_gets_embeddings(exchange: dict[str, Any], encoding: str, tmp_path: Path) -> None:
    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(text=exchange["body"], content_type="application/json")

    model = model_of(exchange)
    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, config(upstream.url, model)) as gateway:
            async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0) as client:
                # What the SDK asks for itself when nothing is asked is base64.
                asked = {} if encoding == "base64" else {"encoding_format": encoding}
                answer = await client.embeddings.create(model="public", input=["one", "two"], dimensions=768, **asked)
            event = await gateway.event()
        sent = upstream.requests[0]
    assert sent == {
        "requests": [
            {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, "outputDimensionality": 768}
            for text in ("one", "two")
        ]
    }
    recorded = json.loads(exchange["body"])["embeddings"]
    assert [pytest.approx(each.embedding, rel=1e-6) for each in answer.data] == [each["values"] for each in recorded]
    check(event, exchange)


async def test_a_client_that_leaves_pays_what_gemini_counted_until_then(tmp_path: Path) -> None:
    exchange = next(each for each in EXCHANGES if each["id"] == "4eb56e082f5c")
    head = b"\r\n\r\n".join(exchange["body"].encode().split(b"\r\n\r\n")[:5]) + b"\r\n\r\n"

    async def begin(asked: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": exchange["content_type"]})
        await response.prepare(asked)
        await response.write(head)
        await asyncio.sleep(3600)
        return response

    async with running_upstream() as upstream:
        upstream.answer = begin
        async with running_gateway(tmp_path, config(upstream.url, "gemini-2.5-pro")) as gateway:
            async with gateway._session.post(
                gateway.url + "/v1beta/models/public:streamGenerateContent?alt=sse",
                json=exchange["request"],
                headers=AUTHORIZATION,
            ) as response:
                assert await response.content.readany() == head
            event = await gateway.event()
    told = answers_of(exchange)[4]["usageMetadata"]
    assert (event.status, event.usage_source) == ("interrupted", "estimated")
    assert event.usage.input_tokens == told["promptTokenCount"]
    assert event.usage.output_tokens >= told.get("candidatesTokenCount", 0) + told["thoughtsTokenCount"]


async def ask_openai(gateway: RunningGateway, *, stream: bool) -> Any:
    asked: dict[str, Any] = {"model": "public", "messages": [{"role": "user", "content": "Hi"}]}
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0) as client:
        if not stream:
            return await client.chat.completions.create(**asked)
        async with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            async for _event in events:
                pass
            return await events.get_final_completion()
