"""The paths of responses that an upstream keeps: `/v1/responses/{id}` and what is below it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast
from urllib.parse import unquote

from tallystick.access.principal import Principal
from tallystick.calls.kept_responses import KeptRequest, KeptResponses, Method
from tallystick.gateway.http import HeaderList, Send, header_value, send_answer
from tallystick.wire.error_envelope import envelope

_PATH = re.compile(r"(?:/v1)?/responses/(?P<id>[^/]{1,8192})(?P<below>/cancel|/input_items)?")
_METHODS: Mapping[str, tuple[Method, ...]] = {"": ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}


class KeptPath(NamedTuple):
    """A response, and what is asked for of it."""

    response_id: str
    below: Literal["", "/cancel", "/input_items"]

    @property
    def spellings(self) -> tuple[str, ...]:
        """How a list of routes may name it; who may make responses may also read them."""
        name = f"/responses/{{response_id}}{self.below}"
        return (name, f"/v1{name}", "/responses", "/v1/responses")


def find_kept(path: str) -> KeptPath | None:
    """Return what a path asks for; None when it is no kept response's."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    return KeptPath(unquote(found["id"]), cast("Literal['', '/cancel', '/input_items']", found["below"] or ""))


async def serve_kept(
    kept: KeptResponses, path: KeptPath, principal: Principal, send: Send, *, method: str, query: bytes, ids: HeaderList
) -> None:
    """Answer one request. Raises as KeptResponses.ask does, before anything is sent."""
    allowed = _METHODS[path.below]
    if method not in allowed:
        await send_answer(send, 405, _NOT_ALLOWED, [(b"allow", ", ".join(allowed).encode()), *ids])
        return
    asked = KeptRequest(method, path.response_id, path.below, query.decode("latin-1"))
    answer = await kept.ask(principal, asked)
    content_type = header_value(answer.content_type)
    if answer.chunks is None:
        await send_answer(send, answer.status, answer.body, ids, content_type)
        return
    try:
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), *ids]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for chunk in answer.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await answer.chunks.aclose()


_NOT_ALLOWED = envelope(
    message="Method not allowed for a kept response.", error_type="invalid_request_error", param=None, code="405"
)
