"""What one dialect can say and another can't is named, never left out in silence; nothing is made up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.wire.anthropic.conversation import read_messages_request
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.conversation import Conversation, Message, Text
from tallystick.wire.dialect import UpstreamDialect
from tallystick.wire.gemini.upstream import Gemini
from tallystick.wire.openai.chat_request import read_chat_request
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.responses.conversation import read_responses_request

OPENAI = OpenAIChat(asks_usage=True, names_completion_tokens=True)
SOUND = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
HELLO = (Message("user", (Text("hello"),)),)


def encoded(**body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("upstream", "source"),
    [
        (OPENAI, {"type": "url", "url": "https://files.example/a.pdf"}),
        (Gemini(), {"type": "file", "file_id": "file_011"}),
    ],
)
def test_a_document_in_the_result_of_a_tool(upstream: UpstreamDialect, source: dict[str, str]) -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": source}]}
    said = read_messages_request(encoded(messages=[{"role": "user", "content": [result]}], max_tokens=9))
    assert upstream.write_request(said, model="m").unsaid == ("messages.0.content (document of a tool)",)


def test_what_is_no_text_in_a_system_prompt_or_in_a_result() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "be kind"}, PICTURE]},
        {"role": "tool", "tool_call_id": "t", "content": [SOUND]},
    ]
    said = read_chat_request(encoded(messages=messages))
    assert said.unsaid == ("messages.0.content (image)", "messages.1.content (audio)")
    assert [text.text for text in said.system] == ["be kind"]

    picture = {"type": "input_image", "image_url": "https://pictures.example/a.png"}
    items = [
        {"role": "developer", "content": [picture]},
        {"type": "function_call_output", "call_id": "t", "output": [SOUND]},
    ]
    said = read_responses_request(encoded(input=items))
    assert said.unsaid == ("input.0.content (image)", "input.1.output (audio)")


def test_a_limit_of_nothing_is_not_made_a_large_one() -> None:
    written = AnthropicUpstream().write_request(Conversation(messages=HELLO, max_tokens=0), model="m")
    assert json.loads(written.body)["max_tokens"] == 0


def test_an_effort_goes_with_adaptive_thought() -> None:
    said = read_chat_request(
        encoded(messages=[{"role": "user", "content": "hi"}], thinking={"type": "adaptive"}, reasoning_effort="high")
    )
    body = json.loads(AnthropicUpstream().write_request(said, model="m").body)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
