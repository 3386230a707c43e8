"""Streams between dialects: whatever pieces they come in, and what some upstreams do that others don't."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.wire.anthropic.reading import PASSED_THROUGH
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.call_request import CallRequest
from tallystick.wire.caller_dialects import CALLER_DIALECTS
from tallystick.wire.dialect import StreamMeter, UpstreamDialect
from tallystick.wire.gemini.native import GeminiReading
from tallystick.wire.gemini.upstream import Gemini
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.reading import USAGE_HIDDEN
from tallystick.wire.responses.reading import ResponsesReading
from tallystick.wire.responses.upstream import ResponsesUpstream
from tallystick.wire.translation import TranslatedStream

JSON = dict[str, Any]
UPSTREAMS: dict[str, UpstreamDialect] = {
    "openai": OpenAIChat(asks_usage=True, names_completion_tokens=True),
    "anthropic": AnthropicUpstream(),
    "gemini": Gemini(),
    "responses": ResponsesUpstream(),
}
NATIVE = {
    "openai": USAGE_HIDDEN,
    "anthropic": PASSED_THROUGH,
    "gemini": GeminiReading(as_array=False),
    "responses": ResponsesReading(),
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}


def chunk(delta: JSON | None = None, reason: str | None = None, **more: Any) -> JSON:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return {"id": "chatcmpl-1", "model": "gpt", "choices": [choice], **more}


def call(index: int, arguments: str, call_id: str = "", name: str = "") -> JSON:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, "function": function, **({"id": call_id} if call_id else {})}]})


def events(*told: JSON) -> bytes:
    named = (b"event: " + each["type"].encode() + b"\n" if "type" in each else b"" for each in told)
    return b"".join(
        name + b"data: " + json.dumps(each).encode() + b"\n\n" for name, each in zip(named, told, strict=True)
    )


def chunks(*told: JSON) -> bytes:
    return events(*told) + b"data: [DONE]\n\n"


def message(*blocks: JSON, reason: str = "tool_use") -> bytes:
    begun = {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}}
    return events(
        {"type": "message_start", "message": begun},
        *blocks,
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )


def meter(caller: str, upstream: str) -> TranslatedStream:
    request = CallRequest(
        dialect=caller,
        endpoint="chat/completions",
        model="public",
        raw=b"{}",
        stream=True,
        client_wants_usage=True,
        metadata={},
        litellm_metadata={},
        tags=[],
    )
    return TranslatedStream(request, CALLER_DIALECTS[caller], UPSTREAMS[upstream], created=1)


def read(meter: StreamMeter, pieces: Sequence[bytes]) -> tuple[bytes, tuple[object, ...]]:
    out = b"".join(map(meter.feed, pieces)) + meter.finish()
    return out, (meter.usage, meter.error, meter.response_id, meter.output_characters, meter.is_whole)


def calls_told(caller: str, out: bytes) -> list[tuple[str, str, Any]]:
    """Put the tool calls of a stream together, as a client of OpenAI's does: by index."""
    assert caller == "openai"
    calls: dict[int, list[str]] = {}
    for line in out.splitlines():
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            for each in choice["delta"].get("tool_calls", ()):
                known = calls.setdefault(each["index"], [each.get("id", ""), each["function"].get("name", ""), ""])
                known[2] += each["function"].get("arguments", "")
    return [(call_id, name, json.loads(arguments)) for call_id, name, arguments in calls.values()]


