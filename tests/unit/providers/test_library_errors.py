"""What libraries raise, by objects of the shapes that they document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.errors import UpstreamGarbled, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.library_errors import error_in_stream, error_of_library


def raised(name: str, message: str = "it broke", *, cause: Exception | None = None, **attributes: Any) -> Exception:
    error: Exception = type(name, (Exception,), {})(message)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    error.__cause__ = cause
    return error


class Response:
    def __init__(self, content: bytes = b"", **headers: str) -> None:
        self.content = content
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised("Timeout", status_code=408), UpstreamTimeout),
        (raised("ProviderError", original_exception=raised("APITimeoutError")), UpstreamTimeout),
        (raised("APIConnectionError", status_code=500), UpstreamUnreachable),
        (raised("InternalServerError", status_code=500, cause=raised("APIConnectionError")), UpstreamUnreachable),
        (raised("InternalServerError", status_code=500, cause=raised("JSONDecodeError")), UpstreamGarbled),
        (raised("InternalServerError", status_code=500), UpstreamRefused),
        (raised("ProviderError", cause=raised("TransportError")), UpstreamUnreachable),
        (raised("UnsupportedProviderError"), UpstreamUnreachable),
        (ImportError("no mistralai"), UpstreamUnreachable),
        (KeyError("choices"), UpstreamGarbled),
    ],
)
def test_kinds(error: Exception, expected: type[Exception]) -> None:
    assert type(error_of_library(error, library="any-llm")) is expected


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (raised("MissingApiKeyError"), 401, "401"),
        (raised("UnsupportedParameterError"), 400, "400"),
        (raised("ContextWindowExceededError", status_code=400, code=None), 400, "context_length_exceeded"),
        (raised("ContentFilterError", status_code=400, code="x"), 400, "content_policy_violation"),
        (raised("RateLimitError", status_code=429, code="slow_down"), 429, "slow_down"),
    ],
)
def test_refusals(error: Exception, status: int, code: str) -> None:
    refused = error_of_library(error, library="litellm")
    assert isinstance(refused, UpstreamRefused)
    assert (refused.http_status, json.loads(refused.body)["error"]["code"]) == (status, code)


def test_what_the_upstream_said_goes_before_what_the_library_makes_of_it() -> None:
    body = json.dumps({"error": {"message": "too many", "type": "rate", "code": "c"}}).encode()
    error = raised(
        "RateLimitError", "litellm.RateLimitError: …", status_code=429, response=Response(body, retry_after="7")
    )
    refused = error_of_library(error, library="litellm")
    assert isinstance(refused, UpstreamRefused)
    assert (refused.message, refused.reported_type, refused.retry_after) == ("too many", "rate", "7")


def test_an_error_inside_of_a_stream() -> None:
    error = raised("ProviderError", original_exception=raised("APIError", type="overloaded_error", code=None))
    assert error_in_stream(error) == {"message": "it broke", "type": "overloaded_error", "code": ""}
    assert error_in_stream(raised("APIConnectionError", code="x")) is None
    assert error_in_stream(raised("APIStatusError", status_code=500, type="x")) is None
    assert error_in_stream(KeyError("x")) is None
