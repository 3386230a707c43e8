from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tallystick.wire.openai_request import parse_request
from tallystick.wire.token_estimate import estimate_input_tokens, estimate_output_tokens


def estimate(content: Any) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return estimate_input_tokens(
        parse_request("chat/completions", json.dumps(body, ensure_ascii=False).encode())
    ).estimate


def test_text_is_about_four_bytes_a_token() -> None:
    assert 1000 <= estimate("word" * 1000) <= 1050
    assert 1000 <= estimate("字" * 1000) <= 1050


@pytest.mark.parametrize("count", [1, 3])
def test_an_encoded_image_is_not_text(count: int) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"\0" * 600_000).decode()
    tokens = estimate([{"type": "image_url", "image_url": {"url": url}}] * count)
    assert 1000 * count < tokens < 2000 * count


def test_encoded_sound_is_not_text() -> None:
    sound = base64.b64encode(b"\0" * 600_000).decode()
    assert estimate([{"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}]) < 3000


def test_media_that_is_marked_twice_counts_once() -> None:
    sound = "data:audio/wav;base64," + base64.b64encode(b"\0" * 600_000).decode()
    assert 1000 < estimate([{"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}]) < 3000


@pytest.mark.parametrize("mark", [";base64,", '"data": "', ";base64,;base64,"])
def test_text_behind_a_mark_is_text(mark: str) -> None:
    assert estimate(mark + "some words " * 1000) > 2700


def test_output() -> None:
    assert [estimate_output_tokens(count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
