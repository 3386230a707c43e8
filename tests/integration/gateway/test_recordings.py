"""Recorded exchanges of real providers, replayed by an upstream: the client's bytes, the ledger's usage and cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway_kit import running_gateway
from recorded_costs import check_cost
from upstream import running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "exchanges.jsonl"
PREFIXES = {"huggingface": "huggingface/together"}


def exchanges() -> Iterator[Any]:
    for line in RECORDINGS.read_text().splitlines():
        exchange = json.loads(line)
        yield pytest.param(exchange, id=f"{exchange['provider']}-{exchange['id']}")


def without_usage_events(body: bytes) -> bytes:
    """Return a stream without the events that hold nothing but usage."""
    events = body.split(b"\n\n")
    kept = []
    for event in events:
        data = event.removeprefix(b"data: ")
        if data.startswith(b"{") and (chunk := json.loads(data)).get("usage") and chunk.get("choices") == []:
            continue
        kept.append(event)
    return b"\n\n".join(kept)


def expected_usage(exchange: dict[str, Any]) -> dict[str, int] | None:
    """Read the recorded usage as the provider's documentation has it, independently of the gateway's code."""
    usage = exchange["usage"]
    if not usage:
        return None
    inputs = usage.get("prompt_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or {}
    cached = inputs.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    expected = {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage.get("completion_tokens"),
        "cache_read_tokens": cached,
        "reasoning_tokens": outputs.get("reasoning_tokens"),
    }
    return {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize("exchange", list(exchanges()))
async def test_a_recorded_exchange(exchange: dict[str, Any], tmp_path: Path) -> None:
    provider, request = exchange["provider"], exchange["request"]
    recorded = exchange["body"].encode()
    endpoint = "embeddings" if exchange["path"].endswith("embeddings") else "chat/completions"
    upstream_model = PREFIXES.get(provider, provider) + "/" + request["model"]

    async def replay(_request: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        params = {"model": upstream_model, "api_base": upstream.url, "api_key": "k"}
        config = {"model_list": [{"model_name": "public", "litellm_params": params}]}
        async with running_gateway(tmp_path, config) as gateway:
            status, body, headers = await gateway.post(f"/v1/{endpoint}", {**request, "model": "public"})
            event = await gateway.event()
        asked = upstream.requests[0]

    is_stream = "event-stream" in exchange["content_type"]
    wants_usage = (request.get("stream_options") or {}).get("include_usage")
    assert status == 200
    assert headers["content-type"] == exchange["content_type"]
    assert body == (without_usage_events(recorded) if is_stream and not wants_usage else recorded)
    assert {name: value for name, value in asked.items() if name != "stream_options"} == {
        **{name: value for name, value in request.items() if name != "stream_options"},
        "model": upstream_model.split("/", 1)[1],
    }
    expected = expected_usage(exchange)
    if expected is None:
        assert event.usage_source == "estimated"
        return
    assert event.usage_source == "provider"
    actual = {name: getattr(event.usage, name) for name in expected}
    assert actual == expected
    check_cost(event, exchange)
