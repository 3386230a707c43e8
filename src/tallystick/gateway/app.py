"""The gateway: one plain ASGI application. Known paths of the data plane are served here, all others by `fallback`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog

from tallystick.access.authenticator import Authenticator
from tallystick.access.presented import presented_key
from tallystick.access.principal import Principal
from tallystick.access.route_access import RouteKind, require_route
from tallystick.calls.batches.jobs import JobContext
from tallystick.calls.call import PASS_THROUGH, CallContext
from tallystick.calls.kept_responses import KeptResponses
from tallystick.calls.metered_stream import MeteredStream
from tallystick.calls.model_choice import callable_models, is_of_wildcard
from tallystick.calls.passed_call import PassedCalls
from tallystick.calls.pipeline import Pipeline
from tallystick.calls.plain_answer import PlainAnswer
from tallystick.control.snapshot import Snapshot
from tallystick.errors import LedgerUnavailable, NotFound, ServerNotReady, TallystickError, UpstreamError
from tallystick.gateway.call_paths import CallPath, find_call, key_in_query
from tallystick.gateway.health import HealthPages
from tallystick.gateway.held import HeldObjects, HeldPath, HeldRequest, find_held, refuse_method, serve_held
from tallystick.gateway.http import (
    ASGIApp,
    ClientGone,
    DisconnectWatch,
    HeaderList,
    Message,
    Receive,
    Scope,
    Send,
    header_value,
    read_body,
    send_answer,
)
from tallystick.gateway.kept_responses import KeptPath, find_kept, serve_kept
from tallystick.gateway.passed import ANYBODY, PassedPath, PassedPaths
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.caller_dialects import CALLER_DIALECTS
from tallystick.wire.error_envelope import envelope
from tallystick.wire.gemini.request import GEMINI_DIALECTS
from tallystick.wire.model_list import render_model, render_model_list
from tallystick.wire.openai.request import OPENAI

log = structlog.get_logger()

_MODEL_PATH = re.compile(r"(?:/v1)?/models/(?P<model>.+)")
_MODEL_LIST_PATHS = ("/v1/models", "/models")
_CALL_ID, _EVENT_ID = b"x-litellm-call-id", b"x-tallystick-event-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """The gateway's settings."""

    body_bytes_max: int
    key_header: bytes | None = None


