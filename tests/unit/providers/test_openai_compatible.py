from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tallystick.errors import UpstreamGarbled, UpstreamRefused
from tallystick.providers.catalog import build_target
from tallystick.providers.destination import Destination
from tallystick.providers.openai_compatible import OpenAICompatible
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer
from tallystick.wire.call_request import CallRequest
from tallystick.wire.openai.request import parse_request

TRANSLATOR = Translator(now_seconds=lambda: 7)


class OneAnswer:
    """A transport that keeps what it was given and gives one answer."""

    def __init__(self, status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        self.answer = RawAnswer(status=status, headers=headers or {}, body=body, chunks=None)
        self.sent: list[tuple[str, Destination, dict[str, Any], dict[str, Any]]] = []

    async def send(self, method: str, to: Destination, body: bytes, **options: Any) -> RawAnswer:
        self.sent.append((method, to, json.loads(body), options))
        return self.answer


def request(**fields: Any) -> CallRequest:
    body = {"model": "group", "messages": [{"role": "user", "content": "x"}]} | fields
    return parse_request("chat/completions", json.dumps(body).encode())


async def test_a_call() -> None:
    transport = OneAnswer(body=b'{"id":1}', headers={"content-type": "application/json", "x-id": "1"})
    target = build_target("openai/gpt-4o", api_key="k", timeout_seconds=5, stream_idle_seconds=7)
    provider = OpenAICompatible(transport, TRANSLATOR)  # type: ignore[arg-type]
    answer = await provider.send(request(stream=True, tags=["t"]), target)
    assert (answer.status, answer.body, answer.content_type) == (200, b'{"id":1}', "application/json")
    assert answer.headers["x-id"] == "1"
    method, to, body, options = transport.sent[0]
    assert (method, str(to.url)) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert to.headers["authorization"] == "Bearer k"
    assert (body["model"], body["stream_options"], "tags" in body) == ("gpt-4o", {"include_usage": True}, False)
    assert options == {"timeout_seconds": 5, "stream": True, "stream_idle_seconds": 7}


async def test_usage_is_not_asked_where_the_option_is_refused() -> None:
    transport = OneAnswer()
    provider = OpenAICompatible(transport, TRANSLATOR)  # type: ignore[arg-type]
    await provider.send(request(stream=True), build_target("mistral/m", api_key="k"))
    assert "stream_options" not in transport.sent[0][2]


async def test_every_endpoint_and_target_has_its_own_route() -> None:
    transport = OneAnswer()
    provider = OpenAICompatible(transport, TRANSLATOR)  # type: ignore[arg-type]
    target = build_target("openai/m", api_key="k")
    other = build_target("openai/m", api_key="k2", api_base="http://h/v1")
    embed = parse_request("embeddings", b'{"model":"m","input":"x"}')
    for asked, at in ((request(), target), (embed, target), (request(), other), (request(), target)):
        await provider.send(asked, at)
    assert [(str(to.url), to.headers["authorization"]) for _, to, _, _ in transport.sent] == [
        ("https://api.openai.com/v1/chat/completions", "Bearer k"),
        ("https://api.openai.com/v1/embeddings", "Bearer k"),
        ("http://h/v1/chat/completions", "Bearer k2"),
        ("https://api.openai.com/v1/chat/completions", "Bearer k"),
    ]


async def test_an_error_status_is_refused_and_its_body_kept() -> None:
    provider = OpenAICompatible(OneAnswer(429, b"slow", {"content-type": "text/plain"}), TRANSLATOR)  # type: ignore[arg-type]
    with pytest.raises(UpstreamRefused) as caught:
        await provider.send(request(), build_target("openai/m", api_key="k"))
    assert (caught.value.http_status, caught.value.body, caught.value.content_type) == (429, b"slow", "text/plain")


async def test_a_redirect_is_not_followed() -> None:
    provider = OpenAICompatible(OneAnswer(302), TRANSLATOR)  # type: ignore[arg-type]
    with pytest.raises(UpstreamGarbled, match="api_base"):
        await provider.send(request(), build_target("openai/m", api_key="k"))
