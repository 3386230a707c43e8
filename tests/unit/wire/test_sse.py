from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.wire import sse
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.sse import HELD_BYTES_MAX, StreamScanner
from tallystick.wire.usage import Usage

RECORDINGS = Path(__file__).parents[2] / "recordings" / "exchanges.jsonl"
STREAMS: dict[str, dict[str, Any]] = {
    row["id"]: row
    for row in map(json.loads, RECORDINGS.read_text().splitlines())
    if "event-stream" in row["content_type"] and row["path"].endswith("/chat/completions")
}
USAGE_EVENT = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
TEXT_EVENT = b'data: {"id":"c","model":"m","choices":[{"delta":{"content":"hello"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def run(chunks: list[bytes], *, hide_usage: bool = True) -> tuple[StreamScanner, bytes, bytes]:
    """Return the scanner, what left during the stream, and what left at its end."""
    scanner = StreamScanner(hide_usage=hide_usage)
    during = b"".join([scanner.feed(chunk) for chunk in chunks])
    return scanner, during, scanner.finish()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def facts(scanner: StreamScanner) -> tuple[Any, ...]:
    return tuple(getattr(scanner, name) for name in scanner.__slots__ if not name.startswith("_"))


def without_usage_event(body: bytes) -> bytes:
    """Hide the usage chunk by reading whole events, independently of the scanner."""
    kept = []
    for event in body.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        hidden = data.startswith(b"{") and json.loads(data).get("usage") and json.loads(data).get("choices") == []
        if not hidden:
            kept.append(event)
    return b"\n\n".join(kept)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("hide_usage", [True, False])
@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 10**6), max_size=40))
def test_any_chunking_of_a_recorded_stream_is_the_same(name: str, hide_usage: bool, places: list[int]) -> None:
    body = STREAMS[name]["body"].encode()
    whole, _, _ = run([body], hide_usage=hide_usage)
    scanner, during, end = run(cut(body, places), hide_usage=hide_usage)
    assert during + end == (without_usage_event(body) if hide_usage else body)
    assert facts(scanner) == facts(whole)
    if scanner.saw_done:
        assert end == DONE


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams(name: str) -> None:
    row = STREAMS[name]
    scanner, _, _ = run([row["body"].encode()])
    recorded = read_answer(json.dumps({"usage": row["usage"]}).encode())
    assert (scanner.usage, scanner.reported_cost_nano_usd) == (recorded.usage, recorded.reported_cost_nano_usd)
    assert scanner.response_id
    assert scanner.first_content
    assert scanner.garbled_events == 0
    assert (scanner.error is not None) == ('"error":{' in row["body"])


PIECES = [
    b"\xef\xbb\xbf", b": comment\n\n", b"event: message\n", b"id: 1\n", TEXT_EVENT, USAGE_EVENT, b"\n", b"\n\n", b"\r",
    b"\r\n", b"data: not json\n\n",
    USAGE_EVENT.replace(b"\n", b"\r\n"), USAGE_EVENT.replace(b"\n", b"\r"), b"data:\n",
    TEXT_EVENT.replace(b"\n", b"\r\n"), b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n', b"data: {",
    DONE, b"data: [DONE]\r\n\r\n", b'event: error\ndata: {"message":"bad","code":4}\n\n', b'data: {"usage":null}\n\n',
    b'data: {"usage":{"prompt_tokens":"x"},"choices":[]}\n\n', b"data: " + b"x" * 70_000, b"y" * 70_000 + b"\n\n",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=8),
    places=st.lists(st.integers(0, 10**6), max_size=12),
    hide_usage=st.booleans(),
)
def test_any_chunking_of_any_stream_is_the_same(pieces: list[bytes], places: list[int], hide_usage: bool) -> None:
    body = b"".join(pieces)
    whole, whole_during, whole_end = run([body], hide_usage=hide_usage)
    scanner, during, end = run(cut(body, places), hide_usage=hide_usage)
    assert facts(scanner) == facts(whole)
    assert during + end == whole_during + whole_end
    if not hide_usage and not scanner.discarded_bytes:
        assert during + end == body


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=5))
def test_byte_by_byte_is_the_same(pieces: list[bytes]) -> None:
    body = b"".join(piece for piece in pieces if len(piece) < 1000)
    whole, whole_during, whole_end = run([body])
    scanner, during, end = run([bytes([byte]) for byte in body])
    assert (facts(scanner), during + end) == (facts(whole), whole_during + whole_end)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_usage_chunk_is_hidden_and_the_end_held_back(line_end: bytes) -> None:
    text, usage, done = (part.replace(b"\n", line_end) for part in (TEXT_EVENT, USAGE_EVENT, DONE))
    scanner, during, end = run([text + usage + done])
    assert (during, end) == (text, done)
    assert scanner.usage == Usage(input_tokens=5, output_tokens=7)
    assert (scanner.response_id, scanner.model, scanner.output_characters) == ("c", "m", 5)
    assert scanner.saw_done


