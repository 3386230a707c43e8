"""The paths of files and batches that upstreams keep: `/v1/files`, `/v1/batches` and what is below them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote

from tallystick.calls.batches.files import LIST_MAX as FILES_MAX
from tallystick.calls.batches.files import Files
from tallystick.calls.batches.jobs import LIST_MAX as BATCHES_MAX
from tallystick.calls.batches.jobs import Batches, JobContext
from tallystick.errors import BadRequest
from tallystick.gateway.http import HeaderList, Send, header_value, send_answer
from tallystick.providers.transport import RawAnswer
from tallystick.wire.error_envelope import envelope

_PATH: Final = re.compile(
    r"(?:/v1)?/(?:(?P<kind>files|batches)(?:/(?P<id>[^/]{1,8192})(?P<below>/content|/cancel)?)?/?)"
)
_METHODS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("files", ""): ("GET", "POST"),
    ("files", "id"): ("GET", "DELETE"),
    ("files", "/content"): ("GET",),
    ("batches", ""): ("GET", "POST"),
    ("batches", "id"): ("GET",),
    ("batches", "/cancel"): ("POST",),
}
_BATCHES_LISTED: Final = 20


class HeldPath(NamedTuple):
    """A file or a batch, or all of them, and what is asked for."""

    kind: str
    object_id: str
    below: str

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be done there; () when there is no such thing."""
        return _METHODS.get((self.kind, self.below or ("id" if self.object_id else "")), ())

    @property
    def spellings(self) -> tuple[str, ...]:
        """How a list of routes may name it."""
        name = f"/{self.kind}"
        if self.object_id:
            name += f"/{{{'file_id' if self.kind == 'files' else 'batch_id'}}}{self.below}"
        return (name, f"/v1{name}", f"/{self.kind}", f"/v1/{self.kind}")


class HeldObjects(NamedTuple):
    """What serves them."""

    files: Files
    batches: Batches


class HeldRequest(NamedTuple):
    """One request, authenticated."""

    method: str
    query: bytes
    context: JobContext
    body: bytes


def find_held(path: str) -> HeldPath | None:
    """Return what a path asks for; None when it is about neither files nor batches."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    held = HeldPath(found["kind"], unquote(found["id"] or ""), found["below"] or "")
    return held if held.methods else None


async def serve_held(objects: HeldObjects, path: HeldPath, asked: HeldRequest, send: Send, *, ids: HeaderList) -> None:
    """Answer one request. Raises as Files and Batches do, before anything is sent."""
    if path.kind == "files":
        answer = await _files(objects.files, path, asked)
        if isinstance(answer, RawAnswer):
            await _send_content(answer, send, ids)
            return
        await send_answer(send, 200, answer, ids)
        return
    body, headers = await _batches(objects.batches, path, asked)
    await send_answer(send, 200, body, [*ids, *headers])


async def refuse_method(path: HeldPath, send: Send, *, ids: HeaderList) -> None:
    """Say what may be done instead."""
    await send_answer(send, 405, _NOT_ALLOWED, [(b"allow", ", ".join(path.methods).encode()), *ids])


async def _files(files: Files, path: HeldPath, asked: HeldRequest) -> bytes | RawAnswer:
    principal = asked.context.principal
    if path.below:
        return await files.content(principal, path.object_id)
    if path.object_id:
        act = files.delete if asked.method == "DELETE" else files.show
        return await act(principal, path.object_id)
    if asked.method == "POST":
        content_type = asked.context.headers.get(b"content-type", b"").decode("latin-1")
        return await files.create(principal, asked.context.headers, asked.body, content_type)
    query = parse_qs(asked.query.decode("latin-1"))
    limit = _limit(query, usual=FILES_MAX, most=FILES_MAX)
    return await files.listed(principal, purpose=_one(query, "purpose"), after=_one(query, "after"), limit=limit)


async def _batches(batches: Batches, path: HeldPath, asked: HeldRequest) -> tuple[bytes, HeaderList]:
    principal = asked.context.principal
    if path.below:
        return await batches.cancel(principal, path.object_id), []
    if path.object_id:
        return await batches.show(principal, path.object_id), []
    if asked.method == "POST":
        return await batches.create(asked.context, asked.body)
    query = parse_qs(asked.query.decode("latin-1"))
    limit = _limit(query, usual=_BATCHES_LISTED, most=BATCHES_MAX)
    return await batches.listed(principal, after=_one(query, "after"), limit=limit), []


async def _send_content(answer: RawAnswer, send: Send, ids: HeaderList) -> None:
    content_type = header_value(answer.content_type)
    if answer.chunks is None:
        await send_answer(send, answer.status, answer.body, ids, content_type)
        return
    try:
        headers = [(b"content-type", content_type), *ids]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for chunk in answer.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await answer.chunks.aclose()


def _one(query: Mapping[str, list[str]], name: str) -> str | None:
    return query[name][-1] if name in query else None


def _limit(query: Mapping[str, list[str]], *, usual: int, most: int) -> int:
    given = _one(query, "limit")
    if given is None:
        return usual
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= most):
        raise BadRequest(f"'limit' must be a whole number from 1 to {most}.", param="limit")
    return int(given)


_NOT_ALLOWED = envelope(message="Method not allowed here.", error_type="invalid_request_error", param=None, code="405")
