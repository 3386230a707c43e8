"""Microseconds of CPU that one chunk of a stream costs: passed through, and translated between two dialects.

    python bench/dialects.py [--chunks 2000]

No sockets: the meter of the stream is fed what an upstream would send, one event at a time. Best of 7 rounds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from tallystick.wire.anthropic.caller import AnthropicCaller
from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.dialect import StreamMeter
from tallystick.wire.native_reading import NativeStream
from tallystick.wire.openai.chat_caller import OpenAIChatCaller
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import parse_request
from tallystick.wire.sse import StreamScanner
from tallystick.wire.translation import TranslatedStream

_ROUNDS = 7
_ASKED = parse_request("chat/completions", b'{"model": "m", "messages": [{}], "stream": true}')
_OPENAI = OpenAIChat(asks_usage=True, names_completion_tokens=True)


def openai_events(count: int) -> list[bytes]:
    """Return chunks of one word each."""
    choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n"] * count


def anthropic_events(count: int) -> list[bytes]:
    """Return deltas of one word each, and what must come before them."""
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 1}}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}
    return [
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (start, block, *[delta] * count)
    ]


def microseconds(new_meter: Callable[[], StreamMeter], events: list[bytes]) -> float:
    """Return the CPU time of an event."""
    rounds = []
    for _ in range(_ROUNDS):
        meter = new_meter()
        begun = time.process_time()
        for event in events:
            meter.feed(event)
        rounds.append(time.process_time() - begun)
    return min(rounds) / len(events) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=2000)
    chunks = parser.parse_args().chunks
    openai, anthropic = openai_events(chunks), anthropic_events(chunks)
    cases: list[tuple[str, Callable[[], StreamMeter], list[bytes]]] = [
        ("openai, passed through", lambda: StreamScanner(hide_usage=True), openai),
        ("anthropic, passed through", lambda: NativeStream(AnthropicEvents().read), anthropic),
        (
            "anthropic for an openai client",
            lambda: TranslatedStream(_ASKED, OpenAIChatCaller(), AnthropicUpstream(), created=1),
            anthropic,
        ),
        (
            "openai for an anthropic client",
            lambda: TranslatedStream(_ASKED, AnthropicCaller(), _OPENAI, created=1),
            openai,
        ),
    ]
    for name, new_meter, events in cases:
        print(f"{name:32} {microseconds(new_meter, events):6.2f} us a chunk")


if __name__ == "__main__":
    main()
