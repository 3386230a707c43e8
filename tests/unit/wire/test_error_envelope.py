from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.errors import BadRequest, LedgerUnavailable, RateLimited, UpstreamRefused, UpstreamTimeout
from tallystick.wire.error_envelope import envelope, keep_or_wrap, render

ENVELOPES = [
    b'{"error": {"code": "unsupported_value", "message": "Unsupported value.", "param": "p", "type": "t"}}',
    b'{"error": {"code": 429, "message": "Provider returned error", "metadata": {"provider_name": "Google"}}}',
    b'{"error": {"message": "no such model", "type": "not_found_error"}, "request_id": "r", "type": "error"}',
]


def error_of(body: bytes) -> dict[str, Any]:
    return json.loads(body)["error"]


def test_envelope() -> None:
    body = envelope(message="m", error_type="t", param="p", code="400")
    assert json.loads(body) == {"error": {"message": "m", "type": "t", "param": "p", "code": "400"}}
    assert error_of(envelope(message="\ud800", error_type="t", param=None, code="400"))["message"] == "?"


def test_render() -> None:
    status, body, headers = render(BadRequest("wrong", param="model"))
    assert (status, headers) == (400, {})
    assert error_of(body) == {"message": "wrong", "type": "invalid_request_error", "param": "model", "code": "400"}
    status, body, headers = render(LedgerUnavailable())
    assert (status, headers, error_of(body)["type"]) == (503, {"retry-after": "1"}, "ledger_unavailable")
    assert render(UpstreamTimeout())[0] == 504
    assert render(RateLimited("full", retry_after_seconds=11.2))[::2] == (429, {"retry-after": "12"})
    assert render(RateLimited("full", retry_after_seconds=0.0))[2] == {"retry-after": "1"}


@pytest.mark.parametrize("body", ENVELOPES)
def test_errors_in_the_envelope_are_kept(body: bytes) -> None:
    error = UpstreamRefused(status=429, body=body, content_type="application/octet-stream")
    assert render(error) == (429, body, {})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"upstream connect error\n", "upstream connect error"),
        (b"", "The upstream answered with status 502 and no text."),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":{"error":"no"}}', "no"),
        (b'{"message":"model not found"}', "model not found"),
        (b'{"error":"model not found"}', "model not found"),
        (b'[{"error":{"message":"inner"}}]', "inner"),
        (b'{"x":1}', '{"x":1}'),
        (b'{"x":', '{"x":'),
        (b"\xff\x00", "\ufffd\x00"),
        (b'"text"', "text"),
    ],
)
def test_anything_else_is_wrapped(body: bytes, message: str) -> None:
    assert error_of(keep_or_wrap(502, body, "text/plain")) == {
        "message": message, "type": "upstream_error", "param": None, "code": "502",
    }  # fmt: skip


def test_long_text_is_capped() -> None:
    assert len(keep_or_wrap(429, b"x" * 1_000_000, "text/plain")) < 5000
    assert error_of(keep_or_wrap(429, b"x", "text/plain"))["type"] == "rate_limit_error"
