"""Bedrock behind the gateway: an upstream that speaks Converse, callers with the official SDKs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

import bedrock_kit as kit
from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from upstream import Upstream, running_upstream

CLAUDE = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
PIXEL = base64.b64encode(b"\x89PNG").decode()
CACHED = {
    "inputTokens": 3,
    "outputTokens": 9,
    "totalTokens": 1012,
    "cacheReadInputTokens": 600,
    "cacheWriteInputTokens": 400,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 300}],
}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Two halves, so…", "signature": "c2ln"}}}
CALL = {"toolUse": {"toolUseId": "tooluse_1", "name": "weigh", "input": {"what": "the stick", "grams": 12}}}
NO_ARGUMENTS = {"toolUse": {"toolUseId": "tooluse_2", "name": "look", "input": {}}}
BLOCKS: list[dict[str, Any]] = [THOUGHT, {"text": "I will weigh it, then look at it."}, CALL, NO_ARGUMENTS]
WEIGH = {
    "type": "function",
    "function": {
        "name": "weigh",
        "description": "Weigh something.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
    },
}


class World:
    """The gateway, its upstream, and the path of the last request to it."""

    def __init__(self, gateway: RunningGateway, upstream: Upstream, paths: list[str]) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.paths = paths
        self.openai = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0)


@asynccontextmanager
async def world(
    home: Path,
    plain: bytes = b"",
    pieces: list[bytes] | None = None,
    *,
    status: int = 200,
    model: str = CLAUDE,
    router: dict[str, Any] | None = None,
) -> AsyncIterator[World]:
    paths: list[str] = []

    async def answer(request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        paths.append(request.rel_url.raw_path)
        if "stream" not in request.path or status != 200:
            headers = {"content-type": "application/json", "x-amzn-requestid": kit.REQUEST_ID}
            return web.Response(status=status, body=plain, headers=headers)
        headers = {"content-type": kit.EVENT_STREAM, "x-amzn-requestid": kit.REQUEST_ID}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for piece in pieces or ():
            await response.write(piece)
        return response

    async with running_upstream() as upstream:
        upstream.answer = answer
        params = {
            "model": f"bedrock/{model}",
            "aws_region_name": "eu-west-1",
            "aws_access_key_id": "AKIAEXAMPLE",
            "aws_secret_access_key": "wJalrXUtnFEMI",
            "aws_bedrock_runtime_endpoint": upstream.url.removesuffix("/v1"),
        }
        other = {"model_name": "other", "litellm_params": {"model": "openai/x", "mock_response": "made up"}}
        models = [{"model_name": "public", "litellm_params": params}, other]
        config: dict[str, Any] = {"model_list": models, "router_settings": router or {}}
        async with running_gateway(home, config) as gateway:
            made = World(gateway, upstream, paths)
            async with made.openai, made.anthropic:
                yield made


async def test_an_openai_client_reads_a_plain_answer(tmp_path: Path) -> None:
    async with world(tmp_path, kit.answer(BLOCKS, stop="tool_use", usage=CACHED)) as at:
        made = await at.openai.chat.completions.create(
            model="public",
            messages=[
                {"role": "system", "content": "Be exact."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What does it weigh?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    ],
                },
            ],
            tools=[WEIGH],  # type: ignore[list-item]
            max_completion_tokens=50,
        )
        event = await at.gateway.event()
    message = made.choices[0].message
    assert (made.id, made.model, made.choices[0].finish_reason) == (kit.REQUEST_ID, CLAUDE, "tool_calls")
    assert message.content == "I will weigh it, then look at it."
    assert message.reasoning_content == "Two halves, so…"  # type: ignore[attr-defined]
    assert message.thinking_blocks[0]["signature"] == "c2ln"  # type: ignore[attr-defined]
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]  # type: ignore[union-attr]
    assert calls == [("tooluse_1", "weigh", {"what": "the stick", "grams": 12}), ("tooluse_2", "look", {})]
    assert at.paths == ["/model/eu.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse"]
    assert at.upstream.requests == [
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "What does it weigh?"},
                        {"image": {"format": "png", "source": {"bytes": PIXEL}}},
                    ],
                }
            ],
            "system": [{"text": "Be exact."}],
            "inferenceConfig": {"maxTokens": 50},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "weigh",
                            "description": "Weigh something.",
                            "inputSchema": {"json": WEIGH["function"]["parameters"]},  # type: ignore[index]
                        }
                    }
                ]
            },
        }
    ]
    check_cached_event(event)


def check_cached_event(event: Any) -> None:
    usage = event.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (1003, 600, 400)
    assert (usage.cache_write_1h_tokens, usage.output_tokens, event.usage_source) == (100, 9, "provider")
    # Prices of this model in a region, USD per million: input 1.1, read 0.11, write 1.375, for an hour 2.2, output 5.5.
    assert event.cost_nano_usd == 3 * 1100 + 600 * 110 + 300 * 1375 + 100 * 2200 + 9 * 5500
    assert (event.status, event.provider, event.model, event.cost_status) == ("success", "bedrock", CLAUDE, "priced")
    assert event.provider_response_id == kit.REQUEST_ID


@pytest.mark.parametrize("together", [True, False])
async def test_an_openai_client_reads_a_stream(tmp_path: Path, *, together: bool) -> None:
    whole = b"".join(kit.stream(BLOCKS, stop="tool_use", usage=CACHED))
    pieces = [whole] if together else [whole[place : place + 13] for place in range(0, len(whole), 13)]
    async with world(tmp_path, pieces=pieces) as at:
        chunks = await at.openai.chat.completions.create(
            model="public",
            messages=[{"role": "user", "content": "What does it weigh?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        text, thought, arguments, reasons = "", "", {}, []  # type: ignore[var-annotated]
        async for chunk in chunks:
            assert (chunk.id, chunk.model) == (kit.REQUEST_ID, CLAUDE)
            usage = chunk.usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                thought += getattr(choice.delta, "reasoning_content", None) or ""
                reasons.append(choice.finish_reason)
                for call in choice.delta.tool_calls or ():
                    assert call.function is not None
                    arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        event = await at.gateway.event()
    assert at.paths[0].endswith("/converse-stream")
    assert (text, thought) == ("I will weigh it, then look at it.", "Two halves, so…")
    assert [json.loads(arguments[index]) for index in (0, 1)] == [{"what": "the stick", "grams": 12}, {}]
    assert reasons[-1] == "tool_calls"
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (1003, 9)
    check_cached_event(event)


async def test_results_of_tools_go_back(tmp_path: Path) -> None:
    async with world(tmp_path, kit.answer([{"text": "12 g."}])) as at:
        await at.openai.chat.completions.create(
            model="public",
            messages=[
                {"role": "user", "content": "Weigh both."},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": f"c{n}", "type": "function", "function": {"name": "weigh", "arguments": "{}"}}
                        for n in (1, 2)
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "12"},
                {"role": "tool", "tool_call_id": "c2", "content": "13"},
                {"role": "user", "content": "So?"},
            ],
            tools=[WEIGH],  # type: ignore[list-item]
        )
    roles = [
        (turn["role"], [next(iter(block)) for block in turn["content"]]) for turn in at.upstream.requests[0]["messages"]
    ]
    assert roles == [
        ("user", ["text"]),
        ("assistant", ["toolUse", "toolUse"]),
        ("user", ["toolResult", "toolResult", "text"]),
    ]
    assert at.upstream.headers[0]["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")


async def test_an_anthropic_client_reaches_another_makers_model_by_converse(tmp_path: Path) -> None:
    async with world(tmp_path, kit.answer([{"text": "Two."}]), kit.stream([{"text": "Two."}]), model=LLAMA) as at:
        asked: Any = {"model": "public", "max_tokens": 50, "messages": [{"role": "user", "content": "How many?"}]}
        message = await at.anthropic.messages.create(**asked)
        async with at.anthropic.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for each in (message, streamed):
        assert each.content[0].text == "Two."  # type: ignore[union-attr]
        assert (each.stop_reason, each.usage.input_tokens, each.usage.output_tokens) == ("end_turn", 12, 6)
    assert [path.rpartition("/")[2] for path in at.paths] == ["converse", "converse-stream"]


@pytest.mark.parametrize(
    ("status", "name", "error_type", "anthropic_type"),
    [
        (400, "ValidationException", "invalid_request_error", "invalid_request_error"),
        (403, "AccessDeniedException", "permission_error", "permission_error"),
        (404, "ResourceNotFoundException", "not_found_error", "not_found_error"),
        (408, "ModelTimeoutException", "timeout_error", "timeout_error"),
        (429, "ThrottlingException", "rate_limit_error", "rate_limit_error"),
        (503, "ServiceUnavailableException", "upstream_error", "api_error"),
    ],
)
async def test_an_error_reaches_the_caller_in_its_dialect(
    tmp_path: Path, status: int, name: str, error_type: str, anthropic_type: str
) -> None:
    body = json.dumps({"message": f"Because of {name}."}).encode()
    async with world(tmp_path, body, status=status) as at:
        with pytest.raises(openai.APIStatusError) as caught:
            await at.openai.chat.completions.create(model="public", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(anthropic.APIStatusError) as also:
            await at.anthropic.messages.create(
                model="public", max_tokens=5, messages=[{"role": "user", "content": "x"}]
            )
        events = await at.gateway.events(2)
    assert caught.value.status_code == also.value.status_code == status
    assert caught.value.body == {
        "message": f"Because of {name}.",
        "type": error_type,
        "param": None,
        "code": str(status),
    }
    assert also.value.body == {"type": "error", "error": {"type": anthropic_type, "message": f"Because of {name}."}}
    assert [(each.event.status, each.event.error_code) for each in events] == [("failure", str(status))] * 2


async def test_an_exception_inside_a_stream(tmp_path: Path) -> None:
    pieces = [*kit.stream([{"text": "Two hal"}])[:2], kit.exception("throttlingException", "Too many tokens.")]
    async with world(tmp_path, pieces=pieces) as at:
        stream = await at.openai.chat.completions.create(
            model="public", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError, match="Too many tokens"):
            async for _ in stream:
                pass
        event = await at.gateway.event()
    assert (event.status, event.error_code, event.error_class) == ("failure", "429", "rate_limit_error")
    assert event.usage_source == "estimated"


@pytest.mark.parametrize("speaks", ["openai", "anthropic"])
async def test_an_exception_as_a_streams_first_message_is_left_for_another_deployment(
    tmp_path: Path, speaks: str
) -> None:
    """The status was 200 by then. A 424, which is what such an exception means elsewhere, passes too."""
    pieces = [kit.exception("modelStreamErrorException", "The model failed.")]
    router = {"num_retries": 0, "fallbacks": [{"public": ["other"]}]}
    async with world(tmp_path, pieces=pieces, router=router) as at:
        path = "/v1/chat/completions" if speaks == "openai" else "/v1/messages"
        asked = {"model": "public", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": True}
        status, body, headers = await at.gateway.post(path, asked)
        event = await at.gateway.event()
    assert (status, headers["x-litellm-attempted-fallbacks"], event.model_group) == (200, "1", "other")
    assert b"error" not in body
    assert [(each.status, each.error_code) for each in event.attempts] == [("failure", "424"), ("success", "")]


async def test_a_model_error_is_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path, b'{"message": "The model failed."}', status=424) as at:
        status, _, headers = await at.gateway.chat("public")
        await at.gateway.event()
    assert (status, headers["x-litellm-attempted-retries"]) == (424, "2")


@pytest.mark.parametrize("broken", ["damaged", "cut"])
async def test_a_broken_stream_ends_with_an_error(tmp_path: Path, broken: str) -> None:
    whole = b"".join(kit.stream([{"text": "Two halves."}]))
    damaged = whole.replace(b"ves.", b"vEs.") if broken == "damaged" else whole[: len(whole) // 2]
    async with world(tmp_path, pieces=[damaged]) as at:
        stream = await at.openai.chat.completions.create(
            model="public", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        event = await at.gateway.event()
    assert event.status == "failure"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}]}
                ]
            },
            "messages.0.content (image)",
        ),
    ],
)
async def test_what_converse_cannot_say_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    async with world(tmp_path, kit.answer([{"text": "x"}])) as at:
        status, body, _ = await at.gateway.chat("public", **fields)
        assert (status, json.loads(body)["error"]["param"]) == (400, named)
        assert at.upstream.requests == []
        if "messages" not in fields:
            assert (await at.gateway.chat("public", **fields, drop_params=True))[0] == 200


def exchanges(ending: str) -> list[Any]:
    lines = (Path(__file__).resolve().parents[2] / "recordings" / "bedrock.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [pytest.param(each, id=each["id"]) for each in found if each["path"].endswith(ending)]


@pytest.mark.parametrize("exchange", exchanges("/invoke"))
async def test_a_recorded_invocation(tmp_path: Path, exchange: dict[str, Any]) -> None:
    model = exchange["path"].split("/")[2]
    asked = {name: value for name, value in exchange["request"].items() if name != "anthropic_version"}
    async with world(tmp_path, exchange["body"].encode(), model=model) as at:
        status, body, headers = await at.gateway.post("/v1/messages", {**asked, "model": "public"})
        event = await at.gateway.event()
    assert (status, body, headers["content-type"]) == (200, exchange["body"].encode(), "application/json")
    assert at.upstream.requests == [exchange["request"]]
    assert at.paths == [exchange["path"].replace(":", "%3A")]
    told, usage = exchange["usage"], event.usage
    read, written = told["cache_read_input_tokens"], told["cache_creation_input_tokens"]
    assert usage.input_tokens == told["input_tokens"] + read + written
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (read, written)
    assert usage.output_tokens == told["output_tokens"]
    assert event.cost_nano_usd == told["input_tokens"] * 1100 + read * 110 + written * 1375 + usage.output_tokens * 5500
    assert event.provider_response_id == json.loads(body)["id"]


@pytest.mark.parametrize("exchange", exchanges("/count-tokens"))
async def test_a_recorded_count(tmp_path: Path, exchange: dict[str, Any]) -> None:
    counted = json.loads(base64.b64decode(exchange["request"]["input"]["invokeModel"]["body"]))
    betas = ",".join(counted.pop("anthropic_beta"))
    asked = {name: value for name, value in counted.items() if name != "anthropic_version"}
    # By a profile of several regions, which can't count: the model itself is asked.
    async with world(tmp_path, exchange["body"].encode(), model="us." + exchange["path"].split("/")[2]) as at:
        status, body, _ = await at.gateway.post(
            "/v1/messages/count_tokens", {**asked, "model": "public"}, **{"anthropic-beta": betas}
        )
        event = await at.gateway.event()
    assert (status, json.loads(body)) == (200, {"input_tokens": json.loads(exchange["body"])["inputTokens"]})
    sent = json.loads(base64.b64decode(at.upstream.requests[0]["input"]["invokeModel"]["body"]))
    assert sent == {**counted, "anthropic_beta": betas.split(",")}
    assert at.paths == [exchange["path"].replace(":", "%3A")]
    assert (event.cost_nano_usd, event.usage_source) == (0, "none")


async def test_an_anthropic_client_reads_a_stream_of_an_invocation(tmp_path: Path) -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 400, "output_tokens": 1}
    usage["cache_creation"] = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100}  # type: ignore[assignment]
    message = {
        "id": kit.REQUEST_ID,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": usage,
    }
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Two ha"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lves.\n"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
    ]
    pieces = [kit.event("chunk", bytes=base64.b64encode(json.dumps(each).encode()).decode(), p="ab") for each in said]
    asked: Any = {"model": "public", "max_tokens": 50, "messages": [{"role": "user", "content": "How many?"}]}
    async with world(tmp_path, pieces=pieces) as at:
        async with at.anthropic.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        event = await at.gateway.event()
    assert streamed.content[0].text == "Two halves.\n"  # type: ignore[union-attr]
    assert (streamed.usage.output_tokens, streamed.usage.cache_read_input_tokens) == (9, 600)
    assert at.paths[0].endswith("/invoke-with-response-stream")
    assert at.upstream.requests == [
        {"anthropic_version": "bedrock-2023-05-31", **{name: asked[name] for name in ("max_tokens", "messages")}}
    ]
    check_cached_event(event)


async def test_an_exception_inside_the_stream_of_an_invocation(tmp_path: Path) -> None:
    asked: Any = {"model": "public", "max_tokens": 50, "messages": [{"role": "user", "content": "How many?"}]}
    async with world(tmp_path, pieces=[kit.exception("modelTimeoutException", "It took too long.")]) as at:
        with pytest.raises(anthropic.APIError, match="took too long"):
            async with at.anthropic.messages.stream(**asked) as stream:
                await stream.get_final_message()
        event = await at.gateway.event()
    assert (event.status, event.error_class, event.error_code) == ("failure", "UpstreamRefused", "408")
