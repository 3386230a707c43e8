"""The Responses API: neutral -> dialect -> neutral keeps what it can say; ids are the only bytes that change."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.control.key_ring import KeyRing, new_secret_key
from tallystick.control.sealed_ids import IdSealer
from tallystick.runtime.clock import SystemClock
from tallystick.wire.conversation import Refusal, Text, Thinking, ToolCall
from tallystick.wire.dialect import StreamMeter
from tallystick.wire.reply import Reply, StopReason
from tallystick.wire.responses.caller import ResponsesCaller
from tallystick.wire.responses.reading import IdReplacer, ResponsesReading
from tallystick.wire.responses.request import parse_responses
from tallystick.wire.responses.upstream import ResponsesUpstream
from tallystick.wire.translation import TranslatedStream
from tallystick.wire.usage import Usage

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings" / "responses.jsonl"
STREAMS = [
    exchange["body"].encode()
    for exchange in map(json.loads, RECORDINGS.read_text().splitlines())
    if "event-stream" in exchange["content_type"]
]
ASKED = parse_responses("responses", b'{"model":"m","input":"Hi","stream":true}')
RING = KeyRing([new_secret_key(SystemClock().now())])

words = st.text(min_size=1, max_size=20)
parts = st.lists(
    st.builds(Text, words)
    | st.builds(Refusal, words)
    | st.builds(Thinking, text=words, signature=words)
    | st.builds(ToolCall, id=words, name=words, arguments=st.just('{"a":1}')),
    max_size=4,
).map(tuple)
reasons: st.SearchStrategy[StopReason] = st.sampled_from(["end", "max_tokens", "refusal"])


@given(parts, reasons, st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_answer_means_the_same_again(
    said: tuple[Text | Refusal | Thinking | ToolCall, ...], reason: StopReason, inputs: int, outputs: int
) -> None:
    if reason == "end" and any(isinstance(part, ToolCall) for part in said):
        reason = "tool_calls"
    usage = Usage(input_tokens=inputs, output_tokens=outputs, cache_read_tokens=inputs // 2, reasoning_tokens=0)
    reply = Reply(id="r", model="m", parts=said, stop_reason=reason, usage=usage)
    assert ResponsesUpstream().read_reply(ResponsesCaller().write_reply(reply, created=1)) == reply


def passed(stream: StreamMeter, body: bytes, size: int) -> bytes:
    fed = b"".join(stream.feed(body[start : start + size]) for start in range(0, len(body), size))
    return fed + stream.finish()


@pytest.mark.parametrize("body", STREAMS)
@pytest.mark.parametrize("size", [7, 1000, 10**9])
def test_a_recorded_stream_keeps_its_bytes_and_is_written_again(body: bytes, size: int) -> None:
    native = ResponsesReading().meter()
    assert passed(native, body, size) == body
    assert native.saw_done

    written = TranslatedStream(ASKED, ResponsesCaller(), ResponsesUpstream(), created=1)
    again = ResponsesReading().meter()
    out = passed(written, body, size)
    assert passed(again, out, 1000) == out
    assert written.error is None
    assert (again.response_id, again.output_characters) == (native.response_id, written.output_characters)
    told, counted = again.usage, native.usage
    assert told is not None
    assert counted is not None
    assert (told.input_tokens, told.output_tokens) == (counted.input_tokens, counted.output_tokens)


def test_only_the_response_s_own_ids_are_replaced() -> None:
    said = json.dumps({"text": 'The "id": "r1" and "previous_response_id": "r0"'})
    body = '{"id": "r1", "previous_response_id":"r0", "output": [{"id":"m1"}, ' + said + "]}"
    written = IdReplacer(str.upper, known="r1").write(body.encode())
    assert written.decode() == '{"id": "R1", "previous_response_id":"R0", "output": [{"id":"m1"}, ' + said + "]}"


@given(st.text(), st.integers(0, 10**6))
def test_a_sealed_id_opens_only_as_it_was_made(text: str, place: int) -> None:
    sealer = IdSealer(RING, use="response")
    sealed = sealer.seal(text)
    assert sealer.seal(text) == sealed
    assert sealer.open(sealed) == text
    assert IdSealer(RING, use="other").open(sealed) is None
    changed = list(sealed)
    at = sealed.index(".") + 1 + place % (len(sealed) - sealed.index(".") - 2)
    changed[at] = "A" if changed[at] != "A" else "B"
    assert sealer.open("".join(changed)) is None


def test_a_raw_schema_goes_to_the_upstream_as_it_came() -> None:
    raw = b'{"model":"m","input":"Hi","tools":[{"type":"function","name":"f","parameters":{"type": "object"}}]}'
    conversation = ResponsesCaller().read_request(parse_responses("responses", raw))
    written = ResponsesUpstream().write_request(conversation, model="n")
    assert written.unsaid == ()
    assert msgspec.json.decode(written.body)["tools"][0]["parameters"] == {"type": "object"}


@pytest.mark.parametrize("streamed", [False, True])
def test_the_provider_s_own_tools_are_counted(streamed: bool) -> None:
    response = {
        "id": "resp_1",
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "file_search_call", "id": "fs_1", "queries": ["a", "b"], "results": None},
            {"type": "file_search_call", "id": "fs_2", "queries": ["c"]},
            {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"},
            {"type": "code_interpreter_call", "id": "ci_2", "container_id": "cntr_1", "code": "2"},
            {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="},
            {"type": "image_generation_call", "id": "ig_2", "status": "failed", "result": None},
        ],
        "usage": {"input_tokens": 9, "output_tokens": 7, "total_tokens": 16},
    }
    expected = Usage(input_tokens=9, output_tokens=7, file_searches=2, code_sessions=1, images=1)
    if streamed:
        meter = ResponsesReading().meter()
        meter.feed(b"data: " + json.dumps({"type": "response.completed", "response": response}).encode() + b"\n\n")
        meter.finish()
        assert meter.usage == expected
    else:
        assert ResponsesReading().read_plain(json.dumps(response).encode()).facts.usage == expected