TEXT = "Łódź 🜚 \u2028 кто?"
STREAMS = {
    "openai": chunks(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": TEXT}),
        call(0, '{"x":', "a", "f"),
        call(0, "1}"),
        chunk(reason="tool_calls"),
        {"id": "chatcmpl-1", "model": "gpt", "choices": [], "usage": USAGE},
    ),
    "anthropic": message(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
        {"type": "content_block_stop", "index": 0},
        reason="end_turn",
    ),
    "gemini": events(
        {"responseId": "r1", "modelVersion": "gemini", "candidates": [{"content": {"parts": [{"text": TEXT}]}}]},
        {
            "candidates": [{"content": {"parts": []}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 7},
        },
    ),
    "responses": events(
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt", "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": TEXT},
        {
            "type": "response.completed",
            "response": {
                "id": "resp_1",
                "model": "gpt",
                "status": "completed",
                "output": [],
                "usage": {"input_tokens": 9, "output_tokens": 7, "total_tokens": 16},
            },
        },
    ),
}


@settings(max_examples=60, deadline=None)
@given(
    upstream=st.sampled_from(sorted(UPSTREAMS)),
    caller=st.sampled_from([*sorted(CALLER_DIALECTS), "native"]),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    comment=st.sampled_from([b"", b": keep-alive\n\n"]),
    cuts=st.lists(st.integers(0, 3000), max_size=40),
    is_single_bytes=st.booleans(),
)
def test_whatever_pieces_a_stream_comes_in_it_says_the_same(
    upstream: str, caller: str, line_end: bytes, comment: bytes, cuts: list[int], is_single_bytes: bool
) -> None:
    body = (comment + STREAMS[upstream].replace(b"\n\n", b"\n\n" + comment)).replace(b"\n", line_end)
    places = [*range(1, len(body))] if is_single_bytes else sorted({cut % len(body) for cut in cuts})
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]

    def new() -> StreamMeter:
        return NATIVE[upstream].meter() if caller == "native" else meter(caller, upstream)

    out, facts = read(new(), pieces)
    assert (out, facts) == read(new(), [body])
    usage = facts[0]
    assert (usage.input_tokens, usage.output_tokens) == (9, 7)  # type: ignore[attr-defined]
    if caller != "native":
        assert (out, facts) == read(new(), [STREAMS[upstream]])
        assert json.dumps(TEXT)[1:-1].encode() in out or TEXT.encode() in out


@pytest.mark.parametrize("caller", sorted(CALLER_DIALECTS))
def test_arguments_that_come_in_turns_belong_to_their_calls(caller: str) -> None:
    body = chunks(
        call(0, '{"x"', "a", "f"), call(1, '{"y"', "b", "g"), call(0, ":1}"), call(1, ":2}"), chunk(reason="tool_calls")
    )
    out, facts = read(meter(caller, "openai"), [body])
    assert facts[1] is None
    if caller == "openai":
        assert calls_told(caller, out) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]
    if caller == "anthropic":  # Block by block, which is what its clients expect.
        stops = [out.index(b'"content_block_stop","index":%d' % index) for index in (0, 1)]
        assert stops[0] < out.index(b'"content_block_start","index":1') < stops[1]
    if caller == "gemini":
        assert b'{"name":"f","args":{"x":1},"id":"a"}' in out
        assert b'{"name":"g","args":{"y":2},"id":"b"}' in out


def test_calls_that_an_upstream_gives_one_index_are_two() -> None:
    body = chunks(call(0, '{"x":1}', "a", "f"), call(0, '{"y":2}', "b", "g"), chunk(reason="stop"))
    out, _ = read(meter("openai", "openai"), [body])
    assert calls_told("openai", out) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]


def test_an_id_that_is_told_again_and_again_is_one_call() -> None:
    body = chunks(call(0, '{"x"', "a", "f"), call(0, ":1", "a", "f"), call(0, "}", "other"), chunk(reason="stop"))
    out, _ = read(meter("openai", "openai"), [body])
    assert calls_told("openai", out) == [("a", "f", {"x": 1})]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    begun = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    empty = {"type": "input_json_delta", "partial_json": ""}
    body = message(
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "content_block_delta", "index": 0, "delta": empty},
        {"type": "content_block_stop", "index": 0},
    )
    out, _ = read(meter("openai", "anthropic"), [body])
    assert calls_told("openai", out) == [("toolu_1", "now", {})]


@pytest.mark.parametrize("caller", sorted(CALLER_DIALECTS))
def test_what_azure_says_of_its_filters_is_not_the_beginning(caller: str) -> None:
    out, facts = read(meter(caller, "openai"), [STREAMS["openai"]])
    assert facts[2] == "chatcmpl-1"
    assert b"chatcmpl-1" in out
    assert b'"id":""' not in out
