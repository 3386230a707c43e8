"""An upstream for tests: a real HTTP server on loopback that answers as each request's model name says.

plain            a chat answer with usage, echoing a text that the caller can recognize
slow:MS          the same after so many milliseconds
stream…          (any model, with "stream": true) chunks, a usage chunk when asked, [DONE]
pause:MS         a stream with so long a pause between chunks
hang             never answers; `hang` with stream: one chunk, then nothing
reset            the connection is reset without an answer; with stream: after two chunks
garbage          200 with a body that is not JSON
status:CODE      an error in OpenAI's envelope
html:CODE        an error as an HTML page
bare:CODE        an error without `retry-after`
later:SECONDS    429 with so long a `retry-after`
half             a plain answer that breaks off in the middle
inside           200 with an error in the body
late             a stream whose headers come and whose first byte does not
empty            a stream that ends before its first event
first_error      a stream whose first event is an error
nousage          an answer without usage
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

WORDS = ["The", " stick", " has", " two", " halves", "."]
USAGE = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}


class Upstream:
    """The server's memory: what was asked of it, and special answers by path."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open_streams = 0
        self.cut_streams = 0
        self.answer: Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]] | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.answer is not None:
            return await self.answer(request, body)
        kind, _, argument = str(body["model"]).partition(":")
        if kind in ("status", "html", "bare", "later"):
            return _error(kind, int(argument))
        if kind == "inside":
            return web.json_response({"error": {"message": "it broke", "type": "server_error", "code": 500}})
        if kind == "half":
            return await self._half(request)
        if kind == "slow":
            await asyncio.sleep(int(argument) / 1000)
        if body.get("stream") and kind != "garbage":
            return await self._stream(request, body, kind, argument)
        if kind == "hang":
            await asyncio.sleep(3600)
        if kind == "reset":
            _reset(request)
        if kind == "garbage":
            return web.Response(text="<<<", content_type="application/json")
        return web.json_response(plain_answer(body, usage=kind != "nousage"))

    async def _half(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "100"})
        await response.prepare(request)
        await response.write(b'{"id": "half"')
        _reset(request)
        return response

    async def _stream(self, request: web.Request, body: dict[str, Any], kind: str, argument: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if kind == "empty":
            return response
        if kind == "first_error":
            error = {"message": "too many calls", "type": "overloaded_error", "code": None}
            await response.write(b": a comment\n\n")
            await response.write(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
            return response
        self.open_streams += 1
        try:
            if kind == "late":
                await asyncio.sleep(3600)
            for number, event in enumerate(stream_events(body, usage=kind != "nousage")):
                await response.write(event)
                if kind == "pause":
                    await asyncio.sleep(int(argument) / 1000)
                if kind == "hang":
                    await asyncio.sleep(3600)
                if kind == "reset" and number == 2:
                    _reset(request)
        except (ConnectionResetError, asyncio.CancelledError):
            self.cut_streams += 1
            raise
        finally:
            self.open_streams -= 1
        return response


def plain_answer(body: dict[str, Any], *, usage: bool = True) -> dict[str, Any]:
    if "input" in body:
        return {
            "object": "list",
            "model": body["model"],
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
            "usage": {"prompt_tokens": 12, "total_tokens": 12},
        }
    answer: dict[str, Any] = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(WORDS)}}],
    }
    if "prompt" in body:
        answer["object"] = "text_completion"
        answer["choices"] = [{"index": 0, "finish_reason": "stop", "text": "".join(WORDS)}]
    if usage:
        answer["usage"] = USAGE
    return answer


def stream_events(body: dict[str, Any], *, usage: bool = True) -> list[bytes]:
    def event(choices: list[Any], **more: Any) -> bytes:
        chunk = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        return b"data: " + json.dumps({**chunk, "choices": choices, **more}).encode() + b"\n\n"

    events = [event([{"index": 0, "delta": {"content": word}, "finish_reason": None}]) for word in WORDS]
    events.append(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if usage and (body.get("stream_options") or {}).get("include_usage"):
        events.append(event([], usage=USAGE))
    return [*events, b"data: [DONE]\n\n"]


def _error(kind: str, status: int) -> web.Response:
    if kind == "html":
        return web.Response(status=status, text="<html><body>Bad gateway</body></html>", content_type="text/html")
    seconds = "7"
    if kind == "later":
        seconds, status = str(status), 429
    error = {"message": f"upstream says {status}", "type": "upstream_type", "param": None, "code": "upstream_code"}
    headers = {} if kind == "bare" else {"retry-after": seconds}
    return web.json_response({"error": error}, status=status, headers=headers)


def _reset(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


@asynccontextmanager
async def running_upstream() -> AsyncIterator[Upstream]:
    """Serve on a free loopback port for as long as the block lasts."""
    upstream = Upstream()
    application = web.Application(client_max_size=1 << 28)
    application.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    upstream.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()
