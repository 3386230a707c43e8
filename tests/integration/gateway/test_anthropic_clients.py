"""Anthropic's own SDK, calling models whose upstreams speak OpenAI's dialect: every recorded answer is understood."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import web

from distinct import one_of_each
from gateway_kit import MASTER_KEY, RunningGateway, running_gateway, scripted
from upstream import Upstream, running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "exchanges.jsonl"
CHATS = [
    exchange
    for exchange in map(json.loads, RECORDINGS.read_text().splitlines())
    if exchange["path"].endswith("chat/completions")
]
ASKED: dict[str, Any] = {"model": "public", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
TOOL = {"name": "get_weather", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}
PICTURE = base64.b64encode(b"a picture").decode()


def client_of(gateway: RunningGateway) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0)


async def ask(gateway: RunningGateway, *, stream: bool, **fields: Any) -> anthropic.types.Message:
    asked = {**ASKED, **fields}
    async with client_of(gateway) as client:
        if not stream:
            answer: anthropic.types.Message = await client.messages.create(**asked)
            return answer
        async with client.messages.stream(**asked) as events:
            async for _event in events:
                pass
            return await events.get_final_message()


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in one_of_each(CHATS)])
async def test_a_recorded_answer(exchange: dict[str, Any], tmp_path: Path) -> None:
    recorded = exchange["body"].encode()
    is_stream = "event-stream" in exchange["content_type"]

    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    async with running_upstream() as upstream:
        upstream.answer = replay
        params = {"model": "openai/gpt-4o", "api_base": upstream.url, "api_key": "k"}
        config = {"model_list": [{"model_name": "public", "litellm_params": params}]}
        async with running_gateway(tmp_path, config) as gateway:
            try:
                answer = await ask(gateway, stream=is_stream)
            except anthropic.APIStatusError as error:  # It failed after it had begun with 200, when it was recorded.
                failed_with = error.message
                answer = None
            event = await gateway.event()
        asked = upstream.requests[0]

    if answer is None:
        assert is_stream
        assert event.status == "failure"
        assert event.error_message in failed_with
        return
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    assert (asked["model"], asked["max_completion_tokens"]) == ("gpt-4o", 100)
    assert asked.get("stream_options") == ({"include_usage": True} if is_stream else None)
    assert answer.role == "assistant"
    assert event.provider_response_id == answer.id
    usage = answer.usage
    if event.usage_source == "provider":
        whole = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        assert (whole, usage.output_tokens) == (event.usage.input_tokens or 0, event.usage.output_tokens or 0)
    if not is_stream:
        choice = json.loads(exchange["body"])["choices"][0]
        message = choice["message"]
        if isinstance(message.get("content"), str):
            assert "".join(block.text for block in answer.content if block.type == "text") == message["content"]
        calls = [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
        assert calls == [
            (call["id"], call["function"]["name"], json.loads(call["function"].get("arguments") or "{}"))
            for call in message.get("tool_calls") or ()
        ]
        assert answer.stop_reason == (
            "tool_use" if calls else {"length": "max_tokens"}.get(choice["finish_reason"], "end_turn")
        )


async def answering(upstream: Upstream, message: dict[str, Any], finish_reason: str) -> None:
    async def answer(_asked: web.Request, body: dict[str, Any]) -> web.Response:
        choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
        return web.json_response({"id": "chatcmpl-1", "model": body["model"], "choices": [choice], "usage": usage})

    upstream.answer = answer


async def test_tools_results_pictures_and_documents_arrive(tmp_path: Path) -> None:
    messages: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A page."}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Ulm"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "Rain"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    async with running_upstream() as upstream:
        await answering(upstream, {"content": "Wet."}, "stop")
        async with running_gateway(tmp_path, scripted(upstream.url, "public")) as gateway:
            answer = await ask(
                gateway,
                stream=False,
                messages=messages,
                system="Be brief.",
                tools=[TOOL],
                tool_choice={"type": "any", "disable_parallel_tool_use": True},
                stop_sequences=["END"],
                metadata={"user_id": "ada"},
            )
            event = await gateway.event()
        asked = upstream.requests[0]

    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
                {"type": "text", "text": "A page."},
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Ulm"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
        {"role": "user", "content": "And now?"},
    ]
    function = {"name": "get_weather", "description": "Look.", "parameters": TOOL["input_schema"]}
    assert asked["tools"] == [{"type": "function", "function": function}]
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ("required", False)
    assert (asked["stop"], asked["user"]) == (["END"], "ada")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (5, 4)
    assert event.end_user_id == "ada"
    assert (event.usage.input_tokens, event.usage.cache_read_tokens) == (9, 4)


@pytest.mark.parametrize("drop", [True, False])
async def test_what_the_model_s_dialect_can_t_say(drop: bool, tmp_path: Path) -> None:
    async with (
        running_upstream() as upstream,
        running_gateway(tmp_path, scripted(upstream.url, "public", drop_params=drop)) as gateway,
    ):
        if drop:
            answer = await ask(gateway, stream=False, extra_body={"top_k": 3})
            assert answer.content
            assert "top_k" not in upstream.requests[0]
        else:
            with pytest.raises(anthropic.BadRequestError, match="top_k"):
                await ask(gateway, stream=False, extra_body={"top_k": 3})
            event = await gateway.event()
            assert upstream.requests == []
            assert (event.status, event.error_class, event.cost_nano_usd) == ("failure", "Untranslatable", 0)
            assert await ask(gateway, stream=False, extra_body={"top_k": 3, "drop_params": True})


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("status:400", anthropic.BadRequestError),
        ("status:401", anthropic.AuthenticationError),
        ("status:429", anthropic.RateLimitError),
        (
            "status:529",
            anthropic.OverloadedError if hasattr(anthropic, "OverloadedError") else anthropic.APIStatusError,
        ),
        ("html:502", anthropic.InternalServerError),
    ],
)
async def test_errors_have_anthropic_s_shape(script: str, error: type[Exception], tmp_path: Path) -> None:
    async with running_upstream() as upstream, running_gateway(tmp_path, scripted(upstream.url, script)) as gateway:
        with pytest.raises(error) as raised:
            await ask(gateway, stream=False, model=script)
        body: Any = raised.value.body  # type: ignore[attr-defined]
        assert body["type"] == "error"
        if script.startswith("status"):
            assert body["error"]["message"] == f"upstream says {script[7:]}"
        with pytest.raises(anthropic.AuthenticationError) as refused:
            async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="sk-unknown", max_retries=0) as client:
                await client.messages.create(**ASKED)
        assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index,call-overload]


async def test_a_stream_that_breaks_ends_with_an_error_and_is_billed(tmp_path: Path) -> None:
    async with running_upstream() as upstream, running_gateway(tmp_path, scripted(upstream.url, "reset")) as gateway:
        status, body, headers = await gateway.post("/v1/messages", {**ASKED, "model": "reset", "stream": True})
        event = await gateway.event()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    last = body.rstrip().split(b"\n\n")[-1]
    assert last.startswith(b"event: error\ndata: ")
    assert json.loads(last.split(b"data: ")[1])["type"] == "error"
    assert b"message_stop" not in body
    assert (event.status, event.usage_source) == ("failure", "estimated")
    assert event.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_the_demo_model_and_mock_responses(stream: bool, tmp_path: Path) -> None:
    config = {"model_list": [{"model_name": "public", "litellm_params": {"model": "demo/echo"}}]}
    async with running_gateway(tmp_path, config) as gateway:
        said = await ask(gateway, stream=stream)
        mocked = await ask(gateway, stream=stream, extra_body={"mock_response": "As told."})
    assert [block.text for block in said.content if block.type == "text"] == ["You said: Hi"]
    assert [block.text for block in mocked.content if block.type == "text"] == ["As told."]


async def test_another_deployment_may_say_what_one_can_t(tmp_path: Path) -> None:
    async with running_upstream() as upstream:

        async def answer(asked: web.Request, body: dict[str, Any]) -> web.Response:
            assert asked.path == "/v1/messages"
            assert body["top_k"] == 3
            usage = {"input_tokens": 1, "output_tokens": 1}
            message = {"type": "message", "role": "assistant", "id": "m", "model": "m", "content": [], "usage": usage}
            return web.json_response({**message, "stop_reason": "end_turn", "stop_sequence": None})

        upstream.answer = answer
        params = {"api_base": upstream.url, "api_key": "k"}
        entries = [
            {"model_name": "public", "litellm_params": {"model": model, "weight": weight, **params}}
            for model, weight in (("openai/gpt-4o", 10**9), ("anthropic/claude-sonnet-4-5", 1))
        ]
        async with running_gateway(tmp_path, {"model_list": entries}) as gateway:
            await ask(gateway, stream=False, extra_body={"top_k": 3})
            event = await gateway.event()
    assert (event.provider, event.status, event.attempts) == ("anthropic", "success", ())


async def test_a_fallback_may_say_what_the_group_can_t(tmp_path: Path) -> None:
    """And one that can't either is no reason to hide why the group failed."""
    message = {
        "type": "message",
        "role": "assistant",
        "id": "m",
        "model": "m",
        "content": [],
        "stop_reason": "end_turn",
    }

    async def answer(asked: web.Request, body: dict[str, Any]) -> web.Response:
        if body["model"] == "failing":
            return web.json_response({"type": "error", "error": {"type": "api_error", "message": "no"}}, status=503)
        return web.json_response({**message, "usage": {"input_tokens": 1, "output_tokens": 1}})

    async with running_upstream() as upstream:
        upstream.answer = answer
        params = {"api_base": upstream.url, "api_key": "k", "input_cost_per_token": 1, "output_cost_per_token": 1}
        entries = [
            {"model_name": name, "litellm_params": {"model": model, **params}}
            for name, model in (
                ("public", "openai/gpt-4o"),
                ("native", "anthropic/claude"),
                ("down", "anthropic/failing"),
            )
        ]
        router = {"fallbacks": [{"public": ["native"]}, {"down": ["public"]}], "num_retries": 0, "max_fallbacks": 1}
        async with running_gateway(tmp_path, {"model_list": entries, "router_settings": router}) as gateway:
            asked = {"model": "public", "max_tokens": 5, "top_k": 3, "messages": [{"role": "user", "content": "x"}]}
            status, _, headers = await gateway.post("/v1/messages", asked)
            assert (status, headers["x-litellm-model-group"]) == (200, "native")
            status, body, headers = await gateway.post("/v1/messages", {**asked, "model": "down"})
            assert (status, json.loads(body)["error"]["message"]) == (503, "no")
            assert headers["x-litellm-model-group"] == "down"
            events = [each.event for each in await gateway.events(2)]
    assert [(each.status, each.model_group, each.error_class) for each in events] == [
        ("success", "native", ""),
        ("failure", "down", "UpstreamRefused"),
    ]


