from __future__ import annotations

import json
from base64 import b64decode
from struct import unpack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import BadRequest, Untranslatable, UpstreamGarbled
from tallystick.wire.cohere.embeddings import EmbeddedReading
from tallystick.wire.cohere.request import write_chat
from tallystick.wire.cohere.upstream import CohereChat
from tallystick.wire.conversation import (
    Audio,
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
from tallystick.wire.embeddings import ToEmbed, read_embedding_request
from tallystick.wire.openai.request import parse_request
from tallystick.wire.reply import PartBegun, PartEnded, PartGrown, ReplyPart, Stopped, UsageTold
from tallystick.wire.usage import Usage

words = st.text(min_size=1, max_size=20)
arguments = st.dictionaries(words, st.integers() | words, max_size=2).map(json.dumps)
calls = st.builds(ToolCall, id=words, name=words, arguments=arguments)
results = st.builds(ToolResult, call_id=words, parts=st.tuples(words.map(Text)))
images = st.just(Image(url="https://h/a.png")) | st.just(Image(data="aGk=", media_type="image/png", detail="low"))
texts = words.map(Text)
thoughts = st.builds(Thinking, text=words)


def turns(role: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.tuples(*parts).map(lambda said: Message(role, sum(said, ())))  # type: ignore[arg-type]


def many(of: st.SearchStrategy[Any], *, least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


conversations = st.builds(
    Conversation,
    messages=many(
        turns("user", many(results), many(texts | images, least=1))
        | turns("assistant", many(thoughts), many(texts, least=1))
        | turns("assistant", many(thoughts).map(lambda said: said[:1]), many(calls, least=1)),
        least=1,
    ),
    system=many(texts).map(lambda said: said[:1]),
    max_tokens=st.none() | st.integers(1, 99),
    temperature=st.none() | st.sampled_from([0.0, 0.5]),
    top_p=st.none() | st.just(0.5),
    top_k=st.none() | st.integers(1, 9),
    seed=st.none() | st.integers(0, 9),
    stop=many(words),
    stream=st.booleans(),
)


def body(said: Conversation) -> Any:
    return json.loads(write_chat(said, model="m").body)


def read_back(written: Any) -> Conversation:
    """Read a request as Cohere's documentation has it."""
    messages: list[Message] = []
    system: tuple[Text, ...] = ()
    held: list[Part] = []
    for message in written["messages"]:
        if message["role"] == "system":
            system = (Text(message["content"]),)
        elif message["role"] == "tool":
            held.append(ToolResult(call_id=message["tool_call_id"], parts=(Text(message["content"]),)))
        else:
            messages.append(Message(message["role"], (*held, *parts_of(message))))
            held = []
    names = {"max_tokens": "max_tokens", "temperature": "temperature", "p": "top_p", "k": "top_k", "seed": "seed"}
    plain = {ours: written[theirs] for theirs, ours in names.items() if theirs in written}
    stop = tuple(written.get("stop_sequences", ()))
    return Conversation(messages=tuple(messages), system=system, stop=stop, stream=written["stream"], **plain)


def parts_of(message: dict[str, Any]) -> list[Part]:
    if "tool_calls" in message:
        plan: list[Part] = [Thinking(text=message["tool_plan"])] if "tool_plan" in message else []
        return [*plan, *(ToolCall(id=call["id"], **call["function"]) for call in message["tool_calls"])]
    content = message["content"]
    return [Text(content)] if isinstance(content, str) else [part_of(part) for part in content]


def part_of(part: dict[str, Any]) -> Part:
    if part["type"] == "image_url":
        url = part["image_url"]["url"]
        detail = part["image_url"].get("detail", "")
        if url.startswith("data:"):
            media_type, _, data = url.removeprefix("data:").partition(";base64,")
            return Image(data=data, media_type=media_type, detail=detail)
        return Image(url=url, detail=detail)
    return Text(part["text"]) if part["type"] == "text" else Thinking(text=part["thinking"])


@given(conversations)
def test_what_can_be_said_is_kept(said: Conversation) -> None:
    written = write_chat(said, model="m")
    assert written.unsaid == ()
    assert read_back(json.loads(written.body)) == said


def one(*parts: Part, **fields: Any) -> Conversation:
    return Conversation(messages=(Message("user", parts),), **fields)


@pytest.mark.parametrize(
    ("said", "unsaid"),
    [
        (one(Audio(data="aGk=", format="wav")), "messages.0.content (audio)"),
        (one(Document(data="aGk=", media_type="application/pdf")), "messages.0.content (document)"),
        (one(ToolResult(call_id="c", parts=(Image(url="u"),))), "messages.0.content (image of a tool)"),
        (one(Text("x"), tools=(Tool(name="f"),), parallel_tool_calls=False), "parallel_tool_calls"),
    ],
)
def test_what_cannot_be_said_is_named(said: Conversation, unsaid: str) -> None:
    assert write_chat(said, model="m").unsaid == (unsaid,)


def test_tools() -> None:
    tools = (Tool(name="f", strict=True), Tool(name="g", strict=True, description="G."))
    g = {"name": "g", "description": "G.", "parameters": {"type": "object", "properties": {}}}
    named = body(one(Text("x"), tools=tools, tool_choice=ToolChoice("tool", "g")))
    assert (named["tools"], named["tool_choice"]) == ([{"type": "function", "function": g}], "REQUIRED")
    assert named["strict_tools"] is True
    none = body(one(Text("x"), tools=(*tools, Tool(name="h")), tool_choice=ToolChoice("none")))
    assert (none["tool_choice"], "strict_tools" in none) == ("NONE", False)
    assert "tool_choice" not in body(one(Text("x"), tools=tools, tool_choice=ToolChoice("auto")))


@pytest.mark.parametrize(
    ("reasoning", "thinking"),
    [
        (Reasoning(off=True), {"type": "disabled"}),
        (Reasoning(effort="high"), {"type": "enabled", "token_budget": 4096}),
        (Reasoning(budget_tokens=7), {"type": "enabled", "token_budget": 7}),
        (Reasoning(adaptive=True), {"type": "enabled"}),
    ],
)
def test_reasoning(reasoning: Reasoning, thinking: dict[str, Any]) -> None:
    assert body(one(Text("x"), reasoning=reasoning))["thinking"] == thinking


def test_formats() -> None:
    assert body(one(Text("x"), response_format=ResponseFormat()))["response_format"] == {"type": "json_object"}
    schema = ResponseFormat(schema=msgspec.Raw(b'{"type":"object"}'))
    told = {"type": "json_object", "json_schema": {"type": "object"}}
    assert body(one(Text("x"), response_format=schema))["response_format"] == told


def test_a_document_of_text_is_text() -> None:
    result = ToolResult(call_id="c", parts=(Document(text="a"), Text("b")))
    assert body(one(result, Document(text="x")))["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "a\nb"},
        {"role": "user", "content": "x"},
    ]


units = st.integers(0, 1000)
answers = st.fixed_dictionaries(
    {"content": st.lists(st.builds(lambda kind, said: {"type": kind, kind: said}, st.sampled_from(["text"]), words))},
    optional={"tool_plan": words, "tool_calls": st.lists(calls, min_size=1, max_size=3)},
)


@given(answers, units, units, st.sampled_from(["COMPLETE", "MAX_TOKENS", "STOP_SEQUENCE", "ERROR_LIMIT"]))
def test_a_stream_says_what_the_plain_answer_says(said: Any, read: int, written: int, reason: str) -> None:
    usage = {"billed_units": {"input_tokens": float(read), "output_tokens": written}}
    told = [
        {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
        for call in said.get("tool_calls", ())
    ]
    message = {**said, "tool_calls": told}
    dialect = CohereChat(model="m")
    whole = {"id": "i", "finish_reason": reason, "message": message, "usage": usage}
    plain = dialect.read_reply(json.dumps(whole).encode())
    reader = dialect.stream_reader()
    deltas = [delta for event in events(message, reason, usage) for delta in reader.feed(sse(event))]
    parts: list[ReplyPart] = []
    for delta in deltas:
        if isinstance(delta, PartBegun):
            assert delta.index == len(parts)
            parts.append(delta.part)
        elif isinstance(delta, PartGrown):
            part = parts[delta.index]
            name = "arguments" if isinstance(part, ToolCall) else "text"
            parts[delta.index] = type(part)(**{**fields_of(part), name: getattr(part, name) + delta.text})
    # Texts one behind the other have an end between them.
    assert parts == list(plain.parts)
    assert sum(isinstance(delta, PartEnded) for delta in deltas) == len(parts)
    assert [delta.reason for delta in deltas if isinstance(delta, Stopped)] == [plain.stop_reason]
    assert [delta.usage for delta in deltas if isinstance(delta, UsageTold)] == [plain.usage]
    assert plain.usage == Usage(input_tokens=read, output_tokens=written)


def fields_of(part: ReplyPart) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__struct_fields__}


def events(message: dict[str, Any], reason: str, usage: Any) -> list[dict[str, Any]]:
    def said(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "index": index, "delta": {"message": fields}}

    made = [{"id": "i", **said("message-start", role="assistant", content=[])}]
    made += [said("tool-plan-delta", tool_plan=letter) for letter in message.get("tool_plan", "")]
    for index, part in enumerate(message["content"]):
        made.append(said("content-start", index, content={"type": "text", "text": ""}))
        made += [said("content-delta", index, content={"text": letter}) for letter in part["text"]]
        made.append({"type": "content-end", "index": index})
    for index, call in enumerate(message["tool_calls"]):
        made.append(said("tool-call-start", index, tool_calls={**call, "function": {"name": call["function"]["name"]}}))
        pieces = call["function"]["arguments"]
        made += [said("tool-call-delta", index, tool_calls={"function": {"arguments": piece}}) for piece in pieces]
        made.append({"type": "tool-call-end", "index": index})
    made.append(said("citation-start", citations={"start": 0}))
    return [*made, {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}]


def sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


@pytest.mark.parametrize("answer", [b"<<<", b"{}", b'{"message":[]}'])
def test_what_is_no_answer(answer: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        CohereChat(model="m").read_reply(answer)
    with pytest.raises(UpstreamGarbled):
        EmbeddedReading(model="m", as_base64=False).read_plain(answer)


def embedding(**fields: Any) -> ToEmbed:
    raw = json.dumps({"model": "m", **fields}).encode()
    return read_embedding_request(parse_request("embeddings", raw))


def test_what_is_to_be_embedded() -> None:
    assert embedding(input="x", dimensions=4, encoding_format="base64", user="u", tags=["t"]) == ToEmbed(
        texts=("x",), dimensions=4, as_base64=True
    )
    assert embedding(input=["x", "y"], input_type="search_query", odd=1, none=None) == ToEmbed(
        texts=("x", "y"), input_type="search_query", unsaid=("odd",)
    )
    with pytest.raises(Untranslatable, match="ids of tokens"):
        embedding(input=[1, 2])
    with pytest.raises(BadRequest):
        embedding(input=["x", {}])


def test_vectors() -> None:
    answer = {"id": "i", "embeddings": {"float": [[0.5, -1], []]}, "meta": {"billed_units": {"image_tokens": 3}}}
    raw = json.dumps(answer).encode()
    facts, made, _ = EmbeddedReading(model="m", as_base64=False).read_plain(raw)
    assert (facts.usage, facts.response_id) == (Usage(input_tokens=3, image_input_tokens=3), "i")
    assert [each["embedding"] for each in json.loads(made)["data"]] == [[0.5, -1], []]
    packed = json.loads(EmbeddedReading(model="m", as_base64=True).read_plain(raw).body)["data"]
    assert [unpack(f"<{n}f", b64decode(each["embedding"])) for n, each in zip((2, 0), packed, strict=True)] == [
        (0.5, -1),
        (),
    ]
    with pytest.raises(UpstreamGarbled):
        EmbeddedReading(model="m", as_base64=True).read_plain(b'{"embeddings":{"float":["x"]}}')