def test_the_usage_chunk_reaches_a_client_that_asked() -> None:
    scanner, during, end = run([TEXT_EVENT + USAGE_EVENT + DONE], hide_usage=False)
    assert (during, end) == (TEXT_EVENT + USAGE_EVENT, DONE)
    assert scanner.usage == Usage(input_tokens=5, output_tokens=7)


def test_a_whole_event_leaves_at_once() -> None:
    scanner = StreamScanner(hide_usage=True)
    assert scanner.feed(TEXT_EVENT) == TEXT_EVENT
    assert scanner.feed(TEXT_EVENT[:20]) == b""
    assert scanner.feed(TEXT_EVENT[20:]) == TEXT_EVENT


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":5}}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":5},"error":{"message":"x"}}\n\n',
        b'data: {"usage":{"prompt_tokens":5}}\n\n',
    ],
)
def test_only_the_usage_chunk_is_hidden(event: bytes) -> None:
    assert run([event])[1] == event


def test_last_usage_wins_and_null_does_not() -> None:
    events = [
        b'data: {"choices":[],"usage":%s}\n\n' % usage
        for usage in (b'{"prompt_tokens":1}', b'{"prompt_tokens":2}', b"null")
    ]
    assert run(events)[0].usage == Usage(input_tokens=2)


def test_a_stream_without_its_last_blank_line() -> None:
    scanner, during, end = run([TEXT_EVENT + USAGE_EVENT.rstrip()])
    assert (during, end) == (TEXT_EVENT, b"")
    assert scanner.usage is not None
    scanner, during, end = run([TEXT_EVENT, b"data: [DO", b"NE]"])
    assert (during, end, scanner.saw_done) == (TEXT_EVENT, b"data: [DONE]", True)


def test_a_cut_stream_passes_as_far_as_it_came() -> None:
    scanner, during, end = run([TEXT_EVENT + TEXT_EVENT[:30]])
    assert (during, end) == (TEXT_EVENT, TEXT_EVENT[:30])
    assert (scanner.saw_done, scanner.usage, scanner.output_characters) == (False, None, 5)


def test_output_characters_of_every_kind() -> None:
    deltas = [
        {"delta": {"content": "12345"}},
        {"delta": {"reasoning": "123", "reasoning_content": "123"}},
        {"delta": {"reasoning_content": "123"}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]}},
        {"delta": {"function_call": {"arguments": "12"}}},
        {"delta": {"refusal": "1"}},
        {"delta": {"role": "assistant", "content": None}},
        {"text": "1234567"},
    ]
    events = [b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\n" for delta in deltas]
    assert run(events)[0].output_characters == 5 + 3 + 3 + 4 + 2 + 1 + 7


def test_an_odd_chunk_still_counts() -> None:
    scanner, _, _ = run([b'data: {"id":1,"choices":[{"delta":{"content":7}}],"usage":{"prompt_tokens":3}}\n\n'])
    assert scanner.usage == Usage(input_tokens=3)
    assert scanner.first_content


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"error":{"message":"broke","type":"t","code":"c"}}\n\n',
        b'event: error\ndata: {"message":"broke","type":"t","code":"c"}\n\n',
        b'data: {"error":{"message":"broke","type":"t","code":"c"}}\n\n',
    ],
)
def test_an_error_in_the_stream(event: bytes) -> None:
    scanner, during, _ = run([event])
    assert during == event
    assert scanner.error is not None
    assert (scanner.error.message, scanner.error.type, scanner.error.code) == ("broke", "t", "c")


def test_a_long_event_passes_as_it_comes_and_is_read() -> None:
    long_event = b'data: {"choices":[{"delta":{"content":"' + b"x" * 200_000 + b'"}}],"usage":{"prompt_tokens":3}}\n\n'
    scanner = StreamScanner(hide_usage=True)
    assert scanner.feed(long_event[:HELD_BYTES_MAX]) == b""
    assert scanner.feed(long_event[HELD_BYTES_MAX:100_000]) == long_event[:100_000]
    assert scanner.feed(long_event[100_000:] + TEXT_EVENT) == long_event[100_000:] + TEXT_EVENT
    assert (scanner.output_characters, scanner.usage) == (200_005, Usage(input_tokens=3))


def test_an_event_beyond_reading_passes_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "SCANNED_BYTES_MAX", 100_000)
    long_event = b"data: " + b"x" * 300_000 + b"\n\n"
    for size in (len(long_event), 7000):
        chunks = [long_event[start : start + size] for start in range(0, len(long_event), size)]
        scanner, during, end = run([*chunks, TEXT_EVENT + USAGE_EVENT, DONE])
        assert (during, end) == (long_event + TEXT_EVENT, DONE)
        assert (scanner.unscanned_events, scanner.garbled_events, scanner.output_characters) == (1, 0, 5)


def test_what_follows_the_end_is_bounded() -> None:
    scanner, during, end = run([DONE, b"z" * 200_000])
    assert (during, len(end)) == (b"", HELD_BYTES_MAX)
    assert scanner.discarded_bytes == 200_000 + len(DONE) - HELD_BYTES_MAX
