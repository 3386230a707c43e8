"""An upstream for tests that keeps files and works batches off, in OpenAI's shape, when the test says so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


class FileUpstream:
    """What it holds. Tests end batches with `work_off` and reach in."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.forms: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.on_request: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
        """May answer in the upstream's place."""
        self.after_create: Callable[[], web.StreamResponse | None] = lambda: None
        """May answer something else when a batch has been made."""

    def work_off(self, batch_id: str, *, status: str = "completed", done: int | None = None, **usage: int) -> None:
        """End a batch: its first `done` calls are answered, the others are not."""
        batch = self.batches[batch_id]
        lines = [json.loads(line) for line in self.contents[batch["input_file_id"]].splitlines()]
        done = len(lines) if done is None else done
        answers = [_answer(line, {**USAGE, **usage}) for line in lines[:done]]
        batch["status"] = status
        batch["request_counts"] = {"total": len(lines), "completed": done, "failed": len(lines) - done}
        if answers:
            batch["output_file_id"] = self._add_file("".join(answers).encode(), "output.jsonl", "batch_output")["id"]
        if done < len(lines):
            missed = [json.dumps({"custom_id": each["custom_id"], "error": {"code": "x"}}) for each in lines[done:]]
            batch["error_file_id"] = self._add_file("\n".join(missed).encode(), "errors.jsonl", "batch_output")["id"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        instead = self.on_request(request)
        if instead is not None:
            return instead
        kind, _, rest = request.match_info["path"].partition("/")
        if kind == "files":
            return await self._files(request, *rest.partition("/")[::2])
        return await self._batches(request, *rest.partition("/")[::2])

    async def _files(self, request: web.Request, name: str, below: str) -> web.StreamResponse:
        if request.method == "POST":
            form = dict(await request.post())
            self.forms.append(form)
            part = form["file"]
            return web.json_response(self._add_file(part.file.read(), part.filename, form["purpose"]))
        if name not in self.files:
            return _missing(name)
        if below == "content":
            return web.Response(body=self.contents[name], content_type="application/octet-stream")
        if request.method == "DELETE":
            del self.files[name], self.contents[name]
            return web.json_response({"id": name, "object": "file", "deleted": True})
        return web.json_response(self.files[name])

    async def _batches(self, request: web.Request, name: str, below: str) -> web.StreamResponse:
        if request.method == "POST" and not name:
            batch = self._add_batch(await request.json())
            return self.after_create() or web.json_response(batch)
        if not name:
            newest_first = list(reversed(self.batches.values()))
            return web.json_response({"object": "list", "data": newest_first, "has_more": False})
        if name not in self.batches:
            return _missing(name)
        if below == "cancel":
            self.batches[name]["status"] = "cancelling"
        return web.json_response(self.batches[name])

    def _add_file(self, content: bytes, filename: str, purpose: str) -> dict[str, Any]:
        name = f"file-up{len(self.forms)}x{len(self.files)}"
        self.contents[name] = content
        self.files[name] = {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 1_700_000_000,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        return self.files[name]

    def _add_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["input_file_id"] not in self.files:
            raise web.HTTPBadRequest(text=json.dumps({"error": {"message": "no such file", "type": "x"}}))
        name = f"batch_up{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": 1_700_000_000,
            "metadata": asked.get("metadata"),
        }
        return self.batches[name]


def calls(*models: str, **body: Any) -> bytes:
    """Return the lines of a batch, one for each model."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"call-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [{"role": "user", "content": "Who owes whom?"}], **body},
            }
        ).encode()
        + b"\n"
        for number, model in enumerate(models)
    )


def _answer(line: dict[str, Any], usage: dict[str, int]) -> str:
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": line["body"]["model"], "usage": usage}
    response = {"status_code": 200, "request_id": "r", "body": body}
    return json.dumps({"id": "b", "custom_id": line["custom_id"], "response": response, "error": None}) + "\n"


def _missing(name: str) -> web.Response:
    return web.json_response(
        {"error": {"message": f"No such object: {name}", "type": "invalid_request_error"}}, status=404
    )


@asynccontextmanager
async def running_file_upstream() -> AsyncIterator[FileUpstream]:
    """Serve on a free loopback port for as long as the block lasts."""
    upstream = FileUpstream()
    application = web.Application(client_max_size=1 << 28)
    application.router.add_route("*", "/v1/{path:.*}", upstream.handle)
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