class Gateway:
    """Serves calls. `stop_admitting` makes it refuse new ones while running ones end."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        passed_calls: PassedCalls,
        authenticator: Authenticator,
        snapshot: Callable[[], Snapshot],
        health: HealthPages,
        kept_responses: KeptResponses,
        held: HeldObjects,
        fallback: ASGIApp,
        clock: Clock,
        metrics: Metrics,
        limits: GatewayLimits,
    ) -> None:
        self._pipeline = pipeline
        self._passed_calls = passed_calls
        self._passed = PassedPaths(snapshot=snapshot, key_header=limits.key_header)
        self._authenticator = authenticator
        self._snapshot = snapshot
        self._health = health
        self._kept_responses = kept_responses
        self._held = held
        self._fallback = fallback
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._admitting = True
        self._started_at = int(clock.now().timestamp())

    def stop_admitting(self) -> None:
        self._admitting = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Every answer, errors included, carries the id that its event has or would have."""
        path: str = scope["path"]
        found = find_call(path, scope["query_string"])
        if found is not None:
            await self._serve(scope, receive, send, call=found[0], model=found[1])
        elif path in _MODEL_LIST_PATHS or (path.startswith(("/v1/models/", "/models/"))):
            await self._serve(scope, receive, send, call=None, model=None)
        elif (kept := find_kept(path)) is not None:
            await self._serve(scope, receive, send, call=None, model=None, kept=kept)
        elif (held := find_held(path)) is not None:
            await self._hold(scope, receive, send, held)
        elif (page := self._health.page(path)) is not None:
            await page(scope, receive, send)
        elif (passed := self._passed.find(path)) is not None:
            await self._pass(scope, receive, send, passed)
        else:
            await self._fallback(scope, receive, send)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        call: CallPath | None,
        model: str | None,
        kept: KeptPath | None = None,
    ) -> None:
        """Answer a request of the data plane, or say in the caller's dialect why not.

        Without a call, it is about a kept response; without that, models are listed.
        """
        dialect = OPENAI if call is None else call.dialect

        async def answer(begun: _Begun) -> None:
            headers = dict(scope["headers"])
            token = self._token(headers, scope["query_string"] if dialect in GEMINI_DIALECTS else b"")
            principal = await self._authenticate(token)
            if principal.allowed_routes or principal.key_type:
                _require_route(principal, scope["path"], call, kept)
            if call is None:
                await self._show(scope, begun.send, principal, begun.ids, kept)
                return
            if scope["method"] != "POST":
                await send_answer(begun.send, 405, _METHOD_NOT_ALLOWED, [(b"allow", b"POST"), *begun.ids])
                return
            self._check_admitting()
            body = await read_body(receive, headers=headers, bytes_max=self._limits.body_bytes_max)
            context = CallContext(
                event_id=begun.event_id,
                started_at=begun.started_at,
                path="/v1/" + call.endpoint,
                request=call.read(body, headers, model=model),
                principal=principal,
                headers=headers,
                requester_ip=_client_address(scope),
            )
            await _send(await self._pipeline.run(context), receive, begun)

        await self._respond(send, dialect, answer)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, passed: PassedPath) -> None:
        """Pass a request through, or say why not."""

        async def answer(begun: _Begun) -> None:
            headers = dict(scope["headers"])
            token = self._token(headers, scope["query_string"] if passed.takes_key_in_query else b"")
            principal = await self._authenticate(token) if passed.needs_key else ANYBODY
            passed.require(principal)
            if scope["method"] not in passed.methods:
                allow = ", ".join(passed.methods).encode()
                await send_answer(begun.send, 405, _METHOD_NOT_PASSED, [(b"allow", allow), *begun.ids])
                return
            self._check_admitting()
            body = await read_body(receive, headers=headers, bytes_max=self._limits.body_bytes_max)
            passage, request = self._passed.passage(passed, scope, body, key=token)
            context = CallContext(
                event_id=begun.event_id,
                started_at=begun.started_at,
                path=passage.operation.label,
                request=request,
                principal=principal,
                headers=headers,
                requester_ip=_client_address(scope),
                call_type=PASS_THROUGH,
            )
            await _send(await self._passed_calls.run(context, passage), receive, begun)

        await self._respond(send, passed.dialect, answer)

    async def _hold(self, scope: Scope, receive: Receive, send: Send, held: HeldPath) -> None:
        """Answer a request about files or batches that upstreams keep, or say why not."""

        async def answer(begun: _Begun) -> None:
            headers = dict(scope["headers"])
            principal = await self._authenticate(self._token(headers, b""))
            require_route(principal, RouteKind.CALL, scope["path"], *held.spellings)
            method = scope["method"]
            if method not in held.methods:
                await refuse_method(held, begun.send, ids=begun.ids)
                return
            body = b""
            if method == "POST":
                self._check_admitting()
                body = await read_body(receive, headers=headers, bytes_max=self._limits.body_bytes_max)
            context = JobContext(begun.event_id, principal, headers, _client_address(scope))
            asked = HeldRequest(method, scope["query_string"], context, body)
            await serve_held(self._held, held, asked, begun.send, ids=begun.ids)

        await self._respond(send, OPENAI, answer)

    async def _respond(self, send: Send, dialect: str, answer: Callable[[_Begun], Awaitable[None]]) -> None:
        """Give a request its id, have it answered, and say in a dialect what went wrong."""
        started_at = truncate_to_millisecond(self._clock.now())
        event_id = new_event_id(started_at)
        id_header = event_id.encode()
        ids = [(_CALL_ID, id_header), (_EVENT_ID, id_header)]
        started = _StartNote(send)
        try:
            await answer(_Begun(event_id, started_at, ids, started))
        except ClientGone:
            return
        except TallystickError as error:
            await self._refuse(started, error, ids, dialect)
        except Exception:
            log.exception("call_crashed", event_id=event_id)
            self._metrics.internal_errors.inc()
            await self._refuse(
                started, TallystickError(f"Something unexpected happened; see the log for {event_id}."), ids, dialect
            )

    def _check_admitting(self) -> None:
        if not self._admitting:
            raise ServerNotReady("The server is stopping; try another instance.")

    def _token(self, headers: Mapping[bytes, bytes], query: bytes) -> str | None:
        return presented_key(headers, first=self._limits.key_header) or key_in_query(query)

    async def _authenticate(self, token: str | None) -> Principal:
        if token is not None and (known := self._authenticator.lookup_cached(token)) is not None:
            return known
        return await self._authenticator.authenticate(token)

    async def _show(
        self, scope: Scope, send: Send, principal: Principal, ids: HeaderList, kept: KeptPath | None
    ) -> None:
        """Answer what costs nothing."""
        if kept is None:
            await self._show_models(scope, send, principal, ids)
            return
        method, query = scope["method"], scope["query_string"]
        await serve_kept(self._kept_responses, kept, principal, send, method=method, query=query, ids=ids)

    async def _show_models(self, scope: Scope, send: Send, principal: Principal, ids: HeaderList) -> None:
        snapshot = self._snapshot()
        with_wildcards = b"return_wildcard_routes=true" in scope["query_string"].lower().split(b"&")
        names = list(callable_models(principal, snapshot, wildcards=with_wildcards))
        asked = _MODEL_PATH.fullmatch(scope["path"])
        if asked is None:
            await send_answer(send, 200, render_model_list(names, created=self._started_at), ids)
        elif asked["model"] in names or is_of_wildcard(principal, asked["model"], snapshot):
            await send_answer(send, 200, render_model(asked["model"], created=self._started_at), ids)
        else:
            raise NotFound(f"There is no model '{asked['model'][:256]}'; GET /v1/models lists them.", param="model")

    async def _refuse(self, started: _StartNote, error: TallystickError, ids: HeaderList, dialect: str) -> None:
        """Send an error, unless an answer has begun: then the server drops the connection without the answer's end."""
        if isinstance(error, LedgerUnavailable) or started.begun:
            log.error("call_refused", reason=error.message, answer_begun=started.begun)
        if started.begun:
            return
        status, body, extra = CALLER_DIALECTS[dialect].render_error(error)
        more = [(name.encode(), header_value(value)) for name, value in extra.items()]
        told = error.headers if isinstance(error, UpstreamError) else ()
        await send_answer(started, status, body, [*ids, *told, *more])


