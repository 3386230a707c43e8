"""Events in any pieces: what passes, what is held back, what is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire import sse_frames
from tallystick.wire.anthropic.caller import AnthropicCaller
from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.native_reading import NativeStream
from tallystick.wire.openai.chat_caller import OpenAIChatCaller
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import parse_request
from tallystick.wire.sse_frames import SSEFrames
from tallystick.wire.translation import TranslatedStream

RECORDINGS = Path(__file__).parents[2] / "recordings" / "anthropic.jsonl"
STREAMS = [
    exchange["body"].encode()
    for exchange in map(json.loads, RECORDINGS.read_text().splitlines())
    if "event-stream" in exchange["content_type"]
]
ASKED = parse_request(
    "chat/completions",
    b'{"model": "m", "messages": [{}], "stream": true, "stream_options": {"include_usage": true}}',
)


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 13, 4096, 10**9])
@pytest.mark.parametrize("body", STREAMS)
def test_a_native_stream_passes_unchanged_and_its_end_is_held_back(body: bytes, size: int) -> None:
    stream = NativeStream(AnthropicEvents().read)
    passed = b"".join(map(stream.feed, pieces(body, size)))
    assert stream.saw_done
    assert b"message_stop" not in passed
    assert passed + stream.finish() == body
    assert stream.usage is not None
    assert stream.first_content


@pytest.mark.parametrize("body", STREAMS)
def test_a_stream_means_the_same_however_it_is_cut(body: bytes) -> None:
    def translated(size: int) -> tuple[bytes, bytes, object]:
        stream = TranslatedStream(ASKED, OpenAIChatCaller(), AnthropicUpstream(), created=1)
        passed = b"".join(map(stream.feed, pieces(body, size)))
        return passed, stream.finish(), stream.usage

    whole = translated(10**9)
    assert translated(1) == whole
    assert translated(100) == whole
    passed, end, usage = whole
    assert b"[DONE]" not in passed
    assert b'"finish_reason":"' not in passed
    assert end.endswith(b"data: [DONE]\n\n")
    assert usage is not None
    again = TranslatedStream(ASKED, AnthropicCaller(), OpenAIChat(True, True), created=1)
    back = again.feed(passed + end) + again.finish()
    assert back.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert again.error is None


@pytest.mark.parametrize("body", STREAMS[:2])
def test_a_stream_that_is_cut_off_fails_in_the_caller_s_dialect(body: bytes) -> None:
    stream = TranslatedStream(ASKED, OpenAIChatCaller(), AnthropicUpstream(), created=1)
    stream.feed(body[: len(body) // 2])
    end = stream.finish()
    assert stream.error is not None
    assert stream.usage is None
    assert stream.begun_usage is not None
    assert b"[DONE]" not in end
    assert json.loads(end.split(b"data: ")[-1])["error"]["message"] == stream.error.message


def test_an_error_event_ends_a_stream_in_both_dialects() -> None:
    failed = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Too much"}}\n\n'
    body = STREAMS[0][:700].rpartition(b"\n\n")[0] + b"\n\n" + failed
    native = NativeStream(AnthropicEvents().read)
    assert native.feed(body) + native.finish() == body
    assert native.error is not None
    assert (native.error.type, native.error.message) == ("overloaded_error", "Too much")
    stream = TranslatedStream(ASKED, OpenAIChatCaller(), AnthropicUpstream(), created=1)
    stream.feed(body)
    assert json.loads(stream.finish().split(b"data: ")[-1])["error"]["type"] == "overloaded_error"


def test_what_can_t_be_read_passes_natively() -> None:
    body = b'data: not json\n\n: a comment\n\nevent: x\ndata: {"type": 5}\n\n' + STREAMS[0]
    stream = NativeStream(AnthropicEvents().read)
    assert stream.feed(body) + stream.finish() == body
    assert stream.usage is not None


def test_the_end_behind_the_end_is_bounded() -> None:
    stream = NativeStream(AnthropicEvents().read)
    stream.feed(STREAMS[0])
    for _ in range(1000):
        stream.feed(b": more and more\n\n" * 100)
    assert len(stream.finish()) < 100 * 1024


@given(
    st.lists(st.sampled_from([b"data: a\n\n", b"event: e\r\ndata: b\r\n\r\n", b": c\n\n", b"data: d\rdata: e\r\r"])),
    st.integers(1, 9),
)
def test_frames_are_the_same_in_any_pieces(events: list[bytes], size: int) -> None:
    body = b"".join(events)
    frames = SSEFrames()
    found = [frame for piece in pieces(body, size) for frame in frames.feed(piece)] + frames.finish()
    assert b"".join(frame.raw for frame in found) == body
    assert [frame.data for frame in found if frame.data] == [
        data for data in (_data(event) for event in events) if data
    ]


def _data(event: bytes) -> bytes:
    return b"\n".join(line[6:] for line in event.splitlines() if line.startswith(b"data: "))


def test_an_event_that_is_too_long_passes_unread_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_frames, "EVENT_BYTES_MAX", 100)
    body = b"data: " + b"x" * 1000 + b"\n\ndata: y\n\n"
    frames = SSEFrames()
    found = [frame for piece in pieces(body, 7) for frame in frames.feed(piece)] + frames.finish()
    assert b"".join(frame.raw for frame in found) == body
    assert [frame.data for frame in found if frame.data] == [b"y"]
    assert frames.oversized == 1
