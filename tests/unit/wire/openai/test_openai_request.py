from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.openai.request import parse_request, upstream_body

MESSAGES = [{"role": "user", "content": "hi"}]


def parse(endpoint: Endpoint = "chat/completions", **fields: Any) -> CallRequest:
    body: dict[str, Any] = {"model": "group"}
    if endpoint == "chat/completions":
        body["messages"] = MESSAGES
    return parse_request(endpoint, json.dumps(body | fields).encode())


def upstream(request: CallRequest, *, ask_usage: bool = True) -> dict[str, Any]:
    return json.loads(upstream_body(request, model="real", ask_usage=ask_usage))


@pytest.mark.parametrize(
    ("endpoint", "raw", "param", "words"),
    [
        ("chat/completions", b"", None, "not valid JSON"),
        ("chat/completions", b'{"model":"a",}', None, "byte 13"),
        ("chat/completions", b"[]", None, "JSON object"),
        ("chat/completions", b'{"messages":[{}]}', "model", "/v1/models"),
        ("chat/completions", b'{"model":" ","messages":[{}]}', "model", "empty"),
        ("chat/completions", b'{"model":7,"messages":[{}]}', "model", "`str"),
        ("chat/completions", b'{"model":"a"}', "messages", "list of messages"),
        ("chat/completions", b'{"model":"a","messages":[]}', "messages", "empty"),
        ("chat/completions", b'{"model":"a","messages":"x"}', "messages", "`array"),
        ("chat/completions", b'{"model":"a","messages":[{},1]}', "messages[1]", "`object`"),
        ("chat/completions", b'{"model":"a","messages":[{}],"stream":"yes"}', "stream", "`bool"),
        ("chat/completions", b'{"model":"a","messages":[{}],"stream_options":3}', "stream_options", "`object"),
        ("chat/completions", b'{"model":"a","messages":[{}],"user":{}}', "user", "`str"),
        ("chat/completions", b'{"model":"a","messages":[{}],"max_tokens":"9"}', "max_tokens", "`int"),
        ("chat/completions", b'{"model":"a","messages":[{}],"tags":"x"}', "tags", "`array"),
        ("chat/completions", b'{"model":"a","messages":[{}],"metadata":4}', "metadata", "object"),
        ("chat/completions", b'{"model":"a","messages":[{}],"metadata":"x"}', "metadata", "object"),
        ("chat/completions", b'{"model":"a","messages":[{}],"metadata":{"tags":[1]}}', "metadata.tags", "strings"),
        ("chat/completions", b'{"a":' * 100_000, None, "deep"),
        ("chat/completions", b'{"model":"a","messages":[{}],"metadata":' + b'{"a":' * 100_000, None, "deep"),
        ("completions", b'{"model":"a"}', "prompt", "string or a list"),
        ("completions", b'{"model":"a","prompt":4}', "prompt", "string or a list"),
        ("embeddings", b'{"model":"a","input":null}', "input", "missing"),
        ("embeddings", b'{"model":"a","input":{}}', "input", "string or a list"),
    ],
)
def test_a_wrong_request_names_its_field(endpoint: Endpoint, raw: bytes, param: str | None, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(endpoint, raw)
    assert caught.value.param == param
    assert words in caught.value.message


def test_facts_are_read() -> None:
    request = parse(
        stream=True,
        stream_options={"include_usage": True},
        user="u",
        n=3,
        max_tokens=10,
        max_completion_tokens=20,
        tags=["a"],
        metadata={"tags": ["a", "b"], "session_id": "s", "x": 1},
        safety_identifier="safe",
        litellm_metadata={"tags": ["c"]},
    )
    assert (request.model, request.stream, request.client_wants_usage, request.user) == ("group", True, True, "u")
    assert (request.choices, request.max_output_tokens) == (3, 20)
    assert request.tags == ["a", "b", "c"]
    assert (request.session_id, request.safety_identifier) == ("s", "safe")
    assert request.metadata["x"] == 1


def test_absent_and_null_fields_are_the_same() -> None:
    request = parse(stream=None, user=None, metadata=None, tags=None, max_tokens=None, stream_options=None)
    assert request == parse(stream=None, user=None, metadata=None, tags=None, max_tokens=None, stream_options=None)
    assert (request.stream, request.metadata, request.tags, request.max_output_tokens) == (False, {}, [], None)


def test_limits_that_are_none_or_beyond_reason() -> None:
    assert parse(max_tokens=-1).max_output_tokens is None
    assert parse(max_tokens=10**30).max_output_tokens == 1_000_000_000


@pytest.mark.parametrize("limits", [(100, 1), (1, 100)])
def test_of_two_limits_the_larger_counts(limits: tuple[int, int]) -> None:
    assert parse(max_tokens=limits[0], max_completion_tokens=limits[1]).max_output_tokens == 100


def test_one_limit_that_is_none_leaves_none() -> None:
    assert parse(max_tokens=-1, max_completion_tokens=5).max_output_tokens is None


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("one, [2]", 1),
        ([], 1),
        (["a"], 1),
        (["a"] * 1000, 1000),
        (['say "a", "b"', "[", "\\", '\\"', "\\\\", "é"], 6),
        ([1, 2, 3], 1),
        ([[1, 2, 3]], 1),
        ([[1, 2], [3], [4]], 3),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_each_prompt_of_a_list_has_its_answers(prompt: Any, prompts: int, indent: int | None) -> None:
    def choices(endpoint: Endpoint, **fields: Any) -> int:
        return parse_request(endpoint, json.dumps({"model": "g", **fields}, indent=indent).encode()).choices

    assert choices("completions", prompt=prompt) == prompts
    assert choices("completions", prompt=prompt, n=2, best_of=3) == prompts * 3
    assert choices("embeddings", input=prompt) == 1


@pytest.mark.parametrize(("ids", "count"), [([1] * 1000, 1000), ([[1, 200_000]] * 10, 20), (["a,b"], 0), ("1,2", 0)])
def test_ids_of_tokens_are_counted(ids: Any, count: int) -> None:
    for endpoint, field in (("completions", "prompt"), ("embeddings", "input")):
        request = parse_request(endpoint, json.dumps({"model": "g", field: ids}).encode())
        assert request.token_ids == count
        assert request.token_id_bytes == (len(json.dumps(ids)) if count else 0)


def test_model_in_the_path_wins() -> None:
    request = parse_request("completions", b'{"prompt":"x"}', model_in_path="from-path")
    assert request.model == "from-path"
    assert upstream(request)["model"] == "real"


def test_every_value_keeps_its_bytes() -> None:
    raw = b'{ "model" : "g", "messages":[ {"content": "\\u00e9\\/ 1.0"} ],"temperature":1.0,"big":1e999, "x":{"y" :[]}}'
    body = upstream_body(parse_request("chat/completions", raw), model="real", ask_usage=True)
    assert body == (
        b'{"model":"real","messages":[ {"content": "\\u00e9\\/ 1.0"} ],"temperature":1.0,"big":1e999,"x":{"y" :[]}}'
    )


def test_usage_is_asked_of_streams_only_and_other_options_stay() -> None:
    assert "stream_options" not in upstream(parse())
    assert "stream_options" not in upstream(parse(stream=True), ask_usage=False)
    assert upstream(parse(stream=True))["stream_options"] == {"include_usage": True}
    assert upstream(parse(stream=True, stream_options=None))["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "include_obfuscation": False}
    request = parse(stream=True, stream_options=options)
    assert not request.client_wants_usage
    assert upstream(request)["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_the_gateways_own_fields_stay_here() -> None:
    request = parse(
        tags=["t"], litellm_session_id="s", num_retries=2, fallbacks=["x"], api_key="sk-secret", api_base="http://evil",
        cache={"no-cache": True}, mock_response="m", keep_me=[1],
    )  # fmt: skip
    assert upstream(request) == {"model": "real", "messages": MESSAGES, "keep_me": [1]}
    assert request.mock_response == "m"


@pytest.mark.parametrize(
    ("metadata", "forwarded"),
    [
        ({"a": "b"}, {"a": "b"}),
        ({"a": "b", "tags": ["x"], "session_id": "s"}, {"a": "b"}),
        ({"tags": ["x"]}, None),
        ({"a": 1}, None),
        ('{"a": "b", "trace_id": "t"}', {"a": "b"}),
        ('{"a": "b"}', {"a": "b"}),
        ({}, {}),
    ],
)
def test_metadata_is_forwarded_where_the_dialect_allows_it(metadata: Any, forwarded: Any) -> None:
    assert upstream(parse(metadata=metadata)).get("metadata") == forwarded


def test_session_prefers_the_explicit_field() -> None:
    assert parse(litellm_session_id="a", metadata={"session_id": "b"}).session_id == "a"
    assert parse(litellm_trace_id="t", metadata={"x": "b"}).session_id == "t"
    assert parse(litellm_trace_id="t", litellm_metadata={"session_id": "b"}).session_id == "b"
    assert parse(metadata={"trace_id": "b", "tags": "x, y"}).tags == ["x", "y"]