def _require_route(principal: Principal, path: str, call: CallPath | None, kept: KeptPath | None) -> None:
    """Raise PermissionDenied when the key may not use this route, by whichever of its spellings it names it."""
    if kept is not None:
        require_route(principal, RouteKind.CALL, path, *kept.spellings)
    elif call is None:
        require_route(principal, RouteKind.MODEL_LIST, path, *_MODEL_LIST_PATHS)
    else:
        require_route(principal, RouteKind.CALL, path, "/" + call.endpoint, "/v1/" + call.endpoint)


class _Begun(NamedTuple):
    """A request that is being answered."""

    event_id: str
    started_at: datetime
    ids: HeaderList
    send: _StartNote


class _StartNote:
    """A `send` that remembers whether an answer has begun."""

    __slots__ = ("_send", "begun")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    def __call__(self, message: Message) -> Awaitable[None]:
        self.begun = True
        return self._send(message)


async def _send(answer: PlainAnswer | MeteredStream, receive: Receive, begun: _Begun) -> None:
    if isinstance(answer, MeteredStream):
        await _send_stream(answer, receive, begun.send, begun.ids)
        return
    headers = [*begun.ids, *answer.headers]
    await send_answer(begun.send, answer.status, answer.body, headers, header_value(answer.content_type))


async def _send_stream(stream: MeteredStream, receive: Receive, send: Send, ids: HeaderList) -> None:
    """Pass a stream on; when the client leaves, abandon it, which settles the call all the same."""
    watch = DisconnectWatch(receive, cancel=not stream.reads_on_without_client)
    try:
        await send(
            {
                "type": "http.response.start",
                "status": stream.status,
                "headers": [
                    (b"content-type", header_value(stream.content_type)),
                    (b"cache-control", b"no-cache"),
                    *ids,
                    *stream.headers,
                ],
            }
        )
        while not watch.left and (chunk := await stream.next()) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if watch.left:
            await stream.abandon()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except asyncio.CancelledError as error:
        if stream.reads_on_without_client or not watch.left:  # The server stops; the watch had no part in it.
            stream.cut_short(error)
            raise
        _uncancel()
        await stream.abandon()
    except Exception as error:
        stream.cut_short(error)
        raise
    finally:
        await watch.stop()
        await stream.close()


def _uncancel() -> None:
    """Take back the cancellation that the watch made: this task goes on, to settle the call."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _client_address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


_METHOD_NOT_ALLOWED = envelope(
    message="Method not allowed: use POST.", error_type="invalid_request_error", param=None, code="405"
)
_METHOD_NOT_PASSED = envelope(
    message="Method not allowed here.", error_type="invalid_request_error", param=None, code="405"
)
