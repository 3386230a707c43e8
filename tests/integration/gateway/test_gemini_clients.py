"""Google's own SDK, calling models whose upstreams speak OpenAI's dialect; and OpenAI's, calling a Gemini model."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from google import genai
from google.genai import errors, types

from distinct import one_of_each
from gateway_kit import MASTER_KEY, RunningGateway, running_gateway, scripted
from upstream import running_upstream

# What Google's SDK does with its own HTTP client is not ours.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
CHATS = [
    exchange
    for exchange in map(json.loads, (RECORDINGS / "exchanges.jsonl").read_text().splitlines())
    if exchange["path"].endswith("chat/completions")
]
STREAM = next(
    exchange
    for exchange in map(json.loads, (RECORDINGS / "gemini.jsonl").read_text().splitlines())
    if exchange["id"] == "29bfbf077507"
)
PICTURE = base64.b64encode(b"a picture").decode()
LOOK = {"name": "look", "description": "Look.", "parametersJsonSchema": {"type": "object", "properties": {}}}
SIGNATURE = base64.b64encode(b"a thought").decode()


@asynccontextmanager
async def google_client(gateway: RunningGateway) -> AsyncIterator[Any]:
    options = types.HttpOptions(base_url=gateway.url)
    client = genai.Client(api_key=MASTER_KEY, vertexai=False, http_options=options)
    try:
        yield client.aio.models
    finally:
        await client.aio.aclose()
        client.close()


async def ask_google(models: Any, *, stream: bool, contents: Any = "Hi", **config: Any) -> list[Any]:
    """Return the answer, or those that a stream is made of."""
    asked = {"model": "public", "contents": contents, "config": types.GenerateContentConfig(**config)}
    if not stream:
        return [await models.generate_content(**asked)]
    return [chunk async for chunk in await models.generate_content_stream(**asked)]


def openai_config(api_base: str, **params: Any) -> dict[str, Any]:
    params = {"model": "openai/gpt-4o", "api_base": api_base, "api_key": "k", **params}
    return {"model_list": [{"model_name": "public", "litellm_params": params}]}


def gemini_config(api_base: str, model: str = "gemini-2.5-flash", **params: Any) -> dict[str, Any]:
    params = {"model": f"gemini/{model}", "api_base": api_base, "api_key": "k", **params}
    return {"model_list": [{"model_name": "public", "litellm_params": params}]}


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in one_of_each(CHATS)])
async def test_a_recorded_answer(exchange: dict[str, Any], tmp_path: Path) -> None:
    recorded = exchange["body"].encode()
    is_stream = "event-stream" in exchange["content_type"]

    async def replay(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.Response(body=recorded, headers={"content-type": exchange["content_type"]})

    failed_with = ""
    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, openai_config(upstream.url)) as gateway:
            async with google_client(gateway) as models:
                try:
                    answers = await ask_google(models, stream=is_stream)
                except errors.APIError as error:  # It failed after it had begun with 200, when it was recorded.
                    answers, failed_with = [], str(error)
            event = await gateway.event()
        asked = upstream.requests[0]

    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    if event.status == "failure":
        assert is_stream
        assert event.error_message in (failed_with or answers[-1].model_dump_json())
        return
    usage = answers[-1].usage_metadata
    if event.usage_source == "provider":
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        assert usage.prompt_token_count == (event.usage.input_tokens or 0)
        assert output == max(event.usage.output_tokens or 0, event.usage.reasoning_tokens or 0)
    assert answers[-1].candidates[0].finish_reason is not None
    if not is_stream:
        choice = json.loads(exchange["body"])["choices"][0]
        message = choice["message"]
        parts = answers[0].candidates[0].content.parts or []
        if isinstance(message.get("content"), str):
            assert "".join(part.text for part in parts if part.text and not part.thought) == message["content"]
        assert [
            (part.function_call.id, part.function_call.name, part.function_call.args)
            for part in parts
            if part.function_call
        ] == [
            (call["id"] or None, call["function"]["name"], json.loads(call["function"].get("arguments") or "{}"))
            for call in message.get("tool_calls") or ()
        ]
        stops = {"length": "MAX_TOKENS"}
        assert answers[0].candidates[0].finish_reason.value == stops.get(choice["finish_reason"], "STOP")


GOOGLE_CONTENTS: list[Any] = [
    {
        "role": "user",
        "parts": [
            {"text": "What is this?"},
            {"inline_data": {"mime_type": "image/png", "data": PICTURE}},
            {"file_data": {"mime_type": "image/png", "file_uri": "https://pictures.example/1.png"}},
        ],
    },
    {
        "role": "model",
        "parts": [
            {"text": "Hm.", "thought": True},
            {"function_call": {"name": "look", "args": {"where": "here"}}},
            {"function_call": {"id": "own", "name": "look", "args": {}}},
        ],
    },
    {
        "role": "user",
        "parts": [
            {"function_response": {"name": "look", "response": {"result": "A stick."}}},
            {"function_response": {"id": "own", "name": "look", "response": {"sticks": 2}}},
        ],
    },
]
GOOGLE_CONFIG: dict[str, Any] = {
    "system_instruction": "Be brief.",
    "tools": [{"function_declarations": [LOOK]}],
    "tool_config": {"function_calling_config": {"mode": "ANY"}},
    "automatic_function_calling": {"disable": True},
    "temperature": 0.5,
    "max_output_tokens": 77,
    "stop_sequences": ["END"],
    "seed": 3,
    "response_mime_type": "application/json",
    "response_schema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": True}}},
    "thinking_config": {"thinking_budget": 4000},
}


async def call_a_tool(asked: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    function = {"name": "look", "arguments": '{"where": "there"}'}
    call = {"id": "c9", "type": "function", "function": function}
    usage = {
        "prompt_tokens": 90,
        "completion_tokens": 20,
        "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 8},
    }
    head = {"id": "chatcmpl-1", "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        return web.json_response({**head, "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(asked)
    begun = {**call, "index": 0, "function": {**function, "arguments": '{"whe'}}
    rest = {"index": 0, "function": {"arguments": 're": "there"}'}}
    for delta in ({"content": "I "}, {"content": "look."}, {"tool_calls": [begun]}, {"tool_calls": [rest]}):
        chunk = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    await response.write(b"data: " + json.dumps(end).encode() + b"\n\n")
    await response.write(b"data: " + json.dumps({**head, "choices": [], "usage": usage}).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_results_and_pictures_of_a_google_client_arrive(stream: bool, tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = call_a_tool
        async with running_gateway(tmp_path, openai_config(upstream.url)) as gateway:
            async with google_client(gateway) as models:
                answers = await ask_google(models, stream=stream, contents=GOOGLE_CONTENTS, **GOOGLE_CONFIG)
            event = await gateway.event()
        asked = upstream.requests[0]

    check_what_openai_was_asked(asked)
    parts = [part for each in answers for part in each.candidates[0].content.parts or ()]
    assert "".join(part.text or "" for part in parts) == "I look."
    [call] = [part.function_call for part in parts if part.function_call]
    assert (call.id, call.name, call.args) == ("c9", "look", {"where": "there"})
    usage = answers[-1].usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (90, 40)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (12, 8, 110)
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.reasoning_tokens) == (90, 20, 8)
    assert event.provider_response_id == answers[0].response_id == "chatcmpl-1"


def check_what_openai_was_asked(asked: dict[str, Any]) -> None:
    messages = asked["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
    ]
    calls = messages[2]["tool_calls"]
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == [
        ("look", {"where": "here"}),
        ("look", {}),
    ]
    assert [(each["role"], each["tool_call_id"]) for each in messages[3:]] == [
        ("tool", calls[0]["id"]),
        ("tool", "own"),
    ]
    assert (messages[3]["content"], json.loads(messages[4]["content"])) == ("A stick.", {"sticks": 2})
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look.", "parameters": LOOK["parametersJsonSchema"]},
        }
    ]
    assert (asked["tool_choice"], asked["temperature"], asked["stop"], asked["seed"]) == ("required", 0.5, ["END"], 3)
    assert (asked["max_completion_tokens"], asked["reasoning_effort"]) == (77, "medium")
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema == {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}


async def test_a_google_client_is_told_what_is_wrong(tmp_path: Path) -> None:
    async with (
        running_upstream() as upstream,
        running_gateway(tmp_path, scripted(upstream.url, "status:429", "stream", "reset")) as gateway,
    ):
        async with google_client(gateway) as models:
            with pytest.raises(errors.ClientError) as refused:
                await models.generate_content(model="status:429", contents="Hi")
            assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
            assert refused.value.message == "upstream says 429"
            with pytest.raises(errors.ClientError) as unknown:
                await models.generate_content(model="nobody", contents="Hi")
            assert (unknown.value.code, unknown.value.status) == (400, "INVALID_ARGUMENT")
            tools = [types.Tool(google_search=types.GoogleSearch())]
            with pytest.raises(errors.ClientError) as unsaid:
                await models.generate_content(
                    model="stream", contents="Hi", config=types.GenerateContentConfig(tools=tools)
                )
            assert "'tools.0.googleSearch'" in str(unsaid.value)
            counted = await models.count_tokens(model="stream", contents="Who owes whom?")
            assert counted.total_tokens > 3
        # A stream that breaks, as an array: still one JSON value.
        body = {"contents": [{"parts": [{"text": "Hi"}]}]}
        status, said, _ = await gateway.post("/v1beta/models/reset:streamGenerateContent", body)
        *_, last = json.loads(said)
        assert (status, last["error"]["code"], last["error"]["status"]) == (200, 502, "INTERNAL")
        status, said, _ = await gateway.post("/v1beta/models/reset:streamGenerateContent?alt=sse", body)
        assert b'"status":"INTERNAL"' in said.split(b"\r\n\r\n")[-2]
        wrong = {"authorization": "", "x-goog-api-key": "sk-wrong"}
        status, said, _ = await gateway.post("/v1beta/models/stream:generateContent", body, **wrong)
        error = json.loads(said)["error"]
        assert (status, error["code"], error["status"]) == (401, 401, "UNAUTHENTICATED")
        assert error["details"][0]["reason"] == "AUTH_ERROR"


async def test_the_gateway_s_own_fields_stay_here(tmp_path: Path) -> None:
    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        return web.json_response({"candidates": [{"content": {"parts": [{"text": "Yes."}]}, "finishReason": "STOP"}]})

    own = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"temperature": 1.0}}
    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, gemini_config(upstream.url)) as gateway:
            body = {**own, "litellm_metadata": {"tags": ["a"]}, "tags": ["b"], "model": "ignored"}
            status, _said, _ = await gateway.post("/v1beta/models/public:generateContent", body)
            event = await gateway.event()
        assert upstream.requests == [own]
    assert (status, set(event.tags), event.model_group) == (200, {"a", "b"}, "public")
    assert (event.usage_source, event.endpoint) == ("estimated", "/v1/generateContent")


FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"where": "here"}'}}
SIGNED = {**CALL, "id": "c2", "extra_content": {"google": {"thought_signature": SIGNATURE}}}
OPENAI_MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/1.webp?x=1"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGFnZXM="}},
            {"type": "input_audio", "input_audio": {"data": "c291bmQ=", "format": "wav"}},
        ],
    },
    {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL, SIGNED]},
    {"role": "tool", "tool_call_id": "c1", "content": "A stick."},
    {"role": "tool", "tool_call_id": "c2", "content": '{"sticks": 2}'},
    {"role": "user", "content": "So?"},
]
GEMINI_REQUEST: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
                {"fileData": {"fileUri": "https://pictures.example/1.webp?x=1", "mimeType": "image/webp"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "cGFnZXM="}},
                {"inlineData": {"mimeType": "audio/wav", "data": "c291bmQ="}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"id": "c1", "name": "look", "args": {"where": "here"}},
                    "thoughtSignature": "skip_thought_signature_validator",
                },
                {
                    "functionCall": {"id": "c2", "name": "look", "args": {"where": "here"}},
                    "thoughtSignature": SIGNATURE,
                },
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "look", "response": {"result": "A stick."}}},
                {"functionResponse": {"id": "c2", "name": "look", "response": {"sticks": 2}}},
                {"text": "So?"},
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "look", "description": "Look.", "parametersJsonSchema": FUNCTION["parameters"]}
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
    "generationConfig": {
        "temperature": 0.5,
        "seed": 3,
        "maxOutputTokens": 5000,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "medium"},
    },
}
GEMINI_USAGE = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 300,
    "toolUsePromptTokenCount": 10,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 40,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 700},
        {"modality": "AUDIO", "tokenCount": 200},
        {"modality": "IMAGE", "tokenCount": 100},
    ],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 250}, {"modality": "AUDIO", "tokenCount": 50}],
}


async def think_and_call_tools(asked: web.Request, _body: dict[str, Any]) -> web.Response:
    assert asked.path == "/v1/models/gemini-3-flash-preview:generateContent"
    parts = [
        {"text": "Let me see.", "thought": True},
        {"functionCall": {"name": "look", "args": {"where": "there"}}, "thoughtSignature": SIGNATURE},
        {"functionCall": {"name": "look", "args": {}}},
    ]
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}
    return web.json_response({"candidates": [candidate], "usageMetadata": GEMINI_USAGE, "responseId": "r_1-x"})


async def test_what_an_openai_client_says_arrives(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.answer = think_and_call_tools
        async with running_gateway(tmp_path, gemini_config(upstream.url, "gemini-3-flash-preview")) as gateway:
            async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0) as client:
                said = await client.chat.completions.create(
                    model="public",
                    messages=OPENAI_MESSAGES,
                    tools=[{"type": "function", "function": FUNCTION}],  # type: ignore[list-item]
                    tool_choice={"type": "function", "function": {"name": "look"}},
                    max_completion_tokens=5000,
                    stop="END",
                    temperature=0.5,
                    seed=3,
                    user="ada",
                    reasoning_effort="medium",
                    response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
                )
                message = said.choices[0].message
                await client.chat.completions.create(
                    model="public",
                    messages=[
                        {"role": "user", "content": "Hi"},
                        message.model_dump(exclude_none=True),  # type: ignore[list-item]
                        *({"role": "tool", "tool_call_id": c.id, "content": "ok"} for c in message.tool_calls or ()),
                    ],
                )
            event = (await gateway.events(2))[0].event
        asked, again = upstream.requests

    assert asked == GEMINI_REQUEST
    calls = message.tool_calls or []
    assert [call.id for call in calls] == ["call_r_1-x_1", "call_r_1-x_2"]
    assert said.choices[0].finish_reason == "tool_calls"
    assert (message.model_extra or {})["reasoning_content"] == "Let me see."
    first, second = again["contents"][1]["parts"]
    assert first["thoughtSignature"] == SIGNATURE
    assert "thoughtSignature" not in second
    assert [part["functionResponse"]["name"] for part in again["contents"][2]["parts"]] == ["look", "look"]
    counted = event.usage
    assert (counted.input_tokens, counted.output_tokens, counted.reasoning_tokens) == (1010, 70, 40)
    assert (counted.cache_read_tokens, counted.audio_cache_read_tokens) == (300, 50)
    assert (counted.audio_input_tokens, counted.image_input_tokens) == (150, 100)
    assert event.cost_breakdown == {  # $0.5, $3, $0.05 from the cache, $1 and $0.1 for sound.
        "input": (1010 - 300 - 150) * 500,
        "output": 70 * 3000,
        "cache_read": 250 * 50,
        "audio_input": 150 * 1000,
        "audio_cache_read": 50 * 100,
    }


async def test_long_prompts_have_another_price(tmp_path: Path) -> None:
    counts = iter((200_000, 200_001))

    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        usage = {"promptTokenCount": next(counts), "candidatesTokenCount": 1000}
        candidate = {"content": {"parts": [{"text": "Yes."}]}, "finishReason": "STOP"}
        return web.json_response({"candidates": [candidate], "usageMetadata": usage})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, gemini_config(upstream.url, "gemini-2.5-pro")) as gateway:
            for _ in range(2):
                await gateway.chat("public")
            short, long = (each.event.cost_nano_usd for each in await gateway.events(2))
    assert short == 200_000 * 1250 + 1000 * 10_000
    assert long == 200_001 * 2500 + 1000 * 15_000


async def test_a_prompt_that_is_blocked(tmp_path: Path) -> None:
    async def answer(_asked: web.Request, _body: dict[str, Any]) -> web.Response:
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        return web.json_response({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 9}})

    async with running_upstream() as upstream:
        upstream.answer = answer
        async with running_gateway(tmp_path, gemini_config(upstream.url)) as gateway:
            status, body, _ = await gateway.chat("public")
            event = await gateway.event()
    choice = json.loads(body)["choices"][0]
    assert (status, choice["finish_reason"], choice["message"]["content"]) == (200, "content_filter", None)
    assert (event.usage.input_tokens, event.usage.output_tokens) == (9, None)


@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_a_stream_in_pieces_is_translated_as_it_comes(pieces: int, tmp_path: Path) -> None:
    recorded = STREAM["body"].encode()

    async def replay(asked: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        assert str(asked.rel_url).endswith(":streamGenerateContent?alt=sse")
        response = web.StreamResponse(headers={"content-type": STREAM["content_type"]})
        await response.prepare(asked)
        size = max(1, len(recorded) // pieces)
        for start in range(0, len(recorded), size):
            await response.write(recorded[start : start + size])
        return response

    async with running_upstream() as upstream:
        upstream.answer = replay
        async with running_gateway(tmp_path, gemini_config(upstream.url, "gemini-2.5-pro")) as gateway:
            async with gateway.open_stream("public", stream_options={"include_usage": True}) as response:
                body = (await response.read()).decode()
            event = await gateway.event()
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    answers = [json.loads(line[6:]) for line in STREAM["body"].splitlines() if line.startswith("data: ")]
    parts = [part for each in answers for part in each["candidates"][0]["content"].get("parts", ())]
    text = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    assert text
    assert text == "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert body.endswith("data: [DONE]\n\n")
    assert chunks[-1]["usage"]["completion_tokens"] == event.usage.output_tokens
    assert event.status == "success"


async def test_a_stream_that_says_it_failed(tmp_path: Path) -> None:
    async def fail(asked: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(asked)
        begun = {"candidates": [{"content": {"parts": [{"text": "So"}]}}], "usageMetadata": {"promptTokenCount": 5}}
        error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
        for event in (begun, error):
            await response.write(b"data: " + json.dumps(event).encode() + b"\r\n\r\n")
        return response

    async with running_upstream() as upstream:
        upstream.answer = fail
        async with running_gateway(tmp_path, gemini_config(upstream.url)) as gateway:
            async with google_client(gateway) as models:
                with pytest.raises(errors.ServerError, match="overloaded"):
                    await ask_google(models, stream=True)
            async with gateway.open_stream("public") as response:
                assert "The model is overloaded." in (await response.text())
            events = [each.event for each in await gateway.events(2)]
    assert [(each.status, each.error_code, each.usage.input_tokens) for each in events] == [("failure", "503", 5)] * 2
