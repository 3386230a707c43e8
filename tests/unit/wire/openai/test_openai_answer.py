from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import UpstreamGarbled
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.usage import Usage

RECORDINGS = Path(__file__).parents[3] / "recordings" / "exchanges.jsonl"
DIALECT = ("/chat/completions", "/completions", "/embeddings")


def recorded(content_type: str) -> list[Any]:
    rows = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
    return [
        pytest.param(row, id=f"{row['provider']}-{row['id']}")
        for row in rows
        if row["status"] == 200 and row["path"].endswith(DIALECT) and content_type in row["content_type"]
    ]


def expected_usage(usage: dict[str, Any]) -> dict[str, int]:
    """What the recorded `usage` says, read independently of the code under test."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    cached = [prompt.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens")]
    kinds = {
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
        "cache_read_tokens": next((count for count in cached if count is not None), None),
        "cache_write_tokens": prompt.get("cache_write_tokens"),
        "reasoning_tokens": completion.get("reasoning_tokens"),
        "audio_input_tokens": prompt.get("audio_tokens"),
        "audio_output_tokens": completion.get("audio_tokens"),
        "image_output_tokens": completion.get("image_tokens"),
        "searches": (usage.get("server_tool_use_details") or {}).get("web_search_requests"),
    }
    return {kind: count for kind, count in kinds.items() if count is not None}


def as_dict(usage: Usage | None) -> dict[str, int]:
    return {} if usage is None else {k: v for k in usage.__struct_fields__ if (v := getattr(usage, k)) is not None}


@pytest.mark.parametrize("row", recorded("application/json"))
def test_recorded_answers(row: dict[str, Any]) -> None:
    body = json.loads(row["body"])
    facts = read_answer(row["body"].encode())
    expected = expected_usage(row["usage"])
    if row["provider"] == "gemini":  # Its thinking is in the total only.
        expected |= {"output_tokens": 74, "reasoning_tokens": 62}
    assert as_dict(facts.usage) == expected
    assert (facts.response_id, facts.model, facts.error) == (body.get("id") or "", body["model"], None)
    assert (facts.reported_cost_nano_usd is not None) == ("cost" in row["usage"])


def usage_of(text: str) -> Usage | None:
    return read_answer(b'{"usage":' + text.encode() + b"}").usage


def cost_of(text: str) -> int | None:
    return read_answer(b'{"usage":' + text.encode() + b"}").reported_cost_nano_usd


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        ("null", None),
        ("{}", None),
        ('{"total_tokens":4}', None),
        ('{"prompt_tokens":0,"completion_tokens":0}', Usage(input_tokens=0, output_tokens=0)),
        ('{"prompt_tokens":3,"total_tokens":3}', Usage(input_tokens=3)),
        ('{"prompt_tokens":3.0,"completion_tokens":"4"}', Usage(input_tokens=3, output_tokens=4)),
        ('{"prompt_tokens":3,"completion_tokens":{}}', None),
        (
            '{"prompt_tokens":119,"completion_tokens":9,"total_tokens":226,"reasoning_tokens":98}',
            Usage(input_tokens=119, output_tokens=107, reasoning_tokens=98),
        ),
        (
            '{"prompt_tokens":10,"completion_tokens":9,"total_tokens":19,"reasoning_tokens":5}',
            Usage(input_tokens=10, output_tokens=9, reasoning_tokens=5),
        ),
        (
            '{"prompt_tokens":9,"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":9}',
            Usage(input_tokens=9, cache_read_tokens=0),
        ),
        ('{"prompt_tokens":-3,"completion_tokens":4}', None),
        ('{"prompt_tokens":3,"completion_tokens":1000000000000000000000000}', None),
        ('{"prompt_tokens":3,"completion_tokens":4,"total_tokens":18446744073709551615}', None),
        (
            '{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":-1}}',
            Usage(input_tokens=3, output_tokens=4),
        ),
    ],
)
def test_usage_is_normalized(text: str, usage: Usage | None) -> None:
    assert usage_of(text) == usage


@pytest.mark.parametrize(
    ("text", "nano_usd"),
    [
        ('{"cost":0}', 0),
        ('{"cost":null}', None),
        ('{"cost":0.0076509169000000005}', 7_650_917),
        ('{"cost":1.13e-05}', 11_300),
        ('{"cost":0.0000000005}', 0),
        ('{"cost":0.0000000015}', 2),
        ('{"cost":-1}', None),
        ('{"cost":1e400}', None),
        ('{"cost":"NaN"}', None),
        ('{"cost":[]}', None),
        ('{"cost":{"total_cost":0.006}}', 6_000_000),
        ('{"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0003253}}', 1_325_300),
        ('{"cost":0.001,"is_byok":false,"cost_details":{"upstream_inference_cost":0.0003253}}', 1_000_000),
        ('{"cost_in_usd_ticks":37756000}', 3_775_600),
    ],
)
def test_reported_cost_is_exact(text: str, nano_usd: int | None) -> None:
    assert cost_of(text) == nano_usd


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"null", b'{"id":', b'{"a":' * 100_000])
def test_what_is_no_object_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        read_answer(body)


def test_an_odd_field_does_not_cost_the_others() -> None:
    facts = read_answer(b'{"id":7,"model":"m","usage":{"prompt_tokens":1},"x_groq":3}')
    assert (facts.response_id, facts.model, facts.usage) == ("", "m", Usage(input_tokens=1))


def test_usage_inside_groqs_envelope() -> None:
    assert read_answer(b'{"x_groq":{"usage":{"prompt_tokens":1}}}').usage == Usage(input_tokens=1)


def test_an_error_inside_a_good_status() -> None:
    error = read_answer(b'{"error":{"code":502,"message":"Provider failed"}}').error
    assert error is not None
    assert (error.message, error.code) == ("Provider failed", "502")
    assert read_answer(b'{"error":"gone"}').error.message == "gone"  # type: ignore[union-attr]
    assert read_answer(b'{"error":null}').error is None
