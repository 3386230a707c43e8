"""Gemini's dialect: neutral -> dialect -> neutral keeps what it can say; streams in any pieces mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import BadRequest, Untranslatable, UpstreamGarbled
from tallystick.wire.anthropic.caller import AnthropicCaller
from tallystick.wire.anthropic.request import parse_messages
from tallystick.wire.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tallystick.wire.gemini.answer import read_facts
from tallystick.wire.gemini.caller import GeminiCaller
from tallystick.wire.gemini.native import GeminiStream
from tallystick.wire.gemini.request import (
    GEMINI,
    GEMINI_ARRAY,
    parse_gemini,
    parse_gemini_array,
    parse_gemini_stream,
    upstream_body,
)
from tallystick.wire.gemini.results import read_result, write_result
from tallystick.wire.gemini.thinking import write_thinking
from tallystick.wire.gemini.upstream import Gemini
from tallystick.wire.openai.chat_caller import OpenAIChatCaller
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import parse_request
from tallystick.wire.reply import Begun, PartBegun, PartEnded, PartGrown, Reply, Stopped, StopReason, UsageTold
from tallystick.wire.reported import ReportedError
from tallystick.wire.translation import TranslatedStream, translate
from tallystick.wire.usage import Usage

UPSTREAM = Gemini()
OPENAI = OpenAIChat(asks_usage=True, names_completion_tokens=True)
CALLER = GeminiCaller()
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "gemini.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
STREAMS = [each for each in EXCHANGES if "event-stream" in each["content_type"]]

words = st.text(min_size=1, max_size=20)
signatures = st.just("") | st.from_regex(r"[A-Za-z0-9+/]{4,12}={0,2}", fullmatch=True)
json_objects = st.dictionaries(words, st.integers(-(2**53), 2**53) | words, max_size=2).map(json.dumps)
texts = st.builds(Text, words)
media = st.sampled_from(
    [
        Image(data="aGk=", media_type="image/png"),
        Image(url="https://pictures.example/a.png", media_type="image/png"),
        Document(data="aGk=", media_type="application/pdf"),
        Document(url="https://files.example/a.pdf", media_type="application/pdf"),
        Audio(data="aGk=", format="wav"),
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What Gemini can say: each result answers a call, by its id and its name."""
    messages: list[Message] = []
    open_calls: list[ToolCall] = []
    for number in range(draw(st.integers(1, 3))):
        results = tuple(
            ToolResult(call_id=call.id, name=call.name, parts=(draw(texts),), is_error=draw(st.booleans()))
            for call in open_calls
        )
        messages.append(Message("user", (*results, *draw(st.lists(texts | media, min_size=1, max_size=3)))))
        open_calls = [
            ToolCall(
                id=f"c{number}{position}", name=draw(words), arguments=draw(json_objects), signature=draw(signatures)
            )
            for position in range(draw(st.integers(0, 2)))
        ]
        messages.append(Message("assistant", (*draw(st.lists(texts, min_size=1, max_size=2)), *open_calls)))
    tools = st.builds(Tool, name=words, description=words, parameters=st.just(msgspec.Raw(b'{"type":"object"}')))
    choices = [None, ToolChoice("auto"), ToolChoice("any"), ToolChoice("none"), ToolChoice("tool", "t")]
    formats = [None, ResponseFormat(), ResponseFormat(schema=msgspec.Raw(b'{"type":"object"}'))]
    numbers = st.none() | st.floats(0.5, 1)
    return Conversation(
        messages=tuple(messages),
        system=tuple(draw(st.lists(texts, max_size=2))),
        tools=tuple(draw(st.lists(tools, min_size=1, max_size=2))),
        tool_choice=draw(st.sampled_from(choices)),
        max_tokens=draw(st.none() | st.integers(1, 10**6)),
        stop=tuple(draw(st.lists(words, max_size=2))),
        temperature=draw(numbers),
        top_p=draw(numbers),
        top_k=draw(st.none() | st.integers(1, 100)),
        seed=draw(st.none() | st.integers(0, 2**31)),
        frequency_penalty=draw(numbers),
        presence_penalty=draw(numbers),
        response_format=draw(st.sampled_from(formats)),
        reasoning=draw(st.sampled_from([None, Reasoning(budget_tokens=2000), Reasoning(adaptive=True)])),
        stream=draw(st.booleans()),
    )


