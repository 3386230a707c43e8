"""No open relay: one row an attack, each sent byte for byte, and none of them reaches anything but the target."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from passed_kit import AnyUpstream, any_upstream

BASE = "/only/this"


@pytest.fixture
async def upstream() -> AsyncIterator[AnyUpstream]:
    async with any_upstream() as running:
        yield running


def config(upstream: AnyUpstream, *, allow_private: bool = True, host: str = "127.0.0.1") -> dict[str, Any]:
    port = urlsplit(upstream.url).port
    endpoint = {
        "path": "/relay",
        "target": f"http://{host}:{port}{BASE}",
        "include_subpath": True,
        "forward_headers": True,
        "headers": {"authorization": "Bearer of-the-service"},
    }
    params = {"model": "openai/gpt-4o", "api_base": f"{upstream.url}{BASE}/v1", "api_key": "of-the-provider"}
    return {
        "model_list": [{"model_name": "gpt", "litellm_params": params}],
        "general_settings": {
            "allow_private_pass_through_targets": allow_private,
            "pass_through_endpoints": [endpoint],
        },
    }


async def raw(gateway: RunningGateway, target: str, *headers: str) -> tuple[int, bytes]:
    """Send one request exactly as it is written here."""
    parts = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    given = ("host: gateway", f"authorization: Bearer {MASTER_KEY}", "connection: close", *headers)
    writer.write("\r\n".join((f"GET {target} HTTP/1.1", *given, "", "")).encode("latin-1"))
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer


PATHS = [
    "/{p}/..",
    "/{p}/../secret",
    "/{p}/a/../../../secret",
    "/{p}/./a",
    "/{p}/%2e%2e/secret",
    "/{p}/%2E%2e%2fsecret",
    "/{p}/.%2e/secret",
    "/{p}/..%2fsecret",
    "/{p}/..%5csecret",
    "/{p}/..\\secret",
    "/{p}/a%2f..%2f..%2fsecret",
    "/{p}/%252e%252e/secret",
    "/{p}/%25252e%25252e/secret",
    "/{p}/%25%32%65%25%32%65/secret",
    "/{p}/..;/secret",
    "/{p}/..%3b/secret",
    "/{p}/;/../secret",
    "/{p}//evil.example/secret",
    "/{p}/a//b",
    "/{p}/http://evil.example/",
    "/{p}/%2f%2fevil.example/",
    "/{p}/a%00b",
    "/{p}/a%0d%0ax-injected:1",
    "/{p}/a%09b",
    "/{p}/a%3fb=1",
    "/{p}/a%23b",
    "/{p}/%zz",
    "/{p}/a%",
    "/{p}/a%c0%afb/%c0%ae%c0%ae/x",
    "/{p}/%ef%bc%8e%ef%bc%8e/x",
    "/{p}/..%ef%bc%8fx",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", ["relay", "openai"])
async def test_a_path_that_leads_elsewhere_is_refused(
    upstream: AnyUpstream, tmp_path: Path, place: str, path: str
) -> None:
    async with running_gateway(tmp_path, config(upstream)) as gateway:
        status, _ = await raw(gateway, path.format(p=place))
    assert status in (400, 404)
    assert upstream.came == []


@pytest.mark.parametrize(
    "target",
    [
        "/relay/@evil.example/x",
        "/relay/evil.example:80/x",
        "/relay/user:pass@evil.example",
        "http://evil.example/relay/x",
        "http://gateway@evil.example/relay/x",
        "/relay/x?url=http://evil.example&host=evil.example",
        "/openai/v1/@evil.example/x",
        "/openai/@evil.example",
    ],
)
async def test_a_host_in_the_path_is_a_part_of_the_path(upstream: AnyUpstream, tmp_path: Path, target: str) -> None:
    async with running_gateway(tmp_path, config(upstream)) as gateway:
        status, _ = await raw(gateway, target, "x-forwarded-host: evil.example")
        await gateway.events(1)
    (came,) = upstream.came
    assert status == 200
    assert came.raw_path.startswith(BASE + "/")
    assert came.headers["host"] == urlsplit(upstream.url).netloc
    assert "evil.example" not in str(came.headers)


@pytest.mark.parametrize(
    "headers",
    [
        ("host: evil.example",),
        ("authorization: Bearer forged", "x-litellm-api-key: " + MASTER_KEY),
        ("x-api-key: " + MASTER_KEY,),
        ("api-key: " + MASTER_KEY,),
        ("x-goog-api-key: " + MASTER_KEY,),
        ("x-other: prefix-" + MASTER_KEY,),
        ("cookie: token=" + MASTER_KEY,),
        ("proxy-authorization: Basic " + MASTER_KEY,),
        ("connection: close, x-secret-hop", "x-secret-hop: 1"),
        ("transfer-encoding: chunked", "te: trailers", "trailer: x"),
        ("openai-organization: another", "openai-project: another"),
    ],
)
@pytest.mark.parametrize("place", ["relay", "openai"])
async def test_what_says_who_calls_is_never_sent_on(
    upstream: AnyUpstream, tmp_path: Path, place: str, headers: tuple[str, ...]
) -> None:
    async with running_gateway(tmp_path, config(upstream)) as gateway:
        if any(line.startswith("transfer-encoding") for line in headers):
            headers = headers[1:]
        await raw(gateway, f"/{place}/x?key={MASTER_KEY}&a=1", *headers)
    for came in upstream.came:
        assert came.headers["authorization"] in ("Bearer of-the-service", "Bearer of-the-provider")
        assert came.headers["host"] == urlsplit(upstream.url).netloc
        assert MASTER_KEY not in str(came)
        assert came.raw_path.endswith("?a=1")
        hop = {"x-secret-hop", "te", "trailer", "cookie", "proxy-authorization", "openai-organization"}
        assert not hop & came.headers.keys()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"])
async def test_private_targets_are_refused_when_they_are_dialled(
    upstream: AnyUpstream, tmp_path: Path, host: str
) -> None:
    async with running_gateway(tmp_path, config(upstream, allow_private=False, host=host)) as gateway:
        status, answer = await raw(gateway, "/relay/x")
        assert status == 502
        assert (await gateway.event()).error_class == "UpstreamUnreachable"
        # The address of a model is the admin's own word, as ever.
        assert (await raw(gateway, "/openai/v1/files"))[0] == 200
        await gateway.events(2)
    assert len(upstream.came) == 1
    assert b"allow_private_pass_through_targets" in answer


async def test_a_name_that_turns_private_is_refused_though_it_was_public_before(
    upstream: AnyUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what counts is the address that is dialled, not one that was looked up before."""
    port = urlsplit(upstream.url).port
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    async def rebinding(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with running_gateway(tmp_path, config(upstream, allow_private=False, host="rebinds.example")) as gateway:
        monkeypatch.setattr(loop, "getaddrinfo", rebinding)
        status, _ = await raw(gateway, "/relay/x")
        monkeypatch.undo()
    assert (status, asked, upstream.came) == (502, ["rebinds.example"], [])