@pytest.mark.parametrize("counted", [True, False])
async def test_an_error_inside_an_answer_is_billed_as_counted(tmp_path: Path, counted: bool) -> None:
    """It is a failure for the caller, who gets its status, and yet the upstream has counted what it used."""
    usage = {"usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}} if counted else {}

    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "Slow down", "code": 429}, **usage})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, scripted(upstream.url, "public")) as gateway:
            with pytest.raises(anthropic.RateLimitError, match="Slow down"):
                await ask(gateway, stream=False)
            event = await gateway.event()
    assert (event.status, event.usage_source) == ("failure", "provider" if counted else "estimated")
    assert event.cost_nano_usd > 0
    if counted:
        assert (event.usage.input_tokens, event.usage.output_tokens) == (12, 6)
        assert len(upstream.requests) == 1  # What is billed is not asked for again.


async def test_an_error_inside_an_answer_with_status_200(tmp_path: Path) -> None:
    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "Slow down", "code": 429}})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, scripted(upstream.url, "public")) as gateway:
            with pytest.raises(anthropic.RateLimitError, match="Slow down"):
                await ask(gateway, stream=False)
            event = await gateway.event()
    assert (event.status, event.error_code) == ("failure", "429")


async def test_tokens_are_counted_where_the_upstream_can_not(tmp_path: Path) -> None:
    async with running_upstream() as upstream, running_gateway(tmp_path, scripted(upstream.url, "public")) as gateway:
        async with client_of(gateway) as client:
            counted = await client.messages.count_tokens(model="public", messages=ASKED["messages"])
        event = await gateway.event()
    assert counted.input_tokens > 0
    assert upstream.requests == []
    assert (event.call_type, event.cost_status, event.cost_nano_usd) == ("count_tokens", "free", 0)
