"""The APIs of providers by prefixes: recordings and official clients, through the gateway and untouched by it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import google.genai
import openai
import pytest
from google.genai.types import HttpOptions
from yarl import URL

import bedrock_kit
from distinct import one_of_each
from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from passed_kit import AnyUpstream, any_upstream
from tallystick.ledger.event import SpendEvent
from upstream import USAGE, plain_answer, stream_events

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": "", "cohere": ""}
UPSTREAM_KEY = "the-key-of-the-provider"
ASKING = b'{"model": "gpt-4o-mini", "stream": true, "messages": []}'


@pytest.fixture
async def upstream() -> AsyncIterator[AnyUpstream]:
    async with any_upstream() as running:
        yield running


def serving(upstream: AnyUpstream, provider: str, *models: str, **params: Any) -> dict[str, Any]:
    """A configuration with these models of a provider, at a price."""
    more = {"aws_region_name": "eu-west-1"} if provider == "bedrock" else {}
    prices = {"input_cost_per_token": "0.000002", "output_cost_per_token": "0.00001"}
    return {
        "model_list": [
            {
                "model_name": f"group-{model}",
                "litellm_params": {
                    "model": f"{provider}/{model}",
                    "api_base": upstream.url + BASES[provider],
                    "api_key": UPSTREAM_KEY,
                    **prices,
                    **more,
                    **params,
                },
            }
            for model in models
        ]
    }


async def asked(
    gateway: RunningGateway, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    given = {"content-type": "application/json", "authorization": f"Bearer {MASTER_KEY}", **headers}
    async with gateway._session.request(
        method, URL(gateway.url + path, encoded=True), data=body, headers=given
    ) as answer:
        return answer.status, await answer.read(), {name.lower(): text for name, text in answer.headers.items()}


def recordings() -> list[Any]:
    found = []
    for file in ("anthropic", "bedrock", "cohere", "gemini", "responses", "exchanges"):
        for line in (RECORDINGS / f"{file}.jsonl").read_text().splitlines():
            exchange = json.loads(line)
            if exchange["provider"] in BASES:
                found.append(pytest.param(exchange, id=f"{exchange['provider']}-{exchange['id']}"))
    return found


def model_of(exchange: dict[str, Any]) -> str:
    in_path = re.search(r"/?models?/([^/:]+(?::\d)?)[:/]", exchange["path"])
    return in_path[1] if in_path else str(exchange["request"].get("model", ""))


def told(exchange: dict[str, Any]) -> tuple[int | None, int | None] | None:
    """Read input and output of the recorded usage as the provider's documentation has them."""
    usage, provider = exchange["usage"], exchange["provider"]
    if not usage or "count_tokens" in exchange["path"]:
        return None
    if provider == "openai" and "prompt_tokens" in usage:
        return usage["prompt_tokens"], usage.get("completion_tokens")
    if provider == "gemini":
        whole = usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0)
        return whole, usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    if provider == "cohere":
        return usage["billed_units"]["input_tokens"], usage["billed_units"]["output_tokens"]
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    return usage["input_tokens"] + cached, usage["output_tokens"]


@pytest.mark.parametrize("exchange", one_of_each(recordings()))
async def test_a_recorded_exchange(exchange: dict[str, Any], upstream: AnyUpstream, tmp_path: Path) -> None:
    provider, model = exchange["provider"], model_of(exchange)
    recorded = exchange["body"].encode()
    upstream.answer(recorded, status=exchange["status"], content_type=exchange["content_type"])
    upstream.chunked = "event-stream" in exchange["content_type"]
    sent = json.dumps(exchange["request"]).encode()
    path = exchange["path"]
    if path.endswith(":streamGenerateContent"):
        path += "?alt=sse"  # Left out when it was recorded, as the content type tells.
    async with running_gateway(tmp_path, serving(upstream, provider, model or "other")) as gateway:
        status, body, headers = await asked(gateway, "POST", f"/{provider}{path}", sent)
        event = await gateway.event()
    (came,) = upstream.came
    assert (status, body) == (exchange["status"], recorded)
    assert (came.method, came.raw_path) == ("POST", path)
    if not (provider == "openai" and exchange["request"].get("stream")):
        assert came.body == sent
    assert UPSTREAM_KEY in str(came.headers)
    assert MASTER_KEY not in str(came)
    assert headers["x-litellm-call-id"] == event.event_id
    assert (event.provider, event.call_type) == (provider, "pass_through_endpoint")
    check_event(exchange, event)


def check_event(exchange: dict[str, Any], event: SpendEvent) -> None:
    if exchange["status"] != 200:
        assert (event.status, event.error_code) == ("failure", str(exchange["status"]))
        return
    assert event.status == "success" or '"error"' in exchange["body"]
    expected = told(exchange)
    if expected is not None:
        assert event.usage_source == "provider"
        assert (event.usage.input_tokens, event.usage.output_tokens or 0) == (expected[0], expected[1] or 0)
        assert event.cost_status == "priced"


