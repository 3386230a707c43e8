"""In which service tier an answer was made, as each dialect tells it, plain and streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bedrock_kit
from tallystick.wire.anthropic.reading import PASSED_THROUGH as ANTHROPIC
from tallystick.wire.anthropic.upstream import read_facts as anthropic_facts
from tallystick.wire.bedrock.upstream import Converse
from tallystick.wire.gemini.native import GeminiReading
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.reading import USAGE_HIDDEN
from tallystick.wire.passed.readings import CONVERSE
from tallystick.wire.reply import Begun, UsageTold
from tallystick.wire.responses.reading import ResponsesReading
from tallystick.wire.service_tier import join_tiers, read_place, read_tier, tiers_ruled_out

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
CHAT_USAGE = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}
CHAT = {
    "id": "c",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Two."}}],
    "usage": CHAT_USAGE,
}
RESPONSE = {"id": "r", "model": "m", "status": "completed", "output": [], "usage": {"input_tokens": 1}}
GEMINI_USAGE = {"promptTokenCount": 12, "candidatesTokenCount": 6}
MESSAGE = {"type": "message", "id": "m", "model": "m", "content": [], "stop_reason": "end_turn"}
TOKENS = {"input_tokens": 12, "output_tokens": 6}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def body(told: Any) -> bytes:
    return json.dumps(told).encode()


def streamed(reading: Any, data: bytes) -> str:
    meter = reading.meter()
    for start in range(0, len(data), 7):  # In pieces, as it comes.
        meter.feed(data[start : start + 7])
    meter.finish()
    assert meter.usage is not None
    return meter.service_tier


@pytest.mark.parametrize(
    ("told", "tier"),
    [("default", ""), ("standard", ""), ("on_demand", ""), ("auto", ""), ("", ""), (None, ""), (3, ""), ({}, ""),
     ("flex", "flex"), ("PRIORITY", "priority"), ("scale", "scale"), ("ON_DEMAND", ""), ("ON_DEMAND_FLEX", "flex"),
     ("ON_DEMAND_PRIORITY", "priority"), ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
     ("TRAFFIC_TYPE_UNSPECIFIED", ""), ("flex;price=0", ""), ("a" * 33, ""), ("priority+fast", "")],
)  # fmt: skip
def test_names_of_tiers(told: object, tier: str) -> None:
    assert read_tier(told) == tier


def test_places_and_joined_tiers() -> None:
    assert [read_place(told) for told in ("us", "US", "global", "not_available", None)] == ["us", "us", "", "", ""]
    assert join_tiers("priority", "", "us") == "priority+us"


@pytest.mark.parametrize(("told", "tier"), [("priority", "priority"), ("default", ""), (None, ""), (7, "")])
def test_openai_chat(told: object, tier: str) -> None:
    fields = {"service_tier": told}
    assert USAGE_HIDDEN.read_plain(body(CHAT | fields)).facts.service_tier == tier
    odd = CHAT | fields | {"x_groq": "odd"}
    assert USAGE_HIDDEN.read_plain(body(odd)).facts.service_tier == tier
    upstream = OpenAIChat(asks_usage=True, names_completion_tokens=True)
    assert upstream.read_reply(body(CHAT | fields)).service_tier == tier
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Two."}}], **fields}
    odd_chunk = chunk | {"choices": [{"index": 0, "delta": 7}]}
    # Some upstreams tell it with the first chunk only.
    for first in (chunk, odd_chunk):
        assert streamed(USAGE_HIDDEN, sse(first, {"id": "c", "choices": [], "usage": CHAT_USAGE})) == tier
    deltas = upstream.stream_reader().feed(sse(chunk, {"id": "c", "choices": [], "usage": CHAT_USAGE}))
    assert [each.service_tier for each in deltas if isinstance(each, Begun | UsageTold)] == [tier, tier]


@pytest.mark.parametrize(("told", "tier"), [("flex", "flex"), ("default", ""), ("auto", ""), (None, ""), (7, "")])
def test_responses(told: object, tier: str) -> None:
    reading = ResponsesReading()
    assert reading.read_plain(body(RESPONSE | {"service_tier": told})).facts.service_tier == tier
    created = {"type": "response.created", "response": {"id": "r", "service_tier": "priority"}}
    completed = {"type": "response.completed", "response": RESPONSE | {"service_tier": told}}
    assert streamed(reading, sse(created, completed)) == tier  # The last word counts.


@pytest.mark.parametrize(
    ("told", "tier"),
    [
        ({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, ""),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "batch", "inference_geo": "us"}, "batch+us"),
        ({"service_tier": "standard", "speed": "fast", "inference_geo": "us"}, "fast+us"),
        ({"service_tier": {}, "speed": 3, "inference_geo": None}, ""),
        ({}, ""),
    ],
)
def test_anthropic(told: dict[str, Any], tier: str) -> None:
    assert anthropic_facts(body(MESSAGE | {"usage": TOKENS | told})).service_tier == tier
    start = {"type": "message_start", "message": MESSAGE | {"usage": TOKENS | told}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}}
    assert streamed(ANTHROPIC, sse(start, end, {"type": "message_stop"})) == tier


@pytest.mark.parametrize(
    ("told", "tier"),
    [({"serviceTier": "standard"}, ""), ({"serviceTier": "flex"}, "flex"), ({}, ""), ({"serviceTier": 4}, ""),
     ({"trafficType": "ON_DEMAND"}, ""), ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority")],
)  # fmt: skip
def test_gemini(told: dict[str, Any], tier: str) -> None:
    reading = GeminiReading(as_array=False)
    answer = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI_USAGE | told}
    assert reading.read_plain(body(answer)).facts.service_tier == tier
    assert reading.read_plain(body(answer | {"candidates": "odd"})).facts.service_tier == tier
    assert streamed(reading, sse({"candidates": [{}]}, answer)) == tier


@pytest.mark.parametrize(
    ("told", "tier"),
    [({}, ""), ({"serviceTier": {"type": "default"}}, ""), ({"serviceTier": {"type": "flex"}}, "flex"),
     ({"serviceTier": {"type": "priority"}, "performanceConfig": {"latency": "optimized"}}, "priority+optimized"),
     ({"performanceConfig": {"latency": "standard"}}, "")],
)  # fmt: skip
def test_bedrock(told: dict[str, Any], tier: str) -> None:
    usage = {"inputTokens": 12, "outputTokens": 6}
    answer = {"output": {"message": {"content": []}}, "stopReason": "end_turn", "usage": usage, **told}
    assert Converse(model="m").read_reply(body(answer)).service_tier == tier
    assert CONVERSE.read_plain(body(answer)).facts.service_tier == tier
    deltas = Converse(model="m").stream_reader().feed(bedrock_kit.event("metadata", usage=usage, **told))
    assert [each.service_tier for each in deltas if isinstance(each, UsageTold)] == [tier]
    meter = CONVERSE.meter()
    meter.feed(bedrock_kit.event("metadata", usage=usage, **told))
    assert meter.service_tier == tier


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "responses"])
def test_no_recorded_answer_is_of_another_tier_than_the_usual(name: str) -> None:
    readings = {"anthropic": ANTHROPIC, "gemini": GeminiReading(as_array=False), "responses": ResponsesReading()}
    path = RECORDINGS / f"{name}.jsonl"
    if not path.exists():
        path = RECORDINGS / "exchanges.jsonl"
    seen = 0
    for line in path.read_text().splitlines():
        each = json.loads(line)
        fits = name != "openai" or "/chat/completions" in each["path"]
        if each["status"] != 200 or not fits or "ier" not in each["body"] or "count" in each["path"]:
            continue
        reading: Any = readings.get(name, USAGE_HIDDEN)
        if "event-stream" in each["content_type"]:
            meter = reading.meter()
            meter.feed(each["body"].encode())
            meter.finish()
            assert meter.service_tier == ""
        else:
            assert reading.read_plain(each["body"].encode()).facts.service_tier == ""
        seen += 1
    assert seen


@pytest.mark.parametrize(
    ("said", "out"),
    [(b"{}", {"fast", "priority"}), (b'{"service_tier": "auto"}', {"fast"}),
     (b'{"service_tier": "priority"}', {"fast"}),
     (b'{"service_tier": "default"}', {"fast", "priority"}), (b'{"serviceTier": "FLEX"}', {"fast", "priority"}),
     (b'{"service_tier": "standard_only", "speed": "fast"}', {"priority"}), (b'{"speed": "\\u0066ast"}', {"priority"}),
     (b'{"serviceTier": {"type": "priority"}}', {"fast"}), (b"\xff\xfe", set()), (b"[1]", set())],
)  # fmt: skip
def test_what_a_request_rules_out(said: bytes, out: set[str]) -> None:
    assert tiers_ruled_out(said) == out
