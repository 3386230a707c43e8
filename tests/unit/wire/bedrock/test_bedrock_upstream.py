from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bedrock_kit as kit
from tallystick.errors import UpstreamGarbled
from tallystick.wire.bedrock.upstream import Converse
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.reply import (
    Begun,
    Delta,
    Ended,
    Failed,
    PartBegun,
    PartEnded,
    PartGrown,
    PartSigned,
    Reply,
    ReplyPart,
    Stopped,
    UsageTold,
)
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

filled = st.text(min_size=1, max_size=30)
blocks = st.one_of(
    st.builds(lambda text: {"text": text}, filled),
    st.builds(
        lambda name, given: {"toolUse": {"toolUseId": "t", "name": name, "input": given}},
        filled,
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3),
    ),
    st.builds(
        lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
        filled,
        filled,
    ),
    st.just({"reasoningContent": {"redactedContent": "c2VjcmV0"}}),
)
counts = st.integers(0, 1000)
usages = st.fixed_dictionaries(
    {"inputTokens": counts, "outputTokens": counts},
    optional={"cacheReadInputTokens": counts, "cacheWriteInputTokens": counts},
)
stops = st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "content_filtered", "new_reason"])


def dialect() -> Converse:
    made = Converse(model="m")
    made.response_id = "r"
    return made


def assembled(deltas: Sequence[Delta]) -> Reply:
    """Put a stream's deltas together; their order is checked on the way."""
    assert isinstance(deltas[0], Begun)
    assert isinstance(deltas[-1], Ended)
    parts: list[ReplyPart] = []
    open_parts: set[int] = set()
    stopped, usage = None, None
    for delta in deltas[1:-1]:
        if isinstance(delta, PartBegun):
            assert delta.index == len(parts)
            parts.append(delta.part)
            open_parts.add(delta.index)
        elif isinstance(delta, PartGrown):
            assert delta.index in open_parts
            parts[delta.index] = grown(parts[delta.index], delta.text)
        elif isinstance(delta, PartSigned):
            part = parts[delta.index]
            assert isinstance(part, Thinking)
            parts[delta.index] = Thinking(text=part.text, signature=delta.signature)
        elif isinstance(delta, PartEnded):
            open_parts.remove(delta.index)
        elif isinstance(delta, Stopped):
            assert not open_parts
            stopped = delta.reason
        elif isinstance(delta, UsageTold):
            usage = delta.usage
    return Reply(id=deltas[0].id, model=deltas[0].model, parts=tuple(parts), stop_reason=stopped, usage=usage)


def grown(part: ReplyPart, text: str) -> ReplyPart:
    if isinstance(part, ToolCall):
        return ToolCall(id=part.id, name=part.name, arguments=part.arguments + text)
    if isinstance(part, Thinking):
        return Thinking(text=part.text + text)
    assert not isinstance(part, Refusal)
    return Text(part.text + text)


def same(part: ReplyPart) -> Any:
    return (part.id, part.name, json.loads(part.arguments)) if isinstance(part, ToolCall) else part


@given(st.lists(blocks, max_size=5), stops, usages, st.integers(1, 50))
def test_a_stream_says_what_the_plain_answer_says(
    said: list[dict[str, Any]], stop: str, usage: dict[str, int], size: int
) -> None:
    plain = dialect().read_reply(kit.answer(said, stop=stop, usage=usage))
    whole = b"".join(kit.stream(said, stop=stop, usage=usage))
    reader = dialect().stream_reader()
    deltas = [delta for place in range(0, len(whole), size) for delta in reader.feed(whole[place : place + size])]
    streamed = assembled([*deltas, *reader.finish()])
    assert [same(part) for part in streamed.parts] == [same(part) for part in plain.parts]
    assert (streamed.id, streamed.model, streamed.stop_reason) == ("r", "m", plain.stop_reason)
    assert streamed.usage == plain.usage
    assert plain.usage is not None
    cached = [usage.get("cacheReadInputTokens"), usage.get("cacheWriteInputTokens")]
    assert [plain.usage.cache_read_tokens, plain.usage.cache_write_tokens] == cached
    assert plain.usage.input_tokens == usage["inputTokens"] + sum(count or 0 for count in cached)
    assert plain.usage.output_tokens == usage["outputTokens"]


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", "end"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
        ("malformed_tool_use", "end"),
        ("model_context_window_exceeded", "context_full"),
    ],
)
def test_stop_reasons(stop: str, reason: str) -> None:
    assert dialect().read_reply(kit.answer([{"text": "x"}], stop=stop)).stop_reason == reason


def test_cited_texts_are_texts() -> None:
    cited = {"citationsContent": {"content": [{"text": "Two"}, {"text": " halves."}], "citations": []}}
    assert dialect().read_reply(kit.answer([cited])).parts == (Text("Two halves."),)


@pytest.mark.parametrize("body", [b"<<<", b"{}", b'{"output":{}}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        dialect().read_reply(body)


def test_counts_that_cannot_be_are_no_usage() -> None:
    wrong = {"inputTokens": -1, "outputTokens": 1}
    assert dialect().read_reply(kit.answer([], usage=wrong)).usage is None
    assert dialect().read_reply(kit.answer([], usage={"totalTokens": 1})).usage is None
    hour = {"inputTokens": 1, "outputTokens": 1, "cacheDetails": [{"ttl": "5m", "inputTokens": 4}]}
    assert dialect().read_reply(kit.answer([], usage=hour)).usage == Usage(input_tokens=1, output_tokens=1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"message":"No such model."}', ReportedError("No such model.")),
        (b'{"Message":"Not you."}', ReportedError("Not you.")),
        (
            b'{"__type":"com.amazon#ThrottlingException","message":"Slow down."}',
            ReportedError("Slow down.", type="rate_limit_error", code="429"),
        ),
        (b"<html>", ReportedError("<html>")),
        (b'{"detail":"Other."}', ReportedError("Other.")),
    ],
)
def test_refusals(body: bytes, error: ReportedError) -> None:
    assert dialect().read_refusal(body) == error


def test_failures_inside_a_stream() -> None:
    def read(message: bytes) -> list[Delta]:
        return dialect().stream_reader().feed(message)

    validation = kit.exception("validationException", "Too long.")
    assert read(validation) == [Failed(ReportedError("Too long.", type="invalid_request_error", code="400"))]
    error = kit.message({":message-type": "error", ":error-code": "Odd", ":error-message": "Sorry."}, b"")
    assert read(error) == [Failed(ReportedError("Sorry.", type="upstream_error", code="502"))]
    bare = kit.message({":message-type": "exception", ":exception-type": "serviceUnavailableException"}, b"")
    assert read(bare) == [Failed(ReportedError("serviceUnavailableException", type="upstream_error", code="503"))]
    assert read(kit.event("somethingNew", a=1)) == []
    with pytest.raises(UpstreamGarbled):
        read(kit.message({":message-type": "event", ":event-type": "metadata"}, b"<<<"))


def test_the_sequence_that_stopped_it() -> None:
    stop = kit.event("messageStop", stopReason="stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})
    assert dialect().stream_reader().feed(stop) == [Stopped("stop_sequence", "END")]
