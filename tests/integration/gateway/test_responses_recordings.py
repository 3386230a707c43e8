"""Every recorded exchange of the Responses API, replayed: the client's bytes, the ledger's usage and cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway_kit import RunningGateway, running_gateway
from recorded_costs import check_cost
from tallystick.access.principal import master_principal
from upstream import running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "responses.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
PREVIOUS = "previous_response_id"


def endpoint_of(exchange: dict[str, Any]) -> str:
    return str("responses" + exchange["path"].partition("responses")[2])


def told_id(gateway: RunningGateway, upstream_id: str) -> str:
    """Return the id that a caller with the master key has of a response."""
    deployment = next(iter(gateway.services.snapshot().deployments().values()))
    return gateway.services.responses.ids.teller(master_principal(), deployment)(upstream_id)


def response_id_in(body: bytes) -> str:
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            return str(json.loads(line[6:])["response"]["id"])
    return str(json.loads(body).get("id") or "")


def as_told(gateway: RunningGateway, recorded: bytes, previous: str | None) -> bytes:
    """Return what a caller gets: every byte as it was, but for the ids of this response and of the one before."""
    own = response_id_in(recorded)
    for colon in (b":", b": "):
        if own:
            recorded = recorded.replace(
                b'"id"%b"%b"' % (colon, own.encode()), b'"id"%b"%b"' % (colon, told_id(gateway, own).encode())
            )
        if previous:
            recorded = recorded.replace(
                b'"previous_response_id"%b"%b"' % (colon, previous.encode()),
                b'"previous_response_id"%b"%b"' % (colon, told_id(gateway, previous).encode()),
            )
    return recorded


def expected_usage(exchange: dict[str, Any]) -> dict[str, int] | None:
    usage = exchange["usage"]
    if not usage:
        return None
    expected = {
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": usage["input_tokens_details"]["cached_tokens"],
        "cache_write_tokens": usage["input_tokens_details"].get("cache_write_tokens"),
        "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
    }
    return {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize("exchange", [pytest.param(each, id=f"{each['provider']}-{each['id']}") for each in EXCHANGES])
async def test_a_recorded_exchange(exchange: dict[str, Any], tmp_path: Path) -> None:
    provider, request = exchange["provider"], exchange["request"]
    recorded = exchange["body"].encode()

    async def replay(_request: web.Request, _body: dict[str, Any]) -> web.Response:
        headers = {"content-type": exchange["content_type"]}
        return web.Response(body=recorded, status=exchange["status"], headers=headers)

    async with running_upstream() as upstream:
        upstream.answer = replay
        params = {"model": f"{provider}/{request['model']}", "api_base": upstream.url, "api_key": "k"}
        config = {
            "model_list": [{"model_name": "public", "litellm_params": params}],
            "router_settings": {"num_retries": 0},
        }
        async with running_gateway(tmp_path, config) as gateway:
            previous = request.get(PREVIOUS)
            asking = {**request, "model": "public"}
            if previous:
                asking[PREVIOUS] = told_id(gateway, previous)
            status, body, headers = await gateway.post(f"/v1/{endpoint_of(exchange)}", asking)
            expected_body = as_told(gateway, recorded, previous)
            if request.get("background") and not exchange["usage"]:
                await gateway.services.responses.watch.stop()
            event = await gateway.event()
        asked = upstream.requests[0]

    assert asked == request
    assert status == exchange["status"]
    assert body.removesuffix(b"data: [DONE]\n\n") == expected_body.removesuffix(b"data: [DONE]\n\n")
    if status != 200:
        assert event.status == "failure"
        return
    assert headers["content-type"] == exchange["content_type"]
    assert event.call_type in ("responses", "count_tokens")
    if event.call_type == "count_tokens":
        assert (event.usage_source, event.cost_nano_usd) == ("none", 0)
        return
    assert event.provider_response_id == response_id_in(recorded)
    expected = expected_usage(exchange)
    if expected is None:
        assert event.usage_source == "estimated"
        return
    assert event.usage_source == "provider"
    assert {name: getattr(event.usage, name) for name in expected} == expected
    if "event-stream" not in exchange["content_type"]:
        assert (event.usage.searches or 0) == _searches(json.loads(recorded))
    if not event.usage.searches:
        check_cost(event, exchange)
    else:
        assert sum(event.cost_breakdown.values()) == event.cost_nano_usd


def _searches(answer: dict[str, Any]) -> int:
    calls = [item for item in answer.get("output") or () if item["type"] == "web_search_call"]
    return sum((call.get("action") or {}).get("type", "search") == "search" for call in calls)