def plain(conversation: Conversation) -> Any:
    """Return it as JSON values, so that schemas and arguments are compared by what they mean."""

    def meant(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: json.loads(v) if k == "arguments" else meant(v) for k, v in value.items()}
        return [meant(item) for item in value] if isinstance(value, list) else value

    wanted = conversation.response_format
    if wanted is not None and not bytes(wanted.schema):  # Nothing can't be encoded.
        wanted = msgspec.structs.replace(wanted, schema=msgspec.Raw(b"null"))
        conversation = msgspec.structs.replace(conversation, response_format=wanted)
    return meant(msgspec.json.decode(msgspec.json.encode(conversation)))


@given(conversations())
def test_gemini_keeps_what_it_can_say(conversation: Conversation) -> None:
    written = UPSTREAM.write_request(conversation, model="gemini-2.5-flash")
    assert written.unsaid == ()
    parse = parse_gemini_stream if conversation.stream else parse_gemini
    back = CALLER.read_request(parse("generateContent", written.body, model_in_path="m"))
    assert plain(back) == plain(conversation)


@given(conversations())
def test_every_conversation_goes_through_openai_s_dialect(conversation: Conversation) -> None:
    request = parse_gemini(
        "generateContent", UPSTREAM.write_request(conversation, model="gemini-2.5-flash").body, model_in_path="m"
    )
    written = translate(request, CALLER, OPENAI, model="x", drop_params=True)
    back = OpenAIChatCaller().read_request(parse_request("chat/completions", written.body))
    said = [part.text for message in conversation.messages for part in message.parts if isinstance(part, Text)]
    told = [part.text for message in back.messages for part in message.parts if isinstance(part, Text)]
    assert "".join(told) == "".join(said)  # An answer's texts become one.
    calls = [part for message in back.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part for message in back.messages for part in message.parts if isinstance(part, ToolResult)]
    assert {result.call_id for result in results} <= {call.id for call in calls}


@given(words | json_objects | st.just('{"result": "x"}') | st.just("[1]") | st.just("null"), st.booleans())
def test_a_result_stays_what_it_was(text: str, is_error: bool) -> None:
    assert read_result(bytes(write_result(text, is_error=is_error))) == (text, is_error)


usages = st.builds(
    lambda fresh, read, output, thought: Usage(
        input_tokens=fresh + read,
        output_tokens=output + thought,
        cache_read_tokens=read,
        reasoning_tokens=thought or None,
    ),
    *[st.integers(0, 10**6)] * 4,
)
reasons: list[StopReason] = ["end", "max_tokens", "refusal"]
replies = st.builds(
    lambda thought, text, calls, reason, usage: Reply(
        id="1",
        model="m",
        parts=(*thought, Text(text), *calls),
        stop_reason="tool_calls" if calls and reason == "end" else reason,
        usage=usage,
    ),
    st.lists(st.builds(Thinking, text=words), max_size=1),
    words,
    st.lists(st.builds(ToolCall, id=words, name=words, arguments=json_objects, signature=signatures), max_size=2),
    st.sampled_from(reasons),
    usages,
)


def plain_parts(reply: Reply) -> list[Any]:
    return [
        (part.id, part.name, json.loads(part.arguments), part.signature) if isinstance(part, ToolCall) else part
        for part in reply.parts
    ]


@given(replies)
def test_an_answer_stays_what_it_was(reply: Reply) -> None:
    back = UPSTREAM.read_reply(CALLER.write_reply(reply, created=1))
    assert plain_parts(back) == plain_parts(reply)
    assert (back.id, back.model, back.stop_reason, back.usage) == (
        reply.id,
        reply.model,
        reply.stop_reason,
        reply.usage,
    )


def deltas_of(reply: Reply) -> list[Any]:
    deltas: list[Any] = [Begun(id=reply.id, model=reply.model)]
    for index, part in enumerate(reply.parts):
        if isinstance(part, ToolCall):
            deltas.append(PartBegun(index, msgspec.structs.replace(part, arguments=part.arguments[:2])))
            deltas.append(PartGrown(index, part.arguments[2:]))
        else:
            deltas.append(PartBegun(index, Thinking() if isinstance(part, Thinking) else Text("")))
            deltas += (PartGrown(index, letter) for letter in part.text)
        deltas.append(PartEnded(index))
    assert reply.stop_reason is not None
    assert reply.usage is not None
    return [*deltas, UsageTold(usage=reply.usage), Stopped(reply.stop_reason)]


