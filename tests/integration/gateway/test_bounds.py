"""Bodies that are too much: nested deeply, long, or of thousands of tools. Callers get 4xx or an answer, never 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway_kit import running_gateway
from upstream import running_upstream

PROVIDERS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-pro",
    "cohere": "cohere/command-a-03-2025",
    "bedrock": "bedrock/anthropic.claude-sonnet-4-5-v1:0",
}
DEPTHS = (60, 150, *range(850, 1000, 12), 100_000)
"""Around where the stack ends, whose depth is counted by Python and by the decoder together."""
HERE = "@@"
USER = {"role": "user", "content": "hello"}


def config(api_base: str) -> dict[str, Any]:
    params = {"api_base": api_base, "api_key": "up-key", "drop_params": True}
    models = {name: {"model": model, **params} for name, model in PROVIDERS.items()}
    models["bedrock"]["aws_region_name"] = "eu-central-1"
    return {"model_list": [{"model_name": name, "litellm_params": each} for name, each in models.items()]}


def chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"messages": [USER], **fields}


def messages(*content: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    said = [{"role": "user", "content": [{"type": "text", "text": "hello"}, *content]}]
    return "/v1/messages", {"max_tokens": 5, "messages": said, **fields}


def gemini(model: str, *parts: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    said = [{"parts": [{"text": "hello"}, *parts]}]
    return f"/v1beta/models/{model}:generateContent", {"contents": said, **fields}


def places(model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where something of the caller's may be nested."""
    yield chat(tools=[{"type": "function", "function": {"name": "f", "parameters": HERE}}])
    yield chat(metadata={"a": HERE}, unknown=HERE)
    yield chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": HERE}})
    yield messages(tools=[{"name": "f", "input_schema": HERE}])
    yield messages({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x", "y": HERE}]})
    yield "/v1/responses", {"input": "hello", "tools": [{"type": "function", "name": "f", "parameters": HERE}]}
    yield gemini(model, {"functionResponse": {"name": "f", "response": HERE}})
    schema = {"type": "OBJECT", "properties": {"a": HERE}}
    yield gemini(model, tools=[{"function_declarations": [{"name": "f", "parameters": schema}]}])
    yield gemini(model, generation_config={"responseMimeType": "application/json", "responseSchema": {"items": HERE}})
    yield "/v1/embeddings", {"input": ["hello"], "unknown": HERE}


async def refuse(_asked: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "no", "type": "invalid_request_error"}}, status=400)


@pytest.mark.parametrize("model", PROVIDERS)
async def test_what_is_nested_deeply(model: str, tmp_path: Path) -> None:
    seen = set()
    async with running_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:

        async def answer(asked: web.Request, _body: dict[str, Any]) -> web.Response:
            return await refuse(asked)

        upstream.answer = answer
        for depth in DEPTHS:
            for path, body in places(model):
                for nested in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
                    raw = json.dumps({"model": model, **body}).encode().replace(b'"%b"' % HERE.encode(), nested)
                    status, told, _ = await gateway.post(path, raw)
                    assert 400 <= status < 500, (path, depth, told)
                    seen.add(b"nested too deeply" in told or b"maximum recursion" in told)
    assert seen == {True, False}


async def test_numbers_in_a_schema_of_gemini_that_no_machine_reads(tmp_path: Path) -> None:
    schema = {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "9" * 5000}
    config_of_answer = {"responseMimeType": "application/json", "responseSchema": schema}
    path, body = gemini("openai", generationConfig=config_of_answer)
    async with running_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        status, told, _ = await gateway.post(path, body)
    assert (status, json.loads(told)["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("model", PROVIDERS)
async def test_thousands_of_tools_and_a_picture_of_megabytes(model: str, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": f"f{number}", "parameters": {}}} for number in range(10_000)]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "aGk+" * (4 << 20)}}

    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.json_response({"message": "no"}, status=400)

    async with running_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        upstream.answer = answer
        for path, body in (chat(tools=tools), chat(messages=[{"role": "user", "content": [picture]}])):
            status, told, _ = await gateway.post(path, {"model": model, **body})
            assert status in (400, 413), told