async def test_openais_client(upstream: AnyUpstream, tmp_path: Path) -> None:
    asking: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    async with running_gateway(tmp_path, serving(upstream, "openai", "gpt-4o")) as gateway:
        for base in ("/openai", "/openai/v1"):
            async with openai.AsyncOpenAI(base_url=gateway.url + base, api_key=MASTER_KEY, max_retries=0) as client:
                upstream.answer(plain_answer(asking))
                plain = await client.chat.completions.create(**asking)
                assert plain.usage is not None
                assert plain.usage.prompt_tokens == USAGE["prompt_tokens"]
                streamed = {**asking, "stream": True, "stream_options": {"include_usage": True}}
                upstream.answer(b"".join(stream_events(streamed)), content_type="text/event-stream")
                chunks = [chunk async for chunk in await client.chat.completions.create(**asking, stream=True)]
                assert all(chunk.usage is None for chunk in chunks)  # It was asked for by the gateway, and hidden.
                upstream.answer({"object": "list", "data": [{"id": "f-1", "object": "file"}], "has_more": False})
                assert [each.id async for each in client.files.list()] == ["f-1"]
                upstream.answer({"error": {"message": "no", "type": "t", "code": "c"}}, status=429)
                with pytest.raises(openai.RateLimitError, match="no"):
                    await client.chat.completions.create(**asking)
        events = [each.event for each in await gateway.events(8)]
    assert [came.raw_path for came in upstream.came[:4]] == ["/v1/chat/completions"] * 2 + ["/v1/files"] + [
        "/v1/chat/completions"
    ]
    assert json.loads(upstream.came[1].body)["stream_options"] == {"include_usage": True}
    assert [event.cost_status for event in events[:4]] == ["priced", "priced", "unpriced", "free"]
    assert [event.cost_nano_usd for event in events[:2]] == [12 * 2_000 + 6 * 10_000] * 2
    assert [event.endpoint for event in events[:3]] == ["/openai/chat/completions"] * 2 + ["/openai"]
    assert [event.model_group for event in events[:3]] == ["group-gpt-4o"] * 2 + ["openai"]


