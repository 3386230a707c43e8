"""Neutral -> dialect -> neutral keeps what the dialect can say; recorded requests go through every pair of dialects."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import BadRequest, Untranslatable
from tallystick.wire.anthropic.caller import AnthropicCaller
from tallystick.wire.anthropic.request import parse_messages
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tallystick.wire.openai.chat_caller import OpenAIChatCaller
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import parse_request
from tallystick.wire.reply import Reply, StopReason
from tallystick.wire.responses.caller import ResponsesCaller
from tallystick.wire.responses.request import parse_responses
from tallystick.wire.responses.upstream import ResponsesUpstream
from tallystick.wire.translation import translate
from tallystick.wire.usage import Usage

OPENAI = OpenAIChat(asks_usage=True, names_completion_tokens=True)
ANTHROPIC = AnthropicUpstream()

words = st.text(min_size=1, max_size=20)
marks = st.none() | st.builds(CacheMark, st.sampled_from(["", "5m", "1h"]))
json_objects = st.dictionaries(words, st.integers() | words, max_size=2).map(json.dumps)
images = st.builds(Image, data=st.just("aGk="), media_type=st.just("image/png")) | st.builds(
    Image, url=st.just("https://pictures.example/a.png")
)
documents = st.builds(Document, data=st.just("aGk="), media_type=st.just("application/pdf"), name=st.just("a.pdf"))


def texts(cache: st.SearchStrategy[CacheMark | None]) -> st.SearchStrategy[Text]:
    return st.builds(Text, words, cache)


def conversations(*, marked: bool) -> st.SearchStrategy[Conversation]:
    """What both dialects can say; with marks, what Anthropic can."""
    cache = marks if marked else st.none()
    calls = st.builds(ToolCall, id=words, name=words, arguments=json_objects)
    results = st.builds(ToolResult, call_id=words, parts=st.tuples(texts(st.none())))
    thoughts = st.builds(Thinking, text=words, signature=words) if marked else st.nothing()
    users = st.builds(
        lambda first, rest: Message("user", (*first, *rest)),
        st.lists(results, max_size=2),
        st.lists(texts(cache) | images | documents, min_size=1, max_size=3),
    )
    assistants = st.builds(
        lambda thought, text, call: Message("assistant", (*thought, *text, *call)),
        st.lists(thoughts, max_size=1) if marked else st.just([]),
        st.lists(texts(cache), min_size=1, max_size=1),
        st.lists(calls, max_size=2),
    )
    turns = st.lists(st.tuples(users, assistants), min_size=1, max_size=2).map(
        lambda pairs: tuple(message for pair in pairs for message in pair)
    )
    tools = st.builds(
        Tool,
        name=words,
        description=words,
        parameters=st.just(msgspec.Raw(b'{"type":"object"}')),
        strict=st.none() | st.booleans(),
    )
    choices = st.sampled_from(
        [None, ToolChoice("auto"), ToolChoice("any"), ToolChoice("none"), ToolChoice("tool", "t")]
    )
    return st.builds(
        Conversation,
        messages=turns,
        system=st.lists(texts(cache), max_size=1).map(tuple),
        tools=st.lists(tools, min_size=1, max_size=2).map(tuple),
        tool_choice=choices,
        max_tokens=st.integers(1, 10**6),
        stop=st.lists(words, max_size=2).map(tuple),
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        user=st.none() | words,
        stream=st.booleans(),
    )


def plain(conversation: Conversation) -> Any:
    """Return it as JSON values, so that schemas and arguments are compared by what they mean."""
    values = msgspec.json.decode(msgspec.json.encode(conversation))

    def meant(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: json.loads(v) if k == "arguments" else meant(v) for k, v in value.items()}
        return [meant(item) for item in value] if isinstance(value, list) else value

    return meant(values)


@given(conversations(marked=True))
def test_anthropic_keeps_what_it_can_say(conversation: Conversation) -> None:
    written = ANTHROPIC.write_request(conversation, model="m")
    assert written.unsaid == ()
    back = AnthropicCaller().read_request(parse_messages("messages", written.body))
    assert plain(back) == plain(conversation)


@given(conversations(marked=False))
def test_openai_keeps_what_it_can_say(conversation: Conversation) -> None:
    written = OPENAI.write_request(conversation, model="m")
    assert written.unsaid == ()
    back = OpenAIChatCaller().read_request(parse_request("chat/completions", written.body))
    assert plain(back) == plain(conversation)


@given(conversations(marked=False))
def test_responses_keeps_what_it_can_say(conversation: Conversation) -> None:
    conversation = msgspec.structs.replace(conversation, stop=())
    written = ResponsesUpstream().write_request(conversation, model="m")
    assert written.unsaid == ()
    back = ResponsesCaller().read_request(parse_responses("responses", written.body))
    assert comparable(plain(back)) == comparable(plain(conversation))


def comparable(conversation: Any) -> Any:
    """Say what the Responses API says where the caller did not: pictures in `auto`, tools that are not strict."""
    for message in conversation["messages"]:
        for part in message["parts"]:
            if part.get("detail") == "auto":
                part["detail"] = ""
    for tool in conversation["tools"]:
        tool["strict"] = bool(tool["strict"])
    return conversation


usages = st.builds(
    lambda fresh, read, written, output: Usage(
        input_tokens=fresh + read + written, output_tokens=output, cache_read_tokens=read, cache_write_tokens=written
    ),
    *[st.integers(0, 10**6)] * 4,
)
reasons: list[StopReason] = ["end", "max_tokens", "tool_calls", "refusal"]


@given(
    st.lists(st.builds(ToolCall, id=words, name=words, arguments=json_objects), max_size=2),
    words,
    usages,
    st.sampled_from(reasons),
)
def test_answers_mean_the_same_in_both(calls: list[ToolCall], text: str, usage: Usage, reason: StopReason) -> None:
    if calls and reason == "end":
        reason = "tool_calls"
    reply = Reply(id="1", model="m", parts=(Text(text), *calls), stop_reason=reason, usage=usage)
    for caller, upstream in ((OpenAIChatCaller(), OPENAI), (AnthropicCaller(), ANTHROPIC)):
        back = upstream.read_reply(caller.write_reply(reply, created=1))
        assert plain_reply(back) == plain_reply(reply)


def plain_reply(reply: Reply) -> Any:
    parts = [
        (part.id, part.name, json.loads(part.arguments)) if isinstance(part, ToolCall) else part for part in reply.parts
    ]
    told = reply.usage
    assert told is not None
    counts = (told.input_tokens, told.output_tokens, told.cache_read_tokens, told.cache_write_tokens)
    return (reply.id, reply.model, parts, reply.stop_reason, counts)


def openai_chat(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse_request("chat/completions", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
        ({"response_format": {"type": "json_object"}}, "response_format (json_object)"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a"}}]}]},
            "messages.0.content (audio)",
        ),
    ],
)
def test_what_can_t_be_said_is_refused_by_name_or_dropped(fields: dict[str, Any], named: str) -> None:
    request = openai_chat(**fields)
    with pytest.raises(Untranslatable) as refused:
        translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=False)
    assert refused.value.param == named
    assert named in refused.value.message
    assert translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=True).body
    request.drop_params = True
    assert translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=False).body
    request.drop_params = False
    with pytest.raises(Untranslatable):
        translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "logprobs": False, "logit_bias": {}, "seed": None, "presence_penalty": 0},
        {"store": True, "service_tier": "auto", "prompt_cache_key": "k", "metadata": {"a": "b"}},
        {"stream": True, "stream_options": {"include_usage": True}, "tags": ["a"], "num_retries": 2},
    ],
)
def test_what_changes_nothing_is_not_refused(fields: dict[str, Any]) -> None:
    translate(openai_chat(**fields), OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=False)


@pytest.mark.parametrize(
    ("fields", "limit", "thinking"),
    [
        ({}, 4096, None),
        ({"max_tokens": 10}, 10, None),
        ({"reasoning_effort": "none"}, 4096, {"type": "disabled"}),
        ({"reasoning_effort": "low"}, 4096, {"type": "enabled", "budget_tokens": 1024}),
        ({"reasoning_effort": "high"}, 8192, {"type": "enabled", "budget_tokens": 4096}),
        ({"reasoning_effort": "high", "max_tokens": 2000}, 2000, {"type": "enabled", "budget_tokens": 1024}),
        ({"reasoning_effort": "high", "max_tokens": 1000}, 1000, None),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 3000}, "max_tokens": 100},
            3100,
            {
                "type": "enabled",
                "budget_tokens": 3000,
            },
        ),
    ],
)
def test_thought_fits_into_the_limit(fields: dict[str, Any], limit: int, thinking: dict[str, Any] | None) -> None:
    written = translate(openai_chat(**fields), OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=False)
    body = json.loads(written.body)
    assert (body["max_tokens"], body.get("thinking")) == (limit, thinking)


def test_arguments_that_are_no_object_are_the_caller_s_mistake() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1"}}
    request = openai_chat(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}])
    with pytest.raises(BadRequest, match="not a JSON object"):
        translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=True)


def test_unsigned_thoughts_are_left_out() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "of another model"},
    ]
    written = translate(openai_chat(messages=messages), OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=False)
    assert json.loads(written.body)["messages"][1]["content"] == [{"type": "text", "text": "b"}]


def test_embeddings_have_no_other_dialect() -> None:
    request = parse_request("embeddings", b'{"model": "m", "input": "a"}')
    with pytest.raises(Untranslatable, match="/v1/embeddings"):
        translate(request, OpenAIChatCaller(), ANTHROPIC, model="x", drop_params=True)
