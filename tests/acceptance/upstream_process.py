"""An upstream in a process of its own, so that it survives what is killed: python upstream_process.py PORT

It answers by the model's name, `kind[:milliseconds]`, and by the caller's own id in `metadata.call`, on which its usage
depends, so that a test can tell what an event must hold. GET /seen lists the ids that were asked, in order, and
GET /release lets go of what is held.

    plain, slow:MS      a chat answer, at once or after so long
    stream, pause:MS    with "stream": true: chunks, at once or with so long a pause between them
    silent              never answers
    held                answers when it is released
    keyed               an answer whose text is the authorization that it was called with
    fixed, fixed:MS     as plain, slow, stream and pause, and its usage is the same for every call
    second              refuses the first request of each call, and answers the second
"""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from typing import Any

import httptools
import uvloop

WORDS = ("The", " stick", " has", " two", " halves", ".")


FIXED_TOKENS = (40, 20)


def usage_of(call_id: str, model: str = "") -> dict[str, int]:
    """Return the usage that the answer to a call reports."""
    number = zlib.crc32(call_id.encode())
    prompt, completion = 10 + number % 90, 1 + number // 90 % 40
    if model.startswith("fixed"):
        prompt, completion = FIXED_TOKENS
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class _Connection(asyncio.Protocol):
    """One keep-alive connection; its requests come one after the other."""

    def __init__(self, seen: list[str], released: asyncio.Event) -> None:
        self._seen = seen
        self._released = released
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._authorization = ""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._url == b"/seen":
            self._send(200, json.dumps(self._seen).encode())
            return
        if self._url == b"/release":
            self._released.set()
            self._send(200, b"{}")
            return
        request = json.loads(self._body)
        call_id = request["metadata"]["call"]
        is_first = call_id not in self._seen if request["model"] == "second" else False
        self._seen.append(call_id)
        if is_first:
            self._send(500, b'{"error": {"message": "not yet"}}')
            return
        self._answering = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: dict[str, Any]) -> None:
        kind, _, milliseconds = request["model"].partition(":")
        pause = int(milliseconds or 0) / 1000
        if kind == "silent":
            await asyncio.Event().wait()
        if kind == "held":
            await self._released.wait()
        if request.get("stream"):
            await self._stream(request, pause)
            return
        if pause:
            await asyncio.sleep(pause)
        text = self._authorization if kind == "keyed" else "".join(WORDS)
        self._send(200, json.dumps(_plain(request, text)).encode())

    async def _stream(self, request: dict[str, Any], pause: float) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for chunk in _chunks(request):
            if pause:
                await asyncio.sleep(pause)
            self._transport.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self._transport.write(b"0\r\n\r\n")

    def _send(self, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)


def _plain(request: dict[str, Any], text: str) -> dict[str, Any]:
    call_id = request["metadata"]["call"]
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage_of(call_id, request["model"]),
    }


def _chunks(request: dict[str, Any]) -> list[bytes]:
    call_id = request["metadata"]["call"]
    head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
    parts: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in WORDS
    ]
    parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        parts.append({"choices": [], "usage": usage_of(call_id, request["model"])})
    return [*(b"data: " + json.dumps({**head, **part}).encode() + b"\n\n" for part in parts), b"data: [DONE]\n\n"]


async def _serve(port: int) -> None:
    seen: list[str] = []
    released = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(seen, released), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