@given(replies, st.sampled_from([GEMINI, GEMINI_ARRAY]))
def test_a_stream_says_what_the_answer_does(reply: Reply, form: str) -> None:
    request = parse_gemini_stream("generateContent", b'{"contents": []}', model_in_path="m")
    writer = GeminiCaller(form).stream_writer(request, created=1)
    body = b"".join(writer.write(delta) for delta in deltas_of(reply)) + writer.finish()
    if form == GEMINI_ARRAY:
        body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in json.loads(body))
    reader = UPSTREAM.stream_reader()
    back = [*reader.feed(body), *reader.finish()]
    text = "".join(delta.text for delta in back if isinstance(delta, PartGrown))
    assert text == "".join(part.text for part in reply.parts if isinstance(part, Text | Thinking))
    calls = [each.part for each in back if isinstance(each, PartBegun) and isinstance(each.part, ToolCall)]
    assert [(c.id, c.name, json.loads(c.arguments), c.signature) for c in calls] == [
        each for each in plain_parts(reply) if isinstance(each, tuple)
    ]
    assert [each.reason for each in back if isinstance(each, Stopped)] == [reply.stop_reason]
    assert [each for each in back if isinstance(each, UsageTold)][-1] == UsageTold(usage=reply.usage)
    open_parts = [each.index for each in back if isinstance(each, PartBegun)]
    assert [each.index for each in back if isinstance(each, PartEnded)] == open_parts == list(range(len(open_parts)))


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in STREAMS])
@given(data=st.data())
def test_a_stream_in_any_pieces(exchange: dict[str, Any], data: st.DataObject) -> None:
    recorded = exchange["body"].encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(recorded)), max_size=20)))
    pieces = [recorded[start:end] for start, end in zip([0, *cuts], [*cuts, len(recorded)], strict=True)]
    native, array = GeminiStream(as_array=False), GeminiStream(as_array=True)
    passed = [native.feed(piece) for piece in pieces]
    end = native.finish()
    assert b"".join(passed) + end == recorded
    assert b'"finishReason"' in end  # The last event waits for the ledger.
    assert b'"finishReason"' not in b"".join(passed)
    listed = b"".join(array.feed(piece) for piece in pieces) + array.finish()
    answers = [json.loads(line[6:]) for line in exchange["body"].splitlines() if line.startswith("data: ")]
    assert json.loads(listed) == answers
    assert native.usage == array.usage == read_facts(json.dumps(answers[-1]).encode()).usage
    request = parse_request("chat/completions", b'{"model": "m", "messages": [{}], "stream": true}')
    whole = TranslatedStream(request, OpenAIChatCaller(), UPSTREAM, created=1)
    said = whole.feed(recorded) + whole.finish()
    cut = TranslatedStream(request, OpenAIChatCaller(), UPSTREAM, created=1)
    assert b"".join(cut.feed(piece) for piece in pieces) + cut.finish() == said
    assert cut.usage == native.usage


def test_an_event_that_is_too_long_to_read_passes_in_both_forms() -> None:
    long = {"candidates": [{"content": {"parts": [{"inlineData": {"data": "A" * (9 * 1024 * 1024)}}]}}]}
    short = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 5}}
    events = [b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in (short, long, short)]
    events[0] = b": a comment\r\n\r\n" + events[0].replace(b'"finishReason": "STOP"', b'"index": 0')
    body = b"".join(events)
    for as_array in (False, True):
        stream = GeminiStream(as_array=as_array)
        passed = b"".join(stream.feed(body[start : start + 300_000]) for start in range(0, len(body), 300_000))
        passed += stream.finish()
        assert (json.loads(passed)[1:] == [long, short]) if as_array else (passed == body)
        assert stream.unscanned_events == 1
        assert stream.usage == Usage(input_tokens=5)


def test_a_stream_that_fails_at_once_is_an_array_still() -> None:
    for events in (b'data: {"error": {"message": "No."}}\n\n', b""):
        stream = TranslatedStream(
            parse_gemini_array("generateContent", b'{"contents": []}', model_in_path="m"),
            GeminiCaller(GEMINI_ARRAY),
            OPENAI,
            created=1,
        )
        body = json.loads(stream.feed(events) + stream.finish())
        assert body[0] == {}
        assert body[-1]["error"]["status"] == "INTERNAL"


