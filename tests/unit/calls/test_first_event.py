"""The beginning of a stream: what can still be left, and what is passed on as it came."""

from __future__ import annotations

import pytest

import bedrock_kit
from tallystick.calls.first_event import begin_stream
from tallystick.errors import UpstreamGarbled, UpstreamRefused, UpstreamTimeout

CONTENT = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "error"}}]}\n\n'


class Upstream:
    """A stream of these chunks, at whose end perhaps comes an error."""

    def __init__(self, *chunks, error=None):
        self._chunks, self._error = list(chunks), error
        self.taken = 0
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._chunks:
            self.taken += 1
            return self._chunks.pop(0)
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def aclose(self):
        self.closed = True


async def read(upstream):
    stream = await begin_stream(upstream)
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize(
    "chunks",
    [
        (CONTENT,),
        (CONTENT[:9], CONTENT[9:-1], CONTENT[-1:], CONTENT),
        (b": comment\n\n", CONTENT, b"data: [DONE]\n\n"),
        (CONTENT.replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n"),
        (b"x" * 70_000, CONTENT),
        (b'data: {"error": {"message": "m"}, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n',),
        (CONTENT, b'data: {"error": {"message": "later"}}\n\n'),
        (b"not an event at all",),
    ],
)
async def test_all_of_it_is_passed_on(chunks):
    upstream = Upstream(*chunks)
    assert await read(upstream) == b"".join(chunks)
    assert not upstream.closed


async def test_an_error_behind_the_first_event_is_passed_on_though_both_came_at_once():
    """What the first one has, in whichever dialect, was perhaps billed."""
    begun = b'data: {"candidates": [{"content": {"parts": [{"text": "So"}]}}]}\r\n\r\n'
    error = b'data: {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}\r\n\r\n'
    assert await read(Upstream(begun + error)) == begun + error
    with pytest.raises(UpstreamRefused):
        await begin_stream(Upstream(error + begun))


HTML = b"<html><body>It works!</body></html>"


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", ""])
async def test_events_by_another_name_are_looked_at_too(content_type):
    stream = await begin_stream(Upstream(b": c\n\n", CONTENT), content_type)
    assert b"".join([chunk async for chunk in stream]) == b": c\n\n" + CONTENT
    error = Upstream(b'\n\ndata: {"error": {"message": "m", "code": 429}}\n\n')
    with pytest.raises(UpstreamRefused):
        await begin_stream(error, content_type)
    page = Upstream(HTML)
    with pytest.raises(UpstreamGarbled):
        await begin_stream(page, content_type)
    assert error.closed
    assert page.closed


async def test_the_first_message_of_aws_framing():
    begun = bedrock_kit.event("messageStart", role="assistant")
    error = bedrock_kit.exception("throttlingException", "Too many.")
    pieces = [bytes([byte]) for byte in begun]
    stream = await begin_stream(Upstream(*pieces, error), bedrock_kit.EVENT_STREAM)
    assert b"".join([chunk async for chunk in stream]) == begun + error
    failing = Upstream(error[:20], error[20:] + begun)
    with pytest.raises(UpstreamRefused) as raised:
        await begin_stream(failing, bedrock_kit.EVENT_STREAM)
    assert (raised.value.http_status, failing.closed) == (429, True)
    for wrong in (HTML * 3000, b"x"):
        with pytest.raises(UpstreamGarbled):
            await begin_stream(Upstream(wrong), bedrock_kit.EVENT_STREAM)


async def test_no_more_is_read_than_the_first_event():
    upstream = Upstream(CONTENT, CONTENT, CONTENT)
    stream = await begin_stream(upstream)
    assert upstream.taken == 1
    await stream.aclose()
    assert upstream.closed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (b'{"message": "m", "code": 429}', 429),
        (b'{"message": "m", "code": "503"}', 503),
        (b'{"message": "m", "type": "rate_limit_error"}', 429),
        (b'{"message": "m", "type": "overloaded_error"}', 503),
        (b'{"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"}', 400),
        (b'{"message": "m", "type": "authentication_error"}', 401),
        (b'{"message": "m", "type": "who_knows"}', 502),
        (b'{"message": "m", "code": 200}', 502),
    ],
)
async def test_an_error_first_has_the_status_that_it_should_have_had(error, status):
    upstream = Upstream(b": comment\n\n", b'data: {"error": ' + error + b"}\n\n")
    with pytest.raises(UpstreamRefused) as raised:
        await read(upstream)
    assert (raised.value.http_status, upstream.closed) == (status, True)
    assert b'"m"' in raised.value.body


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [(Upstream(), UpstreamGarbled), (Upstream(b": c\n\n", error=UpstreamTimeout()), UpstreamTimeout)],
)
async def test_what_ends_or_breaks_before_its_first_event_has_failed(upstream, expected):
    with pytest.raises(expected):
        await read(upstream)
    assert upstream.closed
