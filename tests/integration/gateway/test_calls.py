"""Calls through the whole gateway: the answer that the client gets, and the event that the ledger has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway_kit import running_gateway, scripted
from ledger_kit import value_of
from tallystick.wire.usage import Usage
from upstream import USAGE, Upstream, plain_answer, running_upstream, stream_events

# gpt-4o: $2.50 and $10.00 per million tokens.
PRICE_NANO_USD = 12 * 2500 + 6 * 10000


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


async def test_a_plain_answer_comes_back_unchanged_and_is_priced(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        status, body, headers = await gateway.chat("plain", user="bob", logprobs=True, unknown_field={"a": [1, None]})
        event = await gateway.event()

    assert status == 200
    assert json.loads(body) == plain_answer({"model": "plain"})
    assert headers["x-litellm-call-id"] == headers["x-tallystick-event-id"] == event.event_id
    assert upstream.requests[0]["unknown_field"] == {"a": [1, None]}
    assert upstream.headers[0]["Authorization"] == "Bearer up-key"
    assert (event.status, event.usage_source, event.cost_status) == ("success", "provider", "priced")
    assert event.usage == Usage(input_tokens=12, output_tokens=6)
    assert event.cost_nano_usd == PRICE_NANO_USD
    assert (event.end_user_id, event.model, event.model_group, event.provider) == ("bob", "plain", "plain", "openai")
    assert event.provider_response_id == "chatcmpl-upstream"
    assert event.price_version.startswith("genai-prices:")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/engines/plain/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": "other"}),
        ("/openai/deployments/plain/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/completions", {"prompt": "x"}),
        ("/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": ["x"]}),
        ("/embeddings", {"input": "x"}),
        ("/v1/engines/plain/embeddings", {"input": "x"}),
    ],
)
async def test_every_path_of_every_endpoint(upstream: Upstream, tmp_path: Path, path: str, body: dict) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        status, answer, _ = await gateway.post(path, {"model": "plain", **body})
        event = await gateway.event()

    assert status == 200
    assert json.loads(answer) == plain_answer({**body, "model": "plain"})
    endpoint = {"messages": "chat/completions", "prompt": "completions", "input": "embeddings"}[next(iter(body))]
    assert event.endpoint == f"/v1/{endpoint}"
    assert event.status == "success"


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_hides_the_usage_chunk_from_a_client_that_did_not_ask(
    upstream: Upstream, tmp_path: Path, asked: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    async with running_gateway(tmp_path, scripted(upstream.url, "stream")) as gateway:
        status, body, headers = await gateway.chat("stream", stream=True, **options)
        event = await gateway.event()

    sent = stream_events({"model": "stream", "stream_options": {"include_usage": True}})
    assert status == 200
    assert body == b"".join(event for event in sent if asked or b'"usage"' not in event)
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert upstream.requests[0]["stream_options"] == {"include_usage": True}
    assert event.usage == Usage(input_tokens=12, output_tokens=6)
    assert (event.status, event.usage_source, event.cost_nano_usd) == ("success", "provider", PRICE_NANO_USD)
    assert event.first_token_at is not None
    assert event.started_at <= event.first_token_at <= event.ended_at


async def test_answers_without_usage_are_estimated_and_say_so(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "nousage")) as gateway:
        await gateway.chat("nousage")
        await gateway.chat("nousage", stream=True)
        plain, stream = (committed.event for committed in await gateway.events(2))

    for event in (plain, stream):
        assert event.usage_source == "estimated"
        assert event.usage.input_tokens
        assert event.usage.output_tokens
        assert event.cost_nano_usd > 0


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_upstream_error_keeps_its_status_and_body(upstream: Upstream, tmp_path: Path, status: int) -> None:
    model = f"status:{status}"
    async with running_gateway(tmp_path, scripted(upstream.url, model)) as gateway:
        answered, body, headers = await gateway.chat(model)
        event = await gateway.event()

    assert answered == status
    assert json.loads(body)["error"] == {
        "message": f"upstream says {status}",
        "type": "upstream_type",
        "param": None,
        "code": "upstream_code",
    }
    assert headers["x-litellm-call-id"] == event.event_id
    assert headers.get("retry-after") == "7"
    assert (event.status, event.error_class, event.error_code) == ("failure", "UpstreamRefused", str(status))
    assert f"upstream says {status}" in event.error_message
    assert (event.cost_nano_usd, event.cost_status, event.usage) == (0, "free", Usage())


async def test_an_error_page_is_put_into_the_envelope(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "html:502")) as gateway:
        status, body, _ = await gateway.chat("html:502")

    assert status == 502
    assert "Bad gateway" in json.loads(body)["error"]["message"]
    assert json.loads(body)["error"]["code"] == "502"


@pytest.mark.parametrize(
    ("model", "status", "error_class"),
    [("reset", 502, "UpstreamUnreachable"), ("garbage", 502, "UpstreamGarbled"), ("hang", 504, "UpstreamTimeout")],
)
async def test_an_upstream_that_fails_is_an_error_and_a_failure_event(
    upstream: Upstream, tmp_path: Path, model: str, status: int, error_class: str
) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, model, timeout=0.3)) as gateway:
        answered, body, _ = await gateway.chat(model)
        event = await gateway.event()

    assert answered == status
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert (event.status, event.error_class) == ("failure", error_class)


async def test_an_upstream_that_refuses_connections(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted("http://127.0.0.1:1/v1", "plain")) as gateway:
        status, _, _ = await gateway.chat("plain")
        event = await gateway.event()

    assert status == 502
    assert (event.status, event.error_class) == ("failure", "UpstreamUnreachable")


@pytest.mark.parametrize("model", ["reset", "hang"])
async def test_a_stream_that_breaks_ends_with_an_error_event_and_is_billed(
    upstream: Upstream, tmp_path: Path, model: str
) -> None:
    config = scripted(upstream.url, model, timeout=5, stream_timeout=0.2)
    async with running_gateway(tmp_path, config) as gateway:
        status, body, _ = await gateway.chat(model, stream=True)
        event = await gateway.event()

    assert status == 200
    last = body.strip().split(b"\n\n")[-1]
    assert set(json.loads(last.removeprefix(b"data: "))["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in body
    assert (event.status, event.usage_source) == ("failure", "estimated")
    assert event.usage.output_tokens
    assert event.cost_nano_usd > 0


async def test_a_client_that_leaves_closes_the_upstream_and_is_billed(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "pause:50")) as gateway:
        async with gateway.open_stream("pause:50") as response:
            await response.content.readany()
        event = await gateway.event()
        async with asyncio.timeout(5):
            while upstream.open_streams:
                await asyncio.sleep(0.01)

    assert upstream.cut_streams == 1
    assert (event.status, event.error_class) == ("interrupted", "ClientDisconnected")
    assert event.usage_source == "estimated"
    assert 0 < event.cost_nano_usd
    assert value_of(gateway.metrics.client_disconnects) == 1


async def test_a_client_that_leaves_is_billed_the_providers_count_when_streams_are_drained(
    upstream: Upstream, tmp_path: Path
) -> None:
    config = scripted(upstream.url, "pause:20") | {"general_settings": {"on_client_disconnect": "drain"}}
    async with running_gateway(tmp_path, config) as gateway:
        async with gateway.open_stream("pause:20") as response:
            await response.content.readany()
        event = await gateway.event()

    assert upstream.cut_streams == 0
    assert (event.status, event.usage_source) == ("interrupted", "provider")
    assert event.usage == Usage(input_tokens=USAGE["prompt_tokens"], output_tokens=USAGE["completion_tokens"])


async def test_a_client_that_leaves_a_plain_call_is_billed_in_full(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "slow:200")) as gateway:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await gateway.chat("slow:200")
        event = await gateway.event()

    assert (event.status, event.usage_source, event.cost_nano_usd) == ("success", "provider", PRICE_NANO_USD)


async def test_another_deployment_answers_when_one_fails(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "status:500", "plain")
    for entry in config["model_list"]:
        entry["model_name"] = "group"
    async with running_gateway(tmp_path, config) as gateway:
        for _ in range(12):
            status, _, _ = await gateway.chat("group")
            assert status == 200
        events = [committed.event for committed in await gateway.events(12)]

    failed_over = [event for event in events if event.attempts]
    assert failed_over
    for event in failed_over:
        assert [(attempt.deployment_id, attempt.status) for attempt in event.attempts] == [
            ("status:500", "failure"),
            ("plain", "success"),
        ]
        assert event.deployment_id == "plain"


async def test_a_request_that_is_wrong_everywhere_is_not_tried_elsewhere(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "status:400", "status:422")
    for entry in config["model_list"]:
        entry["model_name"] = "group"
    async with running_gateway(tmp_path, config) as gateway:
        await gateway.chat("group")
        await gateway.event()

    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"{", None, "not valid JSON"),
        (b'{"model": 5, "messages": [{}]}', "model", "str"),
        (b'{"messages": [{}]}', "model", "missing"),
        (b'{"model": "plain"}', "messages", "missing"),
        (b'{"model": "plain", "messages": "hello"}', "messages", "array"),
        (b'{"model": "plain", "messages": [{}], "stream": "yes"}', "stream", "bool"),
        (b'{"model": "nope", "messages": [{}]}', "model", "there is no model 'nope'"),
        (b"\xff\xfe", None, "not valid JSON"),
    ],
)
async def test_a_bad_request_is_told_and_never_forwarded(
    upstream: Upstream, tmp_path: Path, body: bytes, param: str | None, message: str
) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        status, answer, headers = await gateway.post("/v1/chat/completions", body)

    error = json.loads(answer)["error"]
    assert (status, error["code"], error["param"]) == (400, "400", param)
    assert message in error["message"]
    assert headers["x-litellm-call-id"]
    assert upstream.requests == []


async def test_keys_and_methods_and_sizes(upstream: Upstream, tmp_path: Path) -> None:
    config = scripted(upstream.url, "plain") | {"general_settings": {"body_bytes_max": 1000}}
    async with running_gateway(tmp_path, config) as gateway:
        body = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
        missing = await gateway.post("/v1/chat/completions", body, authorization="")
        wrong = await gateway.post("/v1/chat/completions", body, authorization="Bearer sk-wrong-key")
        method = await gateway.get("/v1/chat/completions")
        large = await gateway.post("/v1/chat/completions", {**body, "pad": "x" * 1000})
        unknown = await gateway.get("/v1/nothing")

    assert [answer[0] for answer in (missing, wrong, method, large, unknown)] == [401, 401, 405, 413, 404]
    for answer in (missing, wrong, method, large, unknown):
        assert set(json.loads(answer[1])["error"]) == {"message", "type", "param", "code"}
    assert upstream.requests == []


async def test_hostile_texts_are_kept_out_of_the_ledger_but_not_out_of_the_call(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        hostile = [
            {"user": "nul\0user", "metadata": {"note": "a\0b", "tags": ["t\0g"]}},
            {"user": "u" * 5000, "metadata": {"large": "x" * 10_000_000}},
            {"metadata": {"number": 10**40, "deep": {"a": [{"b": "\0"}]}}},
        ]
        for fields in hostile:
            status, _, _ = await gateway.chat("plain", **fields)
            assert status == 200
        first, second, third = (committed.event for committed in await gateway.events(3))

    assert (first.end_user_id, first.tags, first.metadata) == ("nul\ufffduser", ("t\ufffdg",), {"note": "a\ufffdb"})
    assert len(second.end_user_id) == 256
    assert "10000" in second.metadata["dropped"]
    assert third.metadata == {"number": str(10**40), "deep": {"a": [{"b": "\ufffd"}]}}


async def test_metadata_that_is_nested_deeply_does_not_keep_others_from_reading_the_ledger(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        for depth in (10, 60, 70, 900):
            metadata = '{"a":' + "[" * depth + "]" * depth + "}"
            body = '{"model":"plain","messages":[{"role":"user","content":"x"}],"metadata":' + metadata + "}"
            status, _, _ = await gateway.post("/v1/chat/completions", body.encode(), **{"x-forwarded-for": "z" * 6000})
            assert status == 200
        kept = [committed.event for committed in await gateway.events(4)]
        status, page, _ = await gateway.get("/ledger/events")

    assert status == 200
    assert len(json.loads(page)["events"]) == 4
    assert ["dropped" in event.metadata for event in kept] == [False, False, True, True]
    assert all(len(event.requester_ip) <= 64 for event in kept)


async def test_attribution_from_headers_body_and_key(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain")) as gateway:
        await gateway.post("/team/new", {"team_id": "t1"})
        _, made, _ = await gateway.post(
            "/key/generate", {"user_id": "u1", "team_id": "t1", "tags": ["from-key"], "key_alias": "al"}
        )
        key = json.loads(made)["key"]
        headers = {
            "authorization": f"Bearer {key}",
            "x-litellm-end-user-id": "from-header",
            "x-litellm-tags": "h1, h2",
            "x-litellm-session-id": "s1",
            "user-agent": "test-agent",
        }
        body = {"model": "plain", "messages": [{"role": "user", "content": "x"}], "user": "from-body"}
        await gateway.post("/v1/chat/completions", {**body, "metadata": {"tags": ["b1"], "trace": "kept"}}, **headers)
        event = await gateway.event()
        totals = {
            kind: (await gateway.services.store.reader.total(kind, name, member)).cost_nano_usd
            for kind, name, member in [
                ("key", event.key_hash, ""),
                ("user", "u1", ""),
                ("team", "t1", ""),
                ("team_member", "t1", "u1"),
                ("end_user", "from-header", ""),
                ("tag", "h2", ""),
                ("global", "", ""),
            ]
        }

    assert (event.key_alias, event.user_id, event.team_id) == ("al", "u1", "t1")
    assert (event.end_user_id, event.session_id, event.user_agent) == ("from-header", "s1", "test-agent")
    assert event.tags == ("from-key", "b1", "h1", "h2")
    assert event.metadata == {"trace": "kept"}
    assert set(totals.values()) == {PRICE_NANO_USD}


async def test_a_key_sees_and_calls_only_its_models(upstream: Upstream, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(upstream.url, "plain", "stream")) as gateway:
        _, made, _ = await gateway.post("/key/generate", {"models": ["plain"]})
        bearer = "Bearer " + json.loads(made)["key"]
        _, listed, _ = await gateway.get("/v1/models", authorization=bearer)
        shown, _, _ = await gateway.get("/v1/models/plain", authorization=bearer)
        hidden, _, _ = await gateway.get("/v1/models/stream", authorization=bearer)
        body = {"model": "stream", "messages": [{"role": "user", "content": "x"}]}
        status, answer, _ = await gateway.post("/v1/chat/completions", body, authorization=bearer)

    assert [model["id"] for model in json.loads(listed)["data"]] == ["plain"]
    assert (shown, hidden, status) == (200, 404, 403)
    error = json.loads(answer)["error"]
    assert (error["type"], error["param"], error["code"]) == ("key_model_access_denied", "model", "403")
    assert "The requested model 'stream' is not available for this API key" in error["message"]
    assert upstream.requests == []
