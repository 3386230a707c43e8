from __future__ import annotations

import json
from base64 import b64encode
from itertools import pairwise
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import BadRequest
from tallystick.wire.bedrock.request import maker_of, write_converse
from tallystick.wire.conversation import (
    Audio,
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

CLAUDE, NOVA, LLAMA = "eu.anthropic.claude-haiku-4-5", "us.amazon.nova-lite-v1:0", "meta.llama3-8b"
SHAPE = botocore.session.Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
DATA = b64encode(b"data").decode()

texts = st.text(min_size=1, max_size=20).filter(str.strip).map(Text)
images = st.sampled_from(["png", "jpeg", "webp"]).map(lambda kind: Image(data=DATA, media_type=f"image/{kind}"))
documents = st.builds(Document, data=st.just(DATA), media_type=st.just("application/pdf"), name=st.text(max_size=9))
words = st.text("abc_-.", min_size=1, max_size=70)
objects = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
calls = st.builds(ToolCall, id=words, name=st.text("abc", min_size=1), arguments=objects.map(json.dumps))
results = st.builds(
    ToolResult,
    call_id=words,
    parts=st.lists(texts | images | documents, max_size=3).map(tuple),
    is_error=st.booleans(),
)
thoughts = st.builds(Thinking, text=st.text(max_size=9), signature=st.text(min_size=1, max_size=9)) | st.just(
    Thinking(redacted=DATA)
)
nothing = st.just(Thinking(text="unsigned"))
users = st.lists(texts | images | documents | results, min_size=1, max_size=4)
assistants = st.lists(texts | calls | thoughts | nothing, min_size=1, max_size=4)
conversations = st.builds(
    Conversation,
    messages=st.lists(
        users.map(lambda parts: Message("user", tuple(parts)))
        | assistants.map(lambda parts: Message("assistant", tuple(parts))),
        min_size=1,
        max_size=5,
    ).map(tuple),
    system=st.lists(texts, max_size=2).map(tuple),
    tools=st.just((Tool(name="weigh"), Tool(name="look", description="Look.", cache=CacheMark()))),
    tool_choice=st.none() | st.sampled_from([ToolChoice("auto"), ToolChoice("any"), ToolChoice("tool", "weigh")]),
    max_tokens=st.none() | st.integers(1, 9000),
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=2).map(tuple),
    temperature=st.none() | st.sampled_from([0.0, 0.5]),
    top_k=st.none() | st.integers(1, 9),
    reasoning=st.none() | st.builds(Reasoning, effort=st.sampled_from(["low", "high", "max"])),
    response_format=st.none() | st.just(ResponseFormat(schema=msgspec.Raw(b'{"type":"object"}'), name="a")),
)


def body(said: Conversation, model: str = CLAUDE) -> Any:
    return json.loads(write_converse(said, model=model).body)


def one(*parts: Part, role: str = "user", **fields: Any) -> Conversation:
    return Conversation(messages=(Message(role, parts),), **fields)  # type: ignore[arg-type]


@given(
    conversations, st.sampled_from([CLAUDE, NOVA, LLAMA, "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x"])
)
def test_what_is_written_is_what_botocore_takes(said: Conversation, model: str) -> None:
    written = body(said, model)
    report = ParamValidator().validate({"modelId": model, **written}, SHAPE)
    assert not report.has_errors(), report.generate_report()
    roles = [turn["role"] for turn in written["messages"]]
    assert all(here != following for here, following in pairwise(roles))


@given(conversations)
def test_nothing_that_can_be_said_is_lost(said: Conversation) -> None:
    blocks = [block for turn in body(said)["messages"] for block in turn["content"]]
    unsigned = Thinking(text="unsigned")
    parts = [part for message in said.messages for part in message.parts if part != unsigned]
    assert len(blocks) == len(parts)
    for part, block in zip(parts, blocks, strict=True):
        check(part, block)


def check(part: Part, block: dict[str, Any]) -> None:
    """Read one block as AWS' documentation has it."""
    match part:
        case Text(text):
            assert block == {"text": text}
        case Image():
            assert block["image"] == {"format": part.media_type.removeprefix("image/"), "source": {"bytes": part.data}}
        case Document():
            assert (block["document"]["format"], block["document"]["source"]) == ("pdf", {"bytes": part.data})
        case ToolCall():
            assert (block["toolUse"]["name"], block["toolUse"]["input"]) == (part.name, json.loads(part.arguments))
        case ToolResult():
            assert ("status" in block["toolResult"]) is part.is_error
            for inner, written in zip(part.parts, block["toolResult"]["content"], strict=True):
                check(inner, written)
        case Thinking() if part.redacted:
            assert block == {"reasoningContent": {"redactedContent": part.redacted}}
        case Thinking():
            told = {"text": part.text, "signature": part.signature}
            assert block == {"reasoningContent": {"reasoningText": told}}


def test_ids_that_are_not_allowed_are_replaced_alike() -> None:
    long = "call_" + "x" * 100
    said = Conversation(
        messages=(
            Message(
                "assistant", (ToolCall(id=long, name="f", arguments=""), ToolCall(id="ok-1", name="f", arguments="{}"))
            ),
            Message("user", (ToolResult(call_id=long, parts=()), ToolResult(call_id="ok-1", parts=()))),
        )
    )
    turns = body(said)["messages"]
    asked = [block["toolUse"]["toolUseId"] for block in turns[0]["content"]]
    assert asked == [block["toolResult"]["toolUseId"] for block in turns[1]["content"]]
    assert (len(asked[0]), asked[1]) == (37, "ok-1")


