"""Pass-through endpoints of the configuration: what goes out, what comes back, and what the ledger holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from passed_kit import AnyUpstream, any_upstream

SECRET = "the-secret-of-the-service"


@pytest.fixture
async def upstream() -> AsyncIterator[AnyUpstream]:
    async with any_upstream() as running:
        yield running


def config(*endpoints: dict[str, Any], **general: Any) -> dict[str, Any]:
    return {
        "general_settings": {
            "allow_private_pass_through_targets": True,
            "pass_through_endpoints": list(endpoints),
            **general,
        }
    }


def service(upstream: AnyUpstream, **more: Any) -> dict[str, Any]:
    return {
        "path": "/my-service",
        "target": f"{upstream.url}/base",
        "headers": {"Authorization": f"Bearer {SECRET}", "X-Tenant": 7},
        "cost_per_request": 0.25,
        **more,
    }


async def make_key(gateway: RunningGateway, name: str, spec: dict[str, Any]) -> dict[str, str]:
    key = f"sk-{name}-0123456789"
    status, answer, _ = await gateway.post("/key/generate", {"key": key, **spec})
    assert status == 200, answer
    return {"authorization": f"Bearer {key}"}


async def asked(
    gateway: RunningGateway, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    given = {"authorization": f"Bearer {MASTER_KEY}", **headers}
    async with gateway._session.request(
        method, URL(gateway.url + path, encoded=True), data=body, headers=given
    ) as answer:
        told = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, await answer.read(), told


async def test_a_call_goes_out_with_the_services_credential_and_ends_as_one_priced_event(
    upstream: AnyUpstream, tmp_path: Path
) -> None:
    upstream.answer(b'{"found": 3}', x_service="yes", set_cookie="a=b", x_litellm_call_id="forged")
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        status, body, headers = await asked(
            gateway, "POST", "/my-service?q=1", b'{"a":  1}', **{"content-type": "application/json", "x-own": "no"}
        )
        event = await gateway.event()
    assert (status, body) == (200, b'{"found": 3}')
    (came,) = upstream.came
    assert (came.method, came.raw_path, came.body) == ("POST", "/base?q=1", b'{"a":  1}')
    assert came.headers["authorization"] == f"Bearer {SECRET}"
    assert came.headers["x-tenant"] == "7"
    assert "x-own" not in came.headers
    assert MASTER_KEY not in str(came)
    assert headers["x-litellm-call-id"] == event.event_id
    assert headers["x-litellm-response-cost"] == "0.250000000"
    assert headers["x-service"] == "yes"
    assert "set-cookie" not in headers
    assert (event.status, event.cost_status, event.cost_nano_usd) == ("success", "priced", 250_000_000)
    assert (event.call_type, event.endpoint) == ("pass_through_endpoint", "/my-service")
    assert (event.provider, event.api_base) == ("pass_through", f"{upstream.url}/base")
    assert event.metadata == {"pass_through_path": "/my-service"}
    assert SECRET not in str(event)


async def test_without_a_cost_it_is_unpriced_and_the_rule_for_unknown_prices_holds(
    upstream: AnyUpstream, tmp_path: Path
) -> None:
    free_form = service(upstream, cost_per_request=None)
    async with running_gateway(tmp_path, config(free_form)) as gateway:
        await asked(gateway, "GET", "/my-service")
        assert (await gateway.event()).cost_status == "unpriced"
    denied = config(free_form, budget_unknown_price="deny")
    (tmp_path / "denied").mkdir()
    async with running_gateway(tmp_path / "denied", denied) as gateway:
        status, body, _ = await asked(gateway, "GET", "/my-service")
        assert (status, b"price" in body) == (400, True)
    assert len(upstream.came) == 1


async def test_subpaths_methods_and_headers_are_passed_only_where_it_is_said(
    upstream: AnyUpstream, tmp_path: Path
) -> None:
    endpoints = (
        service(upstream),
        service(
            upstream,
            path="/wide",
            target=f"{upstream.url}/base/?fixed=1",
            default_query_params={"version": "2"},
            include_subpath=True,
            forward_headers=True,
            methods=["GET", "DELETE"],
        ),
    )
    async with running_gateway(tmp_path, config(*endpoints)) as gateway:
        assert (await asked(gateway, "GET", "/my-service/below"))[0] == 404
        assert (await asked(gateway, "GET", "/wider"))[0] == 404
        status, _, headers = await asked(gateway, "POST", "/wide/x")
        assert (status, headers["allow"]) == (405, "GET, DELETE")
        own = {
            "x-own": "kept",
            "connection": "x-hop",
            "x-hop": "no",
            "x-forwarded-for": "10.0.0.1",
            "cookie": "session=1",
            "x-litellm-tags": "a",
            "x-tenant": "forged",
        }
        path = "/wide/a%20b/c;d=1?x=%2F&fixed=2&v%65rsion=9"
        assert (await asked(gateway, "DELETE", path, **own))[0] == 200
        event = (await gateway.events(1))[0].event
    (came,) = upstream.came
    assert (came.method, came.raw_path) == ("DELETE", "/base/a%20b/c;d=1?fixed=1&version=2&x=%2F")
    assert (came.headers["x-own"], came.headers["x-tenant"]) == ("kept", "7")
    assert not {"x-hop", "x-forwarded-for", "cookie", "x-litellm-tags"} & came.headers.keys()
    assert (event.endpoint, event.tags) == ("/wide", ("a",))


async def test_a_stream_passes_byte_for_byte_and_is_settled_once(upstream: AnyUpstream, tmp_path: Path) -> None:
    upstream.answer(bytes(range(256)) * 20, content_type="application/octet-stream")
    upstream.chunked = True
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        status, body, headers = await asked(gateway, "GET", "/my-service")
        event = await gateway.event()
    assert (status, body, headers["content-type"]) == (200, upstream.body, "application/octet-stream")
    assert (event.status, event.cost_nano_usd) == ("success", 250_000_000)


async def test_a_stream_that_breaks_off_breaks_off_for_the_caller_too(upstream: AnyUpstream, tmp_path: Path) -> None:
    upstream.answer(b"x" * 1000, content_type="application/octet-stream")
    upstream.chunked = upstream.cut = True
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        with pytest.raises(aiohttp.ClientPayloadError):
            await asked(gateway, "GET", "/my-service")
        event = await gateway.event()
    assert (event.status, event.error_class) == ("failure", "UpstreamGarbled")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_errors_come_as_the_service_says_them(upstream: AnyUpstream, tmp_path: Path, status: int) -> None:
    upstream.answer(b"<fault>no</fault>", status=status, content_type="text/xml", retry_after="7")
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        answered = await asked(gateway, "POST", "/my-service", b"<ask/>")
        event = await gateway.event()
    assert answered[:2] == (status, b"<fault>no</fault>")
    assert (answered[2]["content-type"], answered[2]["retry-after"]) == ("text/xml", "7")
    assert answered[2]["x-litellm-call-id"] == event.event_id
    assert (event.status, event.error_code, event.cost_nano_usd) == ("failure", str(status), 0)
    assert len(upstream.came) == 1


async def test_redirects_are_not_followed(upstream: AnyUpstream, tmp_path: Path) -> None:
    upstream.answer(b"", status=302, location="http://169.254.169.254/latest")
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        status, body, headers = await asked(gateway, "GET", "/my-service")
        event = await gateway.event()
    assert (status, "location" in headers, b"169.254" in body) == (502, False, False)
    assert event.status == "failure"
    assert len(upstream.came) == 1


async def test_who_may_call(upstream: AnyUpstream, tmp_path: Path) -> None:
    endpoints = (service(upstream), service(upstream, path="/open", auth=False, forward_headers=True))
    async with running_gateway(tmp_path, config(*endpoints)) as gateway:
        assert (await asked(gateway, "GET", "/my-service", authorization="Bearer sk-nobody-0123456789"))[0] == 401
        chats_only = await make_key(gateway, "chats", {"allowed_routes": ["/v1/chat/completions"]})
        assert (await asked(gateway, "GET", "/my-service", **chats_only))[0] == 403
        named = await make_key(gateway, "named", {"allowed_routes": ["/my-service"]})
        assert (await asked(gateway, "GET", "/my-service", **named))[0] == 200
        for_calls = await make_key(gateway, "calls", {"allowed_routes": ["llm_api_routes"]})
        assert (await asked(gateway, "GET", "/my-service", **for_calls))[0] == 200
        # Nobody's call is recorded too, and whatever key comes along stays here.
        assert (await asked(gateway, "GET", "/open", **{"x-other": f"it is {MASTER_KEY}"}))[0] == 200
        events = [each.event for each in await gateway.events(3)]
    assert [event.key_hash for event in events][2] == ""
    assert len(upstream.came) == 3
    assert MASTER_KEY not in str(upstream.came)


async def test_budgets_and_rates_hold(upstream: AnyUpstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, config(service(upstream))) as gateway:
        poor = await make_key(gateway, "poor", {"max_budget": 0.6})
        statuses = await asyncio.gather(*(asked(gateway, "GET", "/my-service", **poor) for _ in range(8)))
        assert sorted(status for status, _, _ in statuses) == [200, 200] + [422] * 6
        slow = await make_key(gateway, "slow", {"rpm_limit": 1})
        assert (await asked(gateway, "GET", "/my-service", **slow))[0] == 200
        status, _, headers = await asked(gateway, "GET", "/my-service", **slow)
        assert (status, "retry-after" in headers) == (429, True)
        assert len(await gateway.events(3)) == 3


async def test_an_upstream_that_is_away_is_a_failure_event(tmp_path: Path) -> None:
    gone = {"path": "/gone", "target": "http://127.0.0.1:9/x"}
    async with running_gateway(tmp_path, config(gone)) as gateway:
        status, body, headers = await asked(gateway, "GET", "/gone")
        event = await gateway.event()
    assert (status, json.loads(body)["error"]["type"]) == (502, "upstream_error")
    assert (event.status, event.error_class) == ("failure", "UpstreamUnreachable")
    assert headers["x-litellm-call-id"] == event.event_id