def test_an_empty_stream_is_an_empty_array() -> None:
    stream = GeminiStream(as_array=True)
    assert stream.feed(b"") + stream.finish() == b"[]"


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in EXCHANGES if each["status"] == 200])
def test_every_recorded_request_goes_through_openai_s_dialect(exchange: dict[str, Any]) -> None:
    if "enerateContent" not in exchange["path"]:
        return
    raw = json.dumps(exchange["request"]).encode()
    request = parse_gemini("generateContent", raw, model_in_path="m")
    assert upstream_body(request, model="x") == raw
    written = translate(request, CALLER, OPENAI, model="x", drop_params=True)
    messages = json.loads(written.body)["messages"]
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert all(message["tool_call_id"] in calls for message in messages if message["role"] == "tool")
    names = [tool["function"]["name"] for tool in json.loads(written.body).get("tools", ())]
    tools = exchange["request"].get("tools") or []
    declared = [
        each["name"]
        for kinds in (tools if isinstance(tools, list) else [tools])
        for each in kinds.get("functionDeclarations") or kinds.get("function_declarations") or ()
    ]
    assert names == declared


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["id"]) for each in EXCHANGES if each["status"] == 200])
def test_every_recorded_answer_goes_through_anthropic_s_dialect(exchange: dict[str, Any]) -> None:
    if "enerateContent" not in exchange["path"]:
        return
    body = exchange["body"].encode()
    if exchange not in STREAMS:
        message = anthropic.types.Message.model_validate_json(
            AnthropicCaller().write_reply(UPSTREAM.read_reply(body), created=1)
        )
        assert message.stop_reason in ("end_turn", "tool_use", "max_tokens")
        assert message.usage.output_tokens == read_facts(body).usage.output_tokens  # type: ignore[union-attr]
        return
    request = parse_messages("messages", b'{"model": "m", "max_tokens": 1, "messages": [{}], "stream": true}')
    stream = TranslatedStream(request, AnthropicCaller(), UPSTREAM, created=1)
    said = (stream.feed(body) + stream.finish()).decode()
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: ")]
    union: Any = pydantic.TypeAdapter(anthropic.types.RawMessageStreamEvent)
    kinds = [union.validate_python(event).type for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") > 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"googleSearch": {}}]}, "tools.0.googleSearch"),
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"generation_config": {"response_modalities": ["IMAGE"]}}, "generationConfig.responseModalities"),
        ({"safetySettings": [{"category": "C", "threshold": "BLOCK_LOW_AND_ABOVE"}]}, "safetySettings"),
        ({"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}, "contents.0.parts.0"),
        ({"a_field_of_tomorrow": 1}, "aFieldOfTomorrow"),
    ],
)
def test_what_can_t_be_said_is_refused_by_name_or_dropped(fields: dict[str, Any], named: str) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}], **fields}
    request = parse_gemini("generateContent", json.dumps(body).encode(), model_in_path="m")
    with pytest.raises(Untranslatable) as refused:
        translate(request, CALLER, OPENAI, model="x", drop_params=False)
    assert refused.value.param == named
    translate(request, CALLER, OPENAI, model="x", drop_params=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"parallel_tool_calls": False, "tools": [{"function": {"name": "f"}}]}, "parallel_tool_calls"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, "messages.0"),
    ],
)
def test_what_gemini_can_t_be_told(fields: dict[str, Any], named: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = parse_request("chat/completions", json.dumps(body).encode())
    with pytest.raises(Untranslatable, match=named):
        translate(request, OpenAIChatCaller(), UPSTREAM, model="gemini-2.5-flash", drop_params=False)


def test_what_changes_nothing_is_not_refused() -> None:
    body = {
        "contents": {"parts": {"text": "Hi"}},
        "safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"candidateCount": 1, "responseModalities": ["TEXT"], "topK": 40.0},
        "tools": {"function_declarations": {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a_b": {}}}}},
        "labels": {"team": "a"},
        "litellm_metadata": {"tags": ["a"]},
    }
    request = parse_gemini("generateContent", json.dumps(body).encode(), model_in_path="m")
    said = CALLER.read_request(request)
    assert said.unsaid == ()
    assert said.messages == (Message("user", (Text("Hi"),)),)
    assert json.loads(bytes(said.tools[0].parameters)) == {"type": "object", "properties": {"a_b": {}}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "contents"),
        (b'{"contents": null}', "contents"),
        (b'{"contents": [], "generationConfig": {"maxOutputTokens": "x"}}', "generationConfig.maxOutputTokens"),
        (b'{"contents": [{"role": "nobody", "parts": []}]}', "contents.0.role"),
        (b'{"contents": [{"parts": [{"text": 1}]}]}', "contents[0].parts"),
        (b'{"contents": [], "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}', "toolConfig"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, field: str) -> None:
    with pytest.raises(BadRequest) as wrong:
        CALLER.read_request(parse_gemini("generateContent", body, model_in_path="m"))
    assert str(wrong.value.param).startswith(field)


@pytest.mark.parametrize(
    ("reasoning", "model", "written"),
    [
        (Reasoning(effort="low"), "gemini-2.5-flash", {"includeThoughts": True, "thinkingBudget": 1024}),
        (Reasoning(effort="high"), "gemini-2.5-pro", {"includeThoughts": True, "thinkingBudget": 24576}),
        (Reasoning(effort="none", off=True), "gemini-2.5-flash", {"thinkingBudget": 0}),
        (Reasoning(off=True), "gemini-2.5-pro", {"thinkingBudget": 128}),
        (Reasoning(adaptive=True), "gemini-2.5-pro", {"includeThoughts": True, "thinkingBudget": -1}),
        (Reasoning(effort="medium"), "gemini-3-pro-preview", {"includeThoughts": True, "thinkingLevel": "high"}),
        (Reasoning(effort="medium"), "gemini-3.1-pro", {"includeThoughts": True, "thinkingLevel": "medium"}),
        (Reasoning(off=True), "gemini-3-pro-preview", {"thinkingLevel": "low"}),
        (Reasoning(off=True), "gemini-3-flash-preview", {"thinkingLevel": "minimal"}),
        (Reasoning(effort="max"), "gemini-3-flash-preview", {"includeThoughts": True, "thinkingLevel": "high"}),
        (Reasoning(budget_tokens=99), "gemini-3-flash-preview", {"includeThoughts": True, "thinkingBudget": 99}),
        (Reasoning(effort="low"), "gemini-2.0-flash", None),
    ],
)
def test_how_much_it_is_to_think(reasoning: Reasoning, model: str, written: dict[str, Any] | None) -> None:
    assert write_thinking(reasoning, model) == written


def test_names_in_the_body_are_the_upstream_s() -> None:
    body = {"requests": [{"model": "models/public", "content": {"parts": [{"text": "public"}]}}]}
    request = parse_gemini("batchEmbedContents", json.dumps(body).encode(), model_in_path="public")
    assert json.loads(upstream_body(request, model="x"))["requests"][0]["model"] == "models/x"
    body = {"generateContentRequest": {"model": "models/public", "contents": []}}
    request = parse_gemini("countTokens", json.dumps(body).encode(), model_in_path="public")
    assert json.loads(upstream_body(request, model="x")) == {
        "generateContentRequest": {"model": "models/x", "contents": []}
    }
    with pytest.raises(BadRequest):
        upstream_body(parse_gemini("batchEmbedContents", b'{"requests": [1]}', model_in_path="m"), model="x")


def test_limits_and_numbers_are_read_in_both_spellings() -> None:
    for config in ({"maxOutputTokens": 5, "candidateCount": 3}, {"max_output_tokens": 5, "candidate_count": 3}):
        name = "generationConfig" if "maxOutputTokens" in config else "generation_config"
        request = parse_gemini_array(
            "generateContent", json.dumps({"contents": [], name: config}).encode(), model_in_path="m"
        )
        assert (request.max_output_tokens, request.choices, request.stream) == (5, 3, True)
    assert request.stream_content_type.startswith("application/json")


@pytest.mark.parametrize("body", [b"", b"<<<", b"[1]", b'"text"'])
def test_what_is_no_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        read_facts(body)
    with pytest.raises(UpstreamGarbled):
        UPSTREAM.read_reply(body)


def test_money_is_read_of_an_answer_that_is_odd_elsewhere() -> None:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": -3, "thoughtsTokenCount": "7"}
    facts = read_facts(json.dumps({"responseId": 5, "candidates": "none", "usageMetadata": usage}).encode())
    assert facts.usage == Usage(input_tokens=5, output_tokens=7, reasoning_tokens=7)


def test_an_error_inside_an_answer() -> None:
    error = {"code": 429, "message": "Too many.", "status": "RESOURCE_EXHAUSTED"}
    facts = read_facts(json.dumps({"error": error}).encode())
    assert facts.error == ReportedError("Too many.", type="RESOURCE_EXHAUSTED", code="429")
    listed = UPSTREAM.read_refusal(json.dumps([{"error": error}]).encode())
    assert listed == ReportedError("Too many.")
