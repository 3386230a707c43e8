"""The Responses API through OpenAI's own SDK: other dialects behind it, kept responses, and the background."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from distinct import one_of_each
from gateway_kit import MASTER_KEY, RunningGateway, running_gateway
from tallystick.access.keys import hash_key
from tallystick.access.principal import Principal
from tallystick.control.deployment import Deployment
from upstream import Upstream, running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
ANTHROPIC = [
    each
    for each in map(json.loads, (RECORDINGS / "anthropic.jsonl").read_text().splitlines())
    if each["status"] == 200 and each["path"].endswith("messages")
]
RESPONSES = [
    each
    for each in map(json.loads, (RECORDINGS / "responses.jsonl").read_text().splitlines())
    if each["status"] == 200 and each["path"].endswith("responses") and each["usage"]
]
PICTURE = "data:image/png;base64,aGVsbG8="
TOOL: Any = {
    "type": "function",
    "name": "look",
    "description": "Look.",
    "parameters": {"type": "object"},
    "strict": True,
}
QUEUED = {"id": "resp_up", "object": "response", "status": "queued", "model": "m", "output": [], "usage": None}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}
DONE = {
    **QUEUED,
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Done.", "annotations": []}],
        }
    ],
    "usage": USAGE,
}


def client_of(gateway: RunningGateway, key: str = MASTER_KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0)


def config(upstream: Upstream, *models: str, **info: Any) -> dict[str, Any]:
    """One group `public` of these deployments, whose ids are their models."""
    return {
        "model_list": [
            {
                "model_name": "public",
                "litellm_params": {"model": model, "api_base": upstream.url, "api_key": "up-key"},
                "model_info": {"id": model, "base_model": "gpt-4o", **info},
            }
            for model in models
        ]
    }


def replaying(exchange: dict[str, Any]) -> Any:
    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(body=exchange["body"].encode(), headers={"content-type": exchange["content_type"]})

    return replay


def answering(body: dict[str, Any]) -> Any:
    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.json_response(body)

    return answer


async def ask(client: openai.AsyncOpenAI, *, stream: bool, **fields: Any) -> Any:
    """Return the response; of a stream, the one that the SDK puts together, after it has seen every event."""
    asked: dict[str, Any] = {"model": "public", "input": "Hi", **fields}
    if not stream:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as events:
        numbers = [event.sequence_number async for event in events]
        assert numbers == sorted(numbers)
        return await events.get_final_response()


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in one_of_each(ANTHROPIC)])
async def test_claude_answers_a_responses_client(exchange: dict[str, Any], tmp_path: Path) -> None:
    is_stream = "event-stream" in exchange["content_type"]
    async with running_upstream() as upstream:
        upstream.answer = replaying(exchange)
        async with running_gateway(tmp_path, config(upstream, "anthropic/claude-sonnet-4-5")) as gateway:
            async with client_of(gateway) as client:
                answer = await ask(client, stream=is_stream, max_output_tokens=50)
            event = await gateway.event()
        asked = upstream.requests[0]
    assert (asked["messages"], asked["max_tokens"]) == (
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        50,
    )
    assert answer.usage.input_tokens == event.usage.input_tokens
    assert answer.usage.output_tokens == event.usage.output_tokens
    assert event.provider_response_id == answer.id
    if is_stream:
        return
    blocks = json.loads(exchange["body"])["content"]
    assert answer.output_text == "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        (block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"
    ]


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in one_of_each(RESPONSES)])
async def test_a_chat_client_gets_what_a_responses_upstream_says(exchange: dict[str, Any], tmp_path: Path) -> None:
    is_stream = "event-stream" in exchange["content_type"]
    async with running_upstream() as upstream:
        upstream.answer = replaying(exchange)
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-5", mode="responses")) as gateway:
            async with client_of(gateway) as client:
                messages: Any = [{"role": "user", "content": "Hi"}]
                if is_stream:
                    async with client.chat.completions.stream(
                        model="public", messages=messages, stream_options={"include_usage": True}
                    ) as events:
                        async for _event in events:
                            pass
                        answer: Any = await events.get_final_completion()
                else:
                    answer = await client.chat.completions.create(model="public", messages=messages)
            event = await gateway.event()
        asked = upstream.requests[0]
    assert asked["input"] == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    assert asked["store"] is False
    assert answer.usage.prompt_tokens == exchange["usage"]["input_tokens"] == event.usage.input_tokens
    assert answer.usage.completion_tokens == exchange["usage"]["output_tokens"] == event.usage.output_tokens
    assert event.call_type == "chat_completion"
    if not is_stream:
        output = json.loads(exchange["body"])["output"]
        parts = [part for item in output if item["type"] == "message" for part in item["content"]]
        assert (answer.choices[0].message.content or "") == "".join(part.get("text", "") for part in parts)
        calls = answer.choices[0].message.tool_calls or ()
        assert [call.id for call in calls] == [item["call_id"] for item in output if item["type"] == "function_call"]


ITEMS: Any = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGFnZXM="},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "s",
    },
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"where": "here"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "A stick."},
    {"role": "user", "content": "So?"},
]
REPLY: Any = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Well.", "signature": "sig"},
        {"type": "text", "text": "It is a tally."},
        {"type": "tool_use", "id": "c2", "name": "look", "input": {"where": "there"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 9, "output_tokens": 5},
}


async def test_tools_results_pictures_and_files_arrive_at_claude(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = answering(REPLY)
        async with (
            running_gateway(tmp_path, config(upstream, "anthropic/claude-sonnet-4-5")) as gateway,
            client_of(gateway) as client,
        ):
            answer = await ask(
                client,
                stream=False,
                input=ITEMS,
                instructions="You count.",
                tools=[TOOL],
                tool_choice="required",
                parallel_tool_calls=False,
                reasoning={"effort": "low"},
                max_output_tokens=5000,
            )
        asked = upstream.requests[0]
    assert [block["text"] for block in asked["system"]] == ["You count.", "Be brief."]
    assert [[block["type"] for block in message["content"]] for message in asked["messages"]] == [
        ["text", "image", "document"],
        ["thinking", "tool_use"],
        ["tool_result", "text"],
    ]
    assert asked["messages"][1]["content"][0]["signature"] == "s"
    assert asked["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert asked["tools"][0]["name"] == "look"
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.output[0].encrypted_content == "sig"
    assert answer.output[2].call_id == "c2"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0 (web_search)"),
        ({"background": True}, "background"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0 (item_reference)"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
async def test_what_only_openai_has_is_refused_by_name_or_dropped(
    fields: dict[str, Any], named: str, tmp_path: Path
) -> None:
    async with running_upstream() as upstream:
        upstream.answer = replaying(next(each for each in ANTHROPIC if "event-stream" not in each["content_type"]))
        async with running_gateway(tmp_path, config(upstream, "anthropic/claude-sonnet-4-5")) as gateway:
            body = {"model": "public", "input": "Hi", **fields}
            status, answer, _headers = await gateway.post("/v1/responses", body)
            assert status == 400
            assert f"'{named}'" in json.loads(answer)["error"]["message"]
            assert upstream.requests == []
            status, _answer, _headers = await gateway.post("/responses", {**body, "drop_params": True})
            assert status == 200


async def test_a_kept_response_is_asked_for_where_it_was_made_and_costs_nothing(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(asked: web.Request, body: dict[str, Any]) -> web.Response:
        seen.append((asked.method, asked.raw_path))
        if asked.path.endswith("input_items"):
            return web.json_response({"object": "list", "data": [], "has_more": False, "first_id": "", "last_id": ""})
        if asked.method == "DELETE":
            return web.json_response({"id": "resp_up", "object": "response", "deleted": True})
        return web.json_response({**DONE, "previous_response_id": body.get("previous_response_id")})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o", "openai/gpt-4o-mini")) as gateway:
            async with client_of(gateway) as client:
                first = await ask(client, stream=False)
                assert first.id != "resp_up"
                maker = upstream.requests[0]["model"]
                for _ in range(6):  # Always the deployment that has it, out of two.
                    second = await ask(client, stream=False, previous_response_id=first.id)
                    assert second.previous_response_id == first.id
                    assert upstream.requests[-1] == {
                        "model": maker, "input": "Hi", "previous_response_id": "resp_up"
                    }  # fmt: skip
                del seen[:]
                assert (await client.responses.retrieve(first.id)).id == first.id
                assert (await client.responses.cancel(first.id)).id == first.id
                assert [item async for item in await client.responses.input_items.list(first.id, limit=5)] == []
                await client.responses.delete(first.id)
            events = await gateway.events(7)
            status, _body, headers = await gateway.post(f"/v1/responses/{first.id}", {})
            assert (status, headers["allow"]) == (405, "GET, DELETE")
    assert len(events) == 7
    assert seen == [
        ("GET", "/v1/responses/resp_up"),
        ("POST", "/v1/responses/resp_up/cancel"),
        ("GET", "/v1/responses/resp_up/input_items?limit=5"),
        ("DELETE", "/v1/responses/resp_up"),
    ]


async def test_only_who_made_a_response_may_touch_it(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = answering(DONE)
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            keys = {
                name: json.loads((await gateway.post("/key/generate", owner))[1])["key"]
                for name, owner in (
                    ("maker", {"user_id": "ada"}),
                    ("same user", {"user_id": "ada"}),
                    ("stranger", {"user_id": "bob"}),
                    ("nobody", {}),
                )
            }

            async def statuses(name: str, response_id: str) -> tuple[int, int]:
                authorization = {"authorization": f"Bearer {keys[name]}"}
                read = await gateway.get(f"/v1/responses/{response_id}", **authorization)
                body = {"model": "public", "input": "Hi", "previous_response_id": response_id}
                continued = await gateway.post("/v1/responses", body, **authorization)
                return read[0], continued[0]

            async with client_of(gateway, keys["maker"]) as client:
                made = (await ask(client, stream=False)).id
            assert await statuses("maker", made) == (200, 200)
            assert await statuses("same user", made) == (200, 200)
            asked = len(upstream.requests)
            assert await statuses("stranger", made) == (403, 403)
            assert await statuses("nobody", made) == (403, 403)
            assert await statuses("maker", "resp_up") == (404, 400)
            assert await statuses("maker", made[:-2] + "AA") == (404, 400)
            assert len(upstream.requests) == asked

            bare = Principal(key_hash=hash_key(keys["stranger"]), team_id="t")
            deployment: Deployment = gateway.services.snapshot().deployments()["openai/gpt-4o"]
            of_team = gateway.services.responses.ids.find(
                gateway.services.responses.ids.teller(bare, deployment)("r"), Principal(key_hash="other", team_id="t")
            )
            assert of_team.upstream_id == "r"


async def test_a_response_of_another_model_can_not_be_continued(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = answering(DONE)
        settings = config(upstream, "openai/gpt-4o")
        other = {**settings["model_list"][0], "model_name": "other", "model_info": {"id": "other"}}
        settings["model_list"].append(other)
        async with running_gateway(tmp_path, settings) as gateway, client_of(gateway) as client:
            made = await ask(client, stream=False)
            with pytest.raises(openai.BadRequestError) as refused:
                await ask(client, stream=False, model="other", previous_response_id=made.id)
    assert refused.value.param == "previous_response_id"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("last", "status", "source"),
    [
        (DONE, "success", "provider"),
        (
            {**DONE, "status": "failed", "error": {"code": "server_error", "message": "It broke."}},
            "failure",
            "provider",
        ),
        ({**QUEUED, "status": "cancelled"}, "interrupted", "estimated"),
        (None, "interrupted", "estimated"),
    ],
)
async def test_the_background_is_charged_once_when_it_is_known(
    last: dict[str, Any] | None, status: str, source: str, tmp_path: Path
) -> None:
    looks = 0

    async def answer(asked: web.Request, _body: dict[str, Any]) -> web.Response:
        nonlocal looks
        if asked.method == "GET":
            looks += 1
            if looks > 1 and last is None:
                return web.json_response({"error": {"message": "gone"}}, status=404)
            return web.json_response(last if looks > 1 else {**QUEUED, "status": "in_progress"})
        return web.json_response(QUEUED)

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            async with client_of(gateway) as client:
                begun = await ask(client, stream=False, background=True)
                assert begun.status == "queued"
            async with asyncio.timeout(20):
                event = await gateway.event()
            watch = gateway.services.responses.watch
            await watch.look_at("openai/gpt-4o", "resp_up")  # Nothing is watched any more.
            assert len(await gateway.events(1)) == 1
    assert (event.status, event.usage_source, event.provider_response_id) == (status, source, "resp_up")
    if source == "provider":
        assert (event.usage.input_tokens, event.usage.cache_read_tokens, event.usage.output_tokens) == (9, 4, 5)
        assert event.cost_nano_usd > 0
    else:
        assert event.usage.input_tokens > 0


async def test_a_response_in_the_background_is_looked_at_before_it_is_deleted(tmp_path: Path) -> None:
    async def answer(asked: web.Request, _body: dict[str, Any]) -> web.Response:
        if asked.method == "DELETE":
            return web.json_response({"id": "resp_up", "object": "response", "deleted": True})
        return web.json_response(DONE if asked.method == "GET" else QUEUED)

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            async with client_of(gateway) as client:
                begun = await ask(client, stream=False, background=True)
                await client.responses.delete(begun.id)
            event = await gateway.event()
    assert (event.status, event.usage.output_tokens) == ("success", 5)


async def test_a_server_that_stops_ends_what_is_in_the_background(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = answering(QUEUED)
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            async with client_of(gateway) as client:
                await ask(client, stream=False, background=True)
            await gateway.services.responses.watch.stop()
            event = await gateway.event()
    assert (event.status, event.usage_source) == ("interrupted", "estimated")


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_stream_of_the_background_that_is_left_is_charged_when_it_is_known(
    tmp_path: Path, breaks: bool
) -> None:
    """The upstream goes on, and bills it, whether or not anybody reads the stream."""
    created = {"type": "response.created", "sequence_number": 0, "response": {**QUEUED, "status": "in_progress"}}

    async def answer(asked: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        if asked.method == "GET":
            return web.json_response(DONE)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(asked)
        # An event leaves when the next one has begun.
        await response.write(2 * (b"event: response.created\ndata: " + json.dumps(created).encode() + b"\n\n"))
        if breaks:
            await asyncio.sleep(0.05)
            assert asked.transport is not None
            asked.transport.abort()
        await asyncio.sleep(3600)
        return response

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            body = {"model": "public", "input": "x", "stream": True, "background": True}
            async with gateway._session.post(
                gateway.url + "/v1/responses", json=body, headers={"authorization": f"Bearer {MASTER_KEY}"}
            ) as stream:
                assert await stream.content.readany()
                if breaks:
                    await stream.read()
            async with asyncio.timeout(20):
                event = await gateway.event()
    assert (event.status, event.usage_source, event.usage.output_tokens) == ("success", "provider", 5)


async def test_two_calls_that_get_the_same_response_are_two_events(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = answering(QUEUED)
        async with running_gateway(tmp_path, config(upstream, "openai/gpt-4o")) as gateway:
            async with client_of(gateway) as client:
                await ask(client, stream=False, background=True)
                await ask(client, stream=False, background=True)
            await gateway.services.responses.watch.stop()
            events = [each.event for each in await gateway.events(2)]
    assert [event.usage_source for event in events] == ["estimated", "estimated"]