async def test_anthropics_client(upstream: AnyUpstream, tmp_path: Path) -> None:
    asking: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Yes."}], "usage": {"input_tokens": 5, "output_tokens": 3},
    }  # fmt: skip
    async with (
        running_gateway(tmp_path, serving(upstream, "anthropic", "claude-x")) as gateway,
        anthropic.AsyncAnthropic(base_url=f"{gateway.url}/anthropic", api_key=MASTER_KEY, max_retries=0) as client,
    ):
        upstream.answer(message)
        assert (await client.messages.create(**asking)).usage.output_tokens == 3
        upstream.answer({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, status=529)
        with pytest.raises(anthropic.APIStatusError, match="busy"):
            await client.messages.create(**asking)
        with pytest.raises(anthropic.AuthenticationError):
            await client.with_options(api_key="sk-nobody-0123456789").messages.create(**asking)
        events = [each.event for each in await gateway.events(2)]
    assert upstream.came[0].headers["x-api-key"] == UPSTREAM_KEY
    assert "anthropic-version" in upstream.came[0].headers
    assert [event.status for event in events] == ["success", "failure"]
    assert len(upstream.came) == 2


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_googles_client(upstream: AnyUpstream, tmp_path: Path) -> None:
    answer = {
        "candidates": [{"content": {"parts": [{"text": "Yes."}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6},
    }
    async with running_gateway(tmp_path, serving(upstream, "gemini", "gemini-x")) as gateway:
        client = google.genai.Client(
            api_key=MASTER_KEY, http_options=HttpOptions(base_url=f"{gateway.url}/gemini", api_version="v1beta")
        )
        upstream.answer(answer)
        assert (await client.aio.models.generate_content(model="gemini-x", contents="Hi")).text == "Yes."
        upstream.answer(b"data: " + json.dumps(answer).encode() + b"\r\n\r\n", content_type="text/event-stream")
        stream = await client.aio.models.generate_content_stream(model="gemini-x", contents="Hi")
        assert [chunk.text async for chunk in stream] == ["Yes."]
        # Without alt=sse it is one array, which is asked for as events, and the key may stand in the query.
        path = f"/gemini/v1beta/models/gemini-x:streamGenerateContent?key={MASTER_KEY}"
        status, body, _ = await asked(gateway, "POST", path, b'{"contents": []}', authorization="")
        assert (status, json.loads(body)) == (200, [answer])
        events = [each.event for each in await gateway.events(3)]
        await client.aio.aclose()
    assert [came.raw_path.rpartition(":")[2] for came in upstream.came] == [
        "generateContent",
        "streamGenerateContent?alt=sse",
        "streamGenerateContent?alt=sse",
    ]
    assert [event.cost_nano_usd for event in events] == [4 * 2_000 + 2 * 10_000] * 3
    assert MASTER_KEY not in str(upstream.came)


async def test_bedrocks_streams_pass_in_their_binary_framing(upstream: AnyUpstream, tmp_path: Path) -> None:
    pieces = bedrock_kit.stream([{"text": "Yes."}])
    said: list[dict[str, Any]] = [
        {"outputText": "Yes."},
        {
            "completionReason": "FINISH",
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 4},
        },
    ]
    invoked = [bedrock_kit.event("chunk", bytes=base64.b64encode(json.dumps(each).encode()).decode()) for each in said]
    model = "amazon.nova-x-v1:0"
    async with running_gateway(tmp_path, serving(upstream, "bedrock", model)) as gateway:
        for method, sent in (("converse-stream", pieces), ("invoke-with-response-stream", invoked)):
            upstream.answer(b"".join(sent), content_type=bedrock_kit.EVENT_STREAM)
            path = f"/bedrock/model/{model.replace(':', '%3A')}/{method}"
            status, body, headers = await asked(gateway, "POST", path, b'{"messages": []}')
            assert (status, body, headers["content-type"]) == (200, b"".join(sent), bedrock_kit.EVENT_STREAM)
        events = [each.event for each in await gateway.events(2)]
    assert [(event.usage.input_tokens, event.usage.output_tokens) for event in events] == [(12, 6), (7, 4)]
    assert {event.model for event in events} == {model}
    assert upstream.came[0].raw_path == "/model/amazon.nova-x-v1%3A0/converse-stream"


async def test_lists_of_models_hold(upstream: AnyUpstream, tmp_path: Path) -> None:
    upstream.answer(plain_answer({"model": "gpt-4o", "messages": []}))
    async with running_gateway(tmp_path, serving(upstream, "openai", "gpt-4o", "gpt-4o-mini")) as gateway:
        _, made, _ = await gateway.post("/key/generate", {"models": ["group-gpt-4o"]})
        key = {"authorization": f"Bearer {json.loads(made)['key']}"}

        async def status_of(body: bytes, **headers: str) -> int:
            return (await asked(gateway, "POST", "/openai/v1/chat/completions", body, **{**key, **headers}))[0]

        assert await status_of(b'{"model": "gpt-4o", "messages": []}') == 200
        assert await status_of(b'{"model": "gpt-4o-mini", "messages": []}') == 403
        assert await status_of(b'{"model": "gpt-5", "messages": []}') == 403
        # Of two models nobody knows which one the provider takes.
        assert await status_of(b'{"model": "gpt-4o-mini", "messages": [], "model": "gpt-4o"}') == 400
        assert await status_of(b'{"mod\\u0065l": "gpt-4o-mini", "messages": [], "model": "gpt-4o"}') == 400
        assert await status_of(b'{"Model": "gpt-4o-mini", "messages": []}') == 400
        form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-mini\r\n--b--\r\n'
        assert await status_of(form, **{"content-type": "multipart/form-data; boundary=b"}) == 403
        twice = form.replace(b"--b--", form.replace(b"--b--\r\n", b"") + b"--b--")
        assert await status_of(twice, **{"content-type": "multipart/form-data; boundary=b"}) == 400
        await gateway.events(1)
    assert len(upstream.came) == 1


@pytest.mark.parametrize(
    "body",
    [
        b" " * 70 + ASKING,
        b"\xef\xbb\xbf" + ASKING,
        ASKING.decode().encode("utf-16-le"),
        ASKING.replace(b"[]", b"[NaN]"),
        ASKING.replace(b"[]", b"[],"),
        gzip.compress(ASKING),
        b"",
    ],
    ids=["spaces", "bom", "utf-16", "nan", "comma", "gzip", "nothing"],
)
async def test_a_body_that_only_the_provider_reads_leads_round_no_list(
    upstream: AnyUpstream, tmp_path: Path, body: bytes
) -> None:
    """Which model it names is not known here, nor would its stream be counted."""
    async with running_gateway(tmp_path, serving(upstream, "openai", "gpt-4o", "gpt-4o-mini")) as gateway:
        _, made, _ = await gateway.post("/key/generate", {"models": ["group-gpt-4o"]})
        key = {"authorization": f"Bearer {json.loads(made)['key']}"}
        if body[:1] == b"\x1f":
            key["content-encoding"] = "gzip"
        for content_type in ("application/json", "text/plain"):
            headers = {**key, "content-type": content_type}
            status, _, _ = await asked(gateway, "POST", "/openai/v1/chat/completions", body, **headers)
            assert status in (400, 403)
        if body.startswith((b"\xef", b"{\x00", b"\x1f")):
            assert (await asked(gateway, "POST", "/openai/v1/videos", body, **key))[0] == 400
    assert upstream.came == []


async def test_a_file_may_begin_like_json(upstream: AnyUpstream, tmp_path: Path) -> None:
    lines = b'{"a": 1}\n{"a": 2}\n'
    async with running_gateway(tmp_path, serving(upstream, "openai", "gpt-4o")) as gateway:
        for path, content_type in (("/openai/upload/v1/f", "application/json"), ("/openai/v1/f", "text/plain")):
            assert (await asked(gateway, "PUT", path, lines, **{"content-type": content_type}))[0] == 200
        await gateway.events(2)
    assert [came.body for came in upstream.came] == [lines, lines]


@pytest.mark.parametrize(
    ("provider", "model", "path"),
    [
        ("openai", "gpt-4o", "/openai/v1/chat/complet%69ons"),
        ("openai", "gpt-4o", "/openai/v1/chat/completions/"),
        ("openai", "gpt-4o", "/openai/v1/Chat/Completions;x=1"),
        ("gemini", "gemini-x", "/gemini/v1beta/models/gemini-x%3AgenerateContent"),
        ("gemini", "gemini-x", "/gemini/v1beta/mod%65ls/gemini-x:generate%43ontent"),
        ("gemini", "gemini-x", "/gemini/v1beta/openai/chat/completions"),
        ("anthropic", "claude-x", "/anthropic/v1/m%65ssages"),
        ("anthropic", "claude-x", "/anthropic/v1/chat/completions"),
        ("bedrock", "nova-x", "/bedrock/model/nova-x/convers%65"),
        ("bedrock", "nova-x", "/bedrock/openai/v1/chat/completions"),
    ],
)
async def test_a_path_may_be_written_as_one_likes_and_is_metered(
    upstream: AnyUpstream, tmp_path: Path, provider: str, model: str, path: str
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 6, "input_tokens": 12, "output_tokens": 6}
    google = {"promptTokenCount": 12, "candidatesTokenCount": 6, "totalTokenCount": 18}
    upstream.answer({"usage": {**usage, "inputTokens": 12, "outputTokens": 6}, "usageMetadata": google})
    async with running_gateway(tmp_path, serving(upstream, provider, model, "another")) as gateway:
        _, made, _ = await gateway.post("/key/generate", {"models": ["group-another"]})
        key = {"authorization": f"Bearer {json.loads(made)['key']}"}
        body = json.dumps({"model": model, "messages": []}).encode()
        assert (await asked(gateway, "POST", path, body, **key))[0] == 403
        assert (await asked(gateway, "POST", path, body))[0] == 200
        event = await gateway.event()
    assert (event.model, event.usage.input_tokens, event.usage.output_tokens) == (model, 12, 6)
    assert event.cost_nano_usd == 12 * 2_000 + 6 * 10_000


async def test_a_model_that_no_deployment_has_is_priced_by_the_list(upstream: AnyUpstream, tmp_path: Path) -> None:
    asking = {"model": "gpt-4o-mini", "messages": []}
    async with running_gateway(tmp_path, serving(upstream, "openai", "gpt-4o")) as gateway:
        upstream.answer(plain_answer(asking))
        await asked(gateway, "POST", "/openai/v1/chat/completions", json.dumps(asking).encode())
        upstream.answer({"error": {"message": "no such model"}}, status=404)
        await asked(gateway, "POST", "/openai/v1/chat/completions", b'{"model": "made-up-by-somebody"}')
        found, failed = [each.event for each in await gateway.events(2)]
    assert (found.model, found.cost_status) == ("gpt-4o-mini", "priced")
    assert found.cost_nano_usd == 12 * 150 + 6 * 600
    assert (failed.model, failed.model_group, failed.status) == ("", "openai", "failure")


async def test_a_credential_signs_in_where_no_model_is_configured(tmp_path: Path) -> None:
    async with any_upstream() as upstream:
        values = {"api_key": "of-the-credential", "api_base": upstream.url}
        config = {
            "credential_list": [
                {
                    "credential_name": "c",
                    "credential_values": values,
                    "credential_info": {"custom_llm_provider": "cohere"},
                }
            ]
        }
        async with running_gateway(tmp_path, config) as gateway:
            upstream.answer({"id": "r", "results": [], "meta": {"billed_units": {"search_units": 1}}})
            assert (await asked(gateway, "POST", "/cohere/v2/rerank", b'{"model": "rerank-x"}'))[0] == 200
            assert (await asked(gateway, "GET", "/anthropic/v1/models"))[0] == 404
            event = await gateway.event()
    assert upstream.came[0].headers["authorization"] == "Bearer of-the-credential"
    assert (upstream.came[0].raw_path, event.usage.searches) == ("/v2/rerank", 1)
