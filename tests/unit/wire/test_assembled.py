"""Streams put together again, for every recorded one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.assembled import assemble
from tallystick.wire.conversation import ToolCall
from tallystick.wire.dialect import UpstreamDialect
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.reply import PartBegun, PartGrown, ReplyPart, Stopped

RECORDINGS = Path(__file__).parents[2] / "recordings"
CHAT = OpenAIChat(asks_usage=True, names_completion_tokens=False)


def streams(path: str) -> list[dict[str, Any]]:
    exchanges = [json.loads(line) for file in RECORDINGS.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [
        each
        for each in exchanges
        if str(each.get("path", "")).endswith(path)
        and each.get("status") == 200
        and "event-stream" in str(each.get("content_type"))
    ]


@pytest.mark.parametrize(("path", "dialect"), [("chat/completions", CHAT), ("/messages", AnthropicUpstream())])
def test_every_recorded_stream_is_put_together(path: str, dialect: UpstreamDialect) -> None:
    found = streams(path)
    assert len(found) > 5
    for exchange in found:
        reader = dialect.stream_reader()
        deltas = [*reader.feed(exchange["body"].encode()), *reader.finish()]
        reply = assemble(deltas)
        assert reply.id, exchange["id"]
        stops = [delta.reason for delta in deltas if isinstance(delta, Stopped)]
        assert reply.stop_reason == (stops[-1] if stops else None), exchange["id"]
        for part in reply.parts:
            if isinstance(part, ToolCall) and stops:
                json.loads(part.arguments or "{}")
        begun = "".join(_text(delta.part) for delta in deltas if isinstance(delta, PartBegun))
        grown = "".join(delta.text for delta in deltas if isinstance(delta, PartGrown))
        assert sorted("".join(map(_text, reply.parts))) == sorted(begun + grown), exchange["id"]


def _text(part: ReplyPart) -> str:
    return part.arguments if isinstance(part, ToolCall) else part.text
