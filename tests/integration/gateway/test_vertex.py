"""Gemini models at Vertex AI: the address, the bearer token of a service account, and the body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway_kit import running_gateway
from upstream import running_upstream

PRIVATE_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
REPLY = {
    "candidates": [
        {"content": {"parts": [{"functionCall": {"name": "look", "args": {}}}]}, "finishReason": "STOP"},
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},
    "responseId": "r1",
}


def account(token_uri: str) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "of-the-account",
        "private_key_id": "1",
        "private_key": PRIVATE_KEY.decode(),
        "client_email": "a@p.example",
        "token_uri": token_uri,
    }


@pytest.mark.parametrize("form", ["object", "text", "file"])
async def test_a_service_account(form: str, tmp_path: Path) -> None:
    tokens = web.Application()
    asked_tokens = []

    async def token(request: web.Request) -> web.Response:
        asked_tokens.append(await request.post())
        return web.json_response({"access_token": "ya29.x", "expires_in": 3600, "token_type": "Bearer"})

    tokens.router.add_post("/token", token)
    runner = web.AppRunner(tokens, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    credentials: Any = account(f"http://127.0.0.1:{port}/token")
    if form != "object":
        credentials = json.dumps(credentials)
    if form == "file":
        (tmp_path / "account.json").write_text(credentials)
        credentials = str(tmp_path / "account.json")

    async def answer(asked: web.Request, _body: dict[str, Any]) -> web.Response:
        assert asked.headers["authorization"] == "Bearer ya29.x"
        assert "x-goog-api-key" not in asked.headers
        path = "/v1/projects/of-the-account/locations/europe-west4/publishers/google/models/gemini-2.5-flash"
        assert asked.path == f"{path}:generateContent"
        return web.json_response(REPLY)

    async with running_upstream() as upstream:
        upstream.answer = answer
        params = {
            "model": "vertex_ai/gemini-2.5-flash",
            "api_base": upstream.url,
            "vertex_location": "europe-west4",
            "vertex_credentials": credentials,
        }
        config = {"model_list": [{"model_name": "public", "litellm_params": params}]}
        async with running_gateway(tmp_path, config) as gateway:
            call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            messages = [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            ]
            status, body, _ = await gateway.chat("public", messages=messages)
            native = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
            again, same, _ = await gateway.post("/v1beta/models/public:generateContent", native)
            refused, why, _ = await gateway.post("/v1/embeddings", {"model": "public", "input": "a"})
            events = [each.event for each in await gateway.events(3)]
        translated, passed = upstream.requests
    await runner.cleanup()
    assert (status, again, json.loads(same)) == (200, 200, REPLY)
    assert len(asked_tokens) == 1
    assert translated["contents"][1:] == [
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"result": "ok"}}}]},
    ]
    assert passed == native
    assert json.loads(body)["choices"][0]["finish_reason"] == "tool_calls"
    assert [each.provider for each in events] == ["vertex_ai"] * 3
    assert events[0].cost_nano_usd == 9 * 300 + 2 * 2500
    assert (refused, events[2].status) == (400, "failure")
    assert "Vertex AI" in json.loads(why)["error"]["message"]


async def test_without_a_token_another_deployment_answers(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        dead = account("http://127.0.0.1:9/token")
        vertex = {"model": "vertex_ai/gemini-2.5-flash", "api_base": upstream.url, "vertex_credentials": dead}
        other = {"model": "openai/plain", "api_base": upstream.url, "api_key": "k", "weight": 0}
        config = {
            "model_list": [
                {"model_name": "public", "litellm_params": vertex},
                {"model_name": "public", "litellm_params": other},
            ]
        }
        async with running_gateway(tmp_path, config) as gateway:
            status, body, _ = await gateway.chat("public")
            event = await gateway.event()
    assert (status, json.loads(body)["model"]) == (200, "plain")
    assert [each.error_class for each in event.attempts][:1] == ["UpstreamUnreachable"]
