from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tallystick.wire.call_request import Endpoint
from tallystick.wire.openai.request import parse_request
from tallystick.wire.token_estimate import InputTokens, estimate_input_tokens, estimate_output_tokens, hides_names


def tokens(content: Any) -> InputTokens:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return tokens_of(json.dumps(body, ensure_ascii=False).encode())


def tokens_of(raw: bytes, endpoint: Endpoint = "chat/completions") -> InputTokens:
    return estimate_input_tokens(parse_request(endpoint, raw))


def estimate(content: Any) -> int:
    return tokens(content).estimate


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


@pytest.mark.parametrize(
    "content",
    [
        ";base64,{}",
        "see ;base64,{}",
        "data:text/plain;base64,{}",
        [{"type": "text", "text": "data:text/plain;base64,{}"}],
        [{"type": "image_url", "image_url": {"url": "x data:image/png;base64,{}"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,x{}"}}],
        [{"type": "input_audio", "input_audio": {"data": "{}", "format": "wav"}}],
        [{"type": "input_audio", "input_audio": {"data": "data:{}", "format": "wav"}}],
    ],
)
@pytest.mark.parametrize("words", ["word_", "word,", "word\\n", "wörd", "word\x7f", "word\n", "word-"])
def test_text_without_spaces_is_text(content: Any, words: str) -> None:
    filled = json.loads(json.dumps(content).replace("{}", json.dumps(words * 100_000)[1:-1]))
    assert tokens(filled).bound > 150_000


@pytest.mark.parametrize("content", [";base64,{}", "data:text/plain;base64,{}"])
def test_words_in_the_alphabet_of_base64_are_text_where_no_media_are_given(content: str) -> None:
    assert tokens(content.replace("{}", "HelloWorld" * 10_000)).bound > 30_000


@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_encoded_media_are_known_however_the_json_is_written(separators: tuple[str, str], slash: str) -> None:
    url = "data:image/png;base64," + "a/+Z" * 200_000 + "=="
    for part in ({"image_url": {"url": url}}, {"image_url": url}, {"file": {"file_data": url}}):
        body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
        raw = json.dumps(body, separators=separators).replace("/", slash).encode()
        assert 1000 < tokens_of(raw).estimate < 3000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"image_url": "https://example.com/a.png"},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_file", "file_id": "f"},
        {"type": "input_audio", "input_audio": {"id": "f"}},
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_media_that_are_not_in_the_request_are_in_its_bound(part: Any, escaped: bool) -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": [part] * 10}]}).encode()
    if escaped:
        raw = raw.replace(b"image", b"im\\u0061ge").replace(b"file", b"fi\\u006Ce").replace(b"put_", b"put\\u005f")
    counted = tokens_of(raw)
    assert 16_000 <= counted.bound < 100_000
    assert counted.estimate < 1000


@pytest.mark.parametrize(
    ("content", "hides"),
    [
        (rb"\u0061udio", True),
        (rb"audi\u006F", True),
        (rb"cache\u005fcontrol", True),
        (rb"\\\u0061", True),
        (rb"\\u0061", False),
        (rb"\\\\u0061", False),
        (rb"caf\u00e9 \u003cb\u003e \u0000 \u4f60 \n", False),
        (b"u0061", False),
    ],
)
def test_letters_that_are_written_as_escapes_are_noticed(content: bytes, hides: bool) -> None:
    assert hides_names(b'{"a":"' + content + b'"}') is hides


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("shape", ["flat", "lists"])
def test_ids_of_tokens_are_counted_one_by_one(size: int, shape: str) -> None:
    for value in (1, 200_000):
        ids = [value] * 1000 if shape == "flat" else [[value] * 100] * 10
        for separators in ((",", ":"), (", ", ": ")):
            for endpoint, field in (("completions", "prompt"), ("embeddings", "input")):
                body = {"model": "m", field: ids, "user": "u" * size}
                counted = tokens_of(json.dumps(body, separators=separators).encode(), endpoint)  # type: ignore[arg-type]
                assert 1000 + size // 3 < counted.bound < 1050 + size // 3
                assert 1000 + size // 4 < counted.estimate < 1050 + size // 4


def test_many_marks_take_no_time_and_hide_nothing() -> None:
    raw = b'{"model":"m","messages":[{' + b",".join([b'"data":"aaaaaaaa"'] * 100_000) + b"}]}"
    assert tokens_of(raw).bound > len(raw) // 3 - 10_000


def test_output() -> None:
    assert [estimate_output_tokens(count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
