"""What a caller says of how its call is routed."""

from __future__ import annotations

import json

import pytest

from tallystick.errors import BadRequest
from tallystick.wire.call_options import NO_OPTIONS, CallOptions, with_headers
from tallystick.wire.openai.request import parse_request, upstream_body


def options(body, **headers):
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]} | body).encode()
    request = parse_request("chat/completions", raw)
    return with_headers(request.options, {name.encode(): value for name, value in headers.items()})


def test_most_calls_say_nothing():
    assert options({"model": "m", "messages": [{"content": "timeout, fallbacks"}]}) is NO_OPTIONS


def test_the_body_goes_before_the_headers():
    headers = {"x-litellm-num-retries": b"3", "x-litellm-timeout": b"1.5", "x-litellm-stream-timeout": b"2"}
    assert options({}, **headers) == CallOptions(num_retries=3, timeout_seconds=1.5, stream_timeout_seconds=2)
    body = {"num_retries": 0, "timeout": 9, "stream_timeout": 8}
    assert options(body, **headers) == CallOptions(num_retries=0, timeout_seconds=9, stream_timeout_seconds=8)
    assert options({"max_retries": 4}).num_retries == 4


def test_fallbacks_in_each_form():
    assert options({"fallbacks": ["a", {"model": "b"}]}).fallbacks == {"*": ["a", "b"]}
    assert options({"fallbacks": [{"m": ["a"]}, {"m": ["b"], "*": ["c"]}]}).fallbacks == {"m": ["a", "b"], "*": ["c"]}
    assert options({"context_window_fallbacks": [{"m": ["a"]}]}).context_window_fallbacks == {"m": ["a"]}
    assert options({"disable_fallbacks": True, "max_fallbacks": 2}) == CallOptions(
        disables_fallbacks=True, max_fallbacks=2
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_retries", 21),
        ("num_retries", "2"),
        ("timeout", -1),
        ("stream_timeout", 10**6),
        ("fallbacks", "a"),
        ("fallbacks", [5]),
        ("fallbacks", [{"model": "a", "messages": []}]),
        ("fallbacks", ["a"] * 101),
        ("max_fallbacks", -1),
        ("mock_testing_fallbacks", "yes"),
    ],
)
def test_what_is_wrong_names_the_field(field, value):
    with pytest.raises(BadRequest) as raised:
        options({field: value})
    assert raised.value.param == field


@pytest.mark.parametrize("value", [b"many", b"-1", b"21", b"\xff"])
def test_a_header_that_is_wrong_is_named(value):
    with pytest.raises(BadRequest) as raised:
        options({}, **{"x-litellm-num-retries": value})
    assert raised.value.param == "x-litellm-num-retries"


def test_no_upstream_is_sent_any_of_it():
    fields = {
        "num_retries": 1, "max_retries": 1, "timeout": 1, "stream_timeout": 1, "fallbacks": ["a"],
        "context_window_fallbacks": [], "content_policy_fallbacks": [], "disable_fallbacks": False, "max_fallbacks": 1,
        "mock_testing_fallbacks": False, "mock_testing_context_fallbacks": False,
        "mock_testing_content_policy_fallbacks": False,
    }  # fmt: skip
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1}
    request = parse_request("chat/completions", json.dumps(body | fields).encode())
    assert json.loads(upstream_body(request, model="up", ask_usage=True)) == body | {"model": "up"}