def test_arguments_that_are_no_object() -> None:
    with pytest.raises(BadRequest, match="JSON object"):
        body(one(ToolCall(id="a", name="f", arguments="[1"), role="assistant"))


def test_documents_have_names_of_their_own() -> None:
    given_names = ["a/b:report.v2.pdf", "a b report.v2.pdf", "", "?"]
    said = one(*(Document(data=DATA, media_type="application/pdf", name=name) for name in given_names))
    names = [block["document"]["name"] for block in body(said)["messages"][0]["content"]]
    assert names == ["a b report v2", "a b report v2 2", "document", "document 2"]


def test_a_text_as_document() -> None:
    block = body(one(Document(text="stick")))["messages"][0]["content"][0]["document"]
    assert block == {"format": "txt", "name": "document", "source": {"bytes": b64encode(b"stick").decode()}}


def test_where_files_lie() -> None:
    said = one(Image(url="s3://b/a.jpg"), Document(url="s3://b/c.pdf"), Audio(data=DATA, format="wav"))
    image, document, sound = body(said)["messages"][0]["content"]
    assert image == {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/a.jpg"}}}}
    assert document["document"]["source"] == {"s3Location": {"uri": "s3://b/c.pdf"}}
    assert sound == {"audio": {"format": "wav", "source": {"bytes": DATA}}}


@pytest.mark.parametrize(
    ("said", "unsaid"),
    [
        (one(Image(url="https://h/a.png")), "messages.0.content (image)"),
        (one(Image(data=DATA, media_type="image/tiff")), "messages.0.content (image)"),
        (one(Document(file_id="f")), "messages.0.content (document)"),
        (one(ToolResult(call_id="c", parts=(Image(url="https://h/a"),))), "messages.0.content (image of a tool)"),
        (one(Text("x"), seed=1), "seed"),
        (one(Text("x"), presence_penalty=0.5), "presence_penalty"),
        (one(Text("x"), response_format=ResponseFormat()), "response_format"),
        (one(Text("x"), tools=(Tool(name="f"),), parallel_tool_calls=False), "parallel_tool_calls"),
        (
            one(ToolResult(call_id="c", parts=()), tools=(Tool(name="f"),), tool_choice=ToolChoice("none")),
            "tool_choice",
        ),
    ],
)
def test_what_cannot_be_said_is_named(said: Conversation, unsaid: str) -> None:
    assert write_converse(said, model=CLAUDE).unsaid == (unsaid,)


def test_fields_of_makers() -> None:
    effort = one(Text("x"), reasoning=Reasoning(effort="high"), top_k=4, max_tokens=9000)
    assert body(effort)["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 4096},
        "top_k": 4,
    }
    assert body(effort, NOVA)["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"},
        "inferenceConfig": {"topK": 4},
    }
    gpt = write_converse(effort, model="openai.gpt-oss-20b-1:0")
    assert json.loads(gpt.body)["additionalModelRequestFields"] == {"reasoning_effort": "high"}
    assert gpt.unsaid == ("top_k",)
    assert write_converse(effort, model=LLAMA).unsaid == ("reasoning", "top_k")
    assert maker_of("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x") == "unknown"


def test_budgets_of_thought() -> None:
    def thought(**fields: Any) -> tuple[Any, Any]:
        written = body(one(Text("x"), **fields))
        return written.get("additionalModelRequestFields"), written.get("inferenceConfig")

    low = Reasoning(effort="high")
    assert thought(reasoning=low, max_tokens=2000)[0] == {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert thought(reasoning=low, max_tokens=1024) == (None, {"maxTokens": 1024})
    exact = Reasoning(budget_tokens=5000)
    assert thought(reasoning=exact, max_tokens=3000) == (
        {"thinking": {"type": "enabled", "budget_tokens": 5000}},
        {"maxTokens": 8000},
    )
    assert thought(reasoning=Reasoning(off=True)) == (None, None)
    adaptive = body(one(Text("x"), reasoning=Reasoning(adaptive=True, effort="low")))
    assert (adaptive["additionalModelRequestFields"], adaptive["outputConfig"]) == (
        {"thinking": {"type": "adaptive"}},
        {"effort": "low"},
    )


def test_cache_points_where_models_take_them() -> None:
    mark = CacheMark("1h")
    said = Conversation(
        messages=(Message("user", (Text("a", mark), Text("b"))),),
        system=(Text("s", CacheMark()),),
        tools=(Tool(name="f", cache=mark),),
    )
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    written = body(said)
    assert written["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}]
    assert written["system"] == [{"text": "s"}, {"cachePoint": {"type": "default"}}]
    assert written["toolConfig"]["tools"][1] == point
    assert len(body(said, NOVA)["toolConfig"]["tools"]) == 1
    assert b"cachePoint" not in write_converse(said, model=LLAMA).body


def test_tools_are_left_out_where_none_may_be_called() -> None:
    said = one(Text("x"), tools=(Tool(name="f"),), tool_choice=ToolChoice("none"))
    assert "toolConfig" not in body(said)


def test_empty_texts_and_unsigned_thoughts_are_left_out() -> None:
    said = Conversation(
        messages=(
            Message("user", (Text("x"), Text(" "))),
            Message("assistant", (Thinking(text="hm"),)),
            Message("user", (Text("y"),)),
        )
    )
    assert body(said)["messages"] == [{"role": "user", "content": [{"text": "x"}, {"text": "y"}]}]
