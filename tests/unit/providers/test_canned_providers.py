"""The demo provider, mock responses and the table of providers."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from tallystick.bootstrap.aws import load_aws_signer
from tallystick.bootstrap.google_tokens import GoogleTokensWhenNeeded
from tallystick.bootstrap.libraries import LibrariesWhenNeeded
from tallystick.errors import UpstreamError, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.base import Answer, Target
from tallystick.providers.catalog import FAMILIES, build_target
from tallystick.providers.demo import Demo
from tallystick.providers.mock import Mock
from tallystick.providers.registry import build_providers
from tallystick.providers.translator import Translator
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import SystemClock
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.openai.request import parse_request
from tallystick.wire.sse import StreamScanner

TRANSLATOR = Translator(now_seconds=lambda: 7)
DEMO = Demo(new_id=lambda: "1", now_seconds=lambda: 7, translator=TRANSLATOR)
MOCK = Mock(new_id=lambda: "1", now_seconds=lambda: 7, translator=TRANSLATOR)
TARGET = build_target("demo/echo")


def request(endpoint: Endpoint = "chat/completions", **fields: Any) -> CallRequest:
    body: dict[str, Any] = {"model": "demo"}
    if endpoint == "chat/completions":
        body["messages"] = [{"role": "system", "content": "s"}, {"role": "user", "content": "hello there"}]
    return parse_request(endpoint, json.dumps(body | fields).encode())


async def read(answer: Answer) -> bytes:
    assert answer.chunks is not None
    return b"".join([chunk async for chunk in answer.chunks])


def events(stream: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


async def test_chat() -> None:
    answer = await DEMO.send(request(tools=[{"type": "function"}]), TARGET)
    body = json.loads(answer.body)
    assert (body["id"], body["object"], body["created"], body["model"]) == (
        "chatcmpl-demo-1", "chat.completion", 7, "echo",
    )  # fmt: skip
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "You said: hello there"}
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = read_answer(answer.body).usage
    assert usage is not None
    assert usage.input_tokens
    assert usage.output_tokens


async def test_a_stream_says_the_same() -> None:
    plain = json.loads((await DEMO.send(request(), TARGET)).body)
    answer = await DEMO.send(request(stream=True), TARGET)
    assert answer.content_type.startswith("text/event-stream")
    chunks = events(await read(answer))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert text == plain["choices"][0]["message"]["content"]
    assert len(chunks) > 4
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
    scanner = StreamScanner(hide_usage=True)
    scanner.feed(await read(await DEMO.send(request(stream=True), TARGET)))
    assert scanner.saw_done
    assert scanner.usage is not None


async def test_limit_and_choices() -> None:
    body = json.loads((await DEMO.send(request(max_tokens=2, n=3), TARGET)).body)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 6
    chunks = events(await read(await DEMO.send(request(max_tokens=0, n=2, stream=True), TARGET)))
    assert [chunk["choices"][0]["index"] for chunk in chunks[:-1]] == [0, 0, 1, 1]
    with pytest.raises(UpstreamRefused):
        await DEMO.send(request(n=1000), TARGET)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}], "You said: a"),
        (None, "You said nothing that I can read."),
        (7, "You said nothing that I can read."),
    ],
)
async def test_content_of_other_kinds(content: Any, text: str) -> None:
    answer = await DEMO.send(request(messages=[{"role": "user", "content": content}]), TARGET)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == text


async def test_completions() -> None:
    body = json.loads((await DEMO.send(request("completions", prompt=["a", "b"]), TARGET)).body)
    assert (body["id"], body["object"], body["choices"][0]["text"]) == (
        "cmpl-demo-1",
        "text_completion",
        "You said: a b",
    )
    chunks = events(await read(await DEMO.send(request("completions", prompt="a", stream=True), TARGET)))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "You said: a"


async def test_embeddings() -> None:
    body = json.loads((await DEMO.send(request("embeddings", input=["a", "b", "a"], dimensions=8), TARGET)).body)
    vectors = [item["embedding"] for item in body["data"]]
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert all(len(vector) == 8 and math.isclose(math.hypot(*vector), 1) for vector in vectors)
    assert body["usage"]["prompt_tokens"] == 3
    packed = json.loads(
        (await DEMO.send(request("embeddings", input="a", dimensions=8, encoding_format="base64"), TARGET)).body
    )
    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(unpacked, vectors[0], strict=True))


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2), ("x", 1)])
async def test_embedding_inputs(given: Any, count: int) -> None:
    body = json.loads((await DEMO.send(request("embeddings", input=given), TARGET)).body)
    assert [len(item["embedding"]) for item in body["data"]] == [256] * count


@pytest.mark.parametrize("fields", [{"input": "x", "dimensions": 10**9}, {"input": [{}]}])
async def test_embeddings_that_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await DEMO.send(request("embeddings", **fields), TARGET)
    assert caught.value.http_status == 400


def mocked(text: str) -> Target:
    return build_target("openai/gpt-4o", options={"mock_response": text})


async def test_a_mock_response() -> None:
    body = json.loads((await MOCK.send(request(), mocked("hi"))).body)
    assert (body["choices"][0]["message"]["content"], body["model"]) == ("hi", "gpt-4o")
    body = json.loads((await MOCK.send(request(mock_response="mine"), mocked("hi"))).body)
    assert body["choices"][0]["message"]["content"] == "mine"
    assert b"hi" in await read(await MOCK.send(request(stream=True), mocked("hi")))
    assert json.loads((await MOCK.send(request("embeddings", input="x"), mocked("hi"))).body)["data"]


@pytest.mark.parametrize(
    ("text", "error", "status"),
    [
        ("litellm.RateLimitError", UpstreamRefused, 429),
        ("litellm.ContextWindowExceededError", UpstreamRefused, 400),
        ("litellm.InternalServerError", UpstreamRefused, 500),
        ("litellm.Timeout", UpstreamTimeout, 504),
        ("litellm.APIConnectionError", UpstreamUnreachable, 502),
    ],
)
async def test_mocked_errors(text: str, error: type[UpstreamError], status: int) -> None:
    with pytest.raises(error) as caught:
        await MOCK.send(request(), mocked(text))
    assert caught.value.http_status == status


async def test_every_prefix_has_a_provider_and_can_be_mocked() -> None:
    tokens = GoogleTokensWhenNeeded(clock=SystemClock())
    providers = build_providers(
        Transport(),
        new_id=lambda: "1",
        now_seconds=lambda: 7,
        load_aws_signer=load_aws_signer,
        google_tokens=tokens,
        libraries=LibrariesWhenNeeded(),
    )
    assert providers.keys() == FAMILIES.keys()
    for name, provider in providers.items():
        answer = await provider.send(
            request(mock_response="m"), build_target(f"{name}/x/y", options={"mock_response": ""})
        )
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == "m"
    assert b"You said" in (await providers["demo"].send(request(), TARGET)).body
