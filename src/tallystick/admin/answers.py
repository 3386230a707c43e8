"""Answers of the admin API: JSON as the ledger holds it, and every error in OpenAI's envelope."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.errors import BadRequest, BodyTooLarge, NotFound, RequestError, TallystickError
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.error_envelope import render

log = structlog.get_logger(__name__)

IGNORED_FIELDS_HEADER: Final = "x-tallystick-ignored-fields"
_IGNORED_LENGTH_MAX: Final = 1_000
_NOT_A_TOKEN: Final = re.compile(r"[^A-Za-z0-9_.-]")


def json_answer(content: Any, *, headers: Mapping[str, str] | None = None) -> Response:  # Any: what msgspec encodes.
    """Return a JSON answer."""
    return Response(msgspec.json.encode(content), media_type="application/json", headers=headers)


def ignored_fields(names: Iterable[str]) -> dict[str, str]:
    """Return the header that names what was accepted but has no effect here; none when there is nothing to name."""
    text = ", ".join(sorted({_NOT_A_TOKEN.sub("?", name[:64]) for name in names}))
    return {IGNORED_FIELDS_HEADER: text[:_IGNORED_LENGTH_MAX]} if text else {}


def unknown_parameters(request: Request, known: Iterable[str]) -> dict[str, str]:
    """Return the header that names the query parameters which the path does not know."""
    return ignored_fields(request.query_params.keys() - set(known))


def install_error_handlers(app: FastAPI, *, metrics: Metrics, new_id: Callable[[], str], body_bytes_max: int) -> None:
    """Answer every error of `app` in the envelope; nobody outside sees a traceback."""
    app.add_exception_handler(TallystickError, _render_own)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_middleware(_Shield, metrics=metrics, new_id=new_id, body_bytes_max=body_bytes_max)


def _answer_for(error: TallystickError, extra: Mapping[str, str] | None = None) -> Response:
    status, body, headers = render(error)
    return Response(body, status_code=status, media_type="application/json", headers={**headers, **(extra or {})})


async def _render_own(_request: Request, error: Exception) -> Response:
    return _answer_for(cast("TallystickError", error))


async def _render_validation(_request: Request, error: Exception) -> Response:
    """Name the first field that is wrong. What was sent is not repeated: it may be a key."""
    first = cast("RequestValidationError", error).errors()[0]
    place, reason = tuple(first["loc"]), str(first["msg"])
    if first["type"] == "json_invalid":
        return _answer_for(BadRequest(f"The body is not valid JSON: {reason}."))
    if len(place) < 2:
        return _answer_for(BadRequest(f"The body is not right: {reason}."))
    field = _path_of(place[1:])
    return _answer_for(BadRequest(f"'{field}' is not right: {reason}.", param=field))


def _path_of(place: Sequence[object]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return path.removeprefix(".")[:200]


async def _render_http(request: Request, error: Exception) -> Response:
    """Put what the framework itself refuses (unknown path, wrong method, too large a body) into the envelope."""
    refused = cast("HTTPException", error)
    if refused.status_code == NotFound.http_status:
        path = request.url.path[:200]
        return _answer_for(
            NotFound(f"Path not found: there is no {request.method} {path}. GET /docs lists what there is.")
        )
    if refused.status_code == BodyTooLarge.http_status:
        return _answer_for(BodyTooLarge("The request body is larger than the admin API takes."))
    own = RequestError(str(refused.detail))
    own.http_status = refused.status_code
    return _answer_for(own, refused.headers)


class _Shield:
    """ASGI middleware: an error that nobody expected becomes a 500 with an id, under which the log tells the rest.

    It also ends the reading of a body that is too large, and takes every body as JSON, whatever the client calls it:
    `curl -d` calls all a form.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, new_id: Callable[[], str], body_bytes_max: int) -> None:
        self._app = app
        self._metrics = metrics
        self._new_id = new_id
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        body_bytes = 0

        async def receive_within_limit() -> Message:
            nonlocal body_bytes
            message = await receive()
            body_bytes += len(message.get("body", b""))
            if body_bytes > self._body_bytes_max:
                # The framework passes on this class of error only, while it reads a body.
                raise HTTPException(BodyTooLarge.http_status)
            return message

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        if scope["type"] == "http":
            headers = [header for header in scope["headers"] if header[0] != b"content-type"]
            scope = {**scope, "headers": headers}
        try:
            await self._app(scope, receive_within_limit, note_start)
        except Exception:
            error_id = self._new_id()
            self._metrics.internal_errors.inc()
            log.exception("admin_request_crashed", error_id=error_id, path=scope.get("path"))
            if started or scope["type"] != "http":
                raise
            error = TallystickError(f"Something unexpected happened. The log tells more under the id {error_id}.")
            await _answer_for(error)(scope, receive, send)
