"""Requests that are passed through: to endpoints that admins made, and to the APIs of providers by prefixes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tallystick.access.principal import Principal
from tallystick.access.route_access import RouteKind, require_route
from tallystick.calls.passed_call import Passage
from tallystick.config.pass_through_settings import METHODS
from tallystick.control.pass_through import PassThroughEndpoint
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest
from tallystick.gateway.http import Scope
from tallystick.gateway.passed_paths import checked_path, checked_query, find_prefix, passed_headers
from tallystick.providers.passing import PassedRequest
from tallystick.wire.call_request import CallRequest
from tallystick.wire.openai.reading import USAGE_HIDDEN
from tallystick.wire.openai.request import OPENAI
from tallystick.wire.passed.operations import PREFIXES, Operation, Prefix, find_operation
from tallystick.wire.passed.request import PassedBody, asking_usage, read_passed_body

ANYBODY: Final = Principal(key_hash="")
"""Who calls an endpoint that asks for no key."""
_USAGE_ASKED: Final = frozenset(("chat/completions", "completions"))
_PATH_IN_EVENT_MAX: Final = 256


class PassedPath(NamedTuple):
    """What a path of the gateway leads to."""

    path: str
    """Undone of its escapes, as lists of allowed routes have it."""
    prefix: Prefix | None
    endpoint: PassThroughEndpoint | None

    @property
    def dialect(self) -> str:
        """In which errors of ours are told."""
        return OPENAI if self.prefix is None else PREFIXES[self.prefix]

    @property
    def takes_key_in_query(self) -> bool:
        """Whether the provider's clients may put the key into the address."""
        return self.prefix == "gemini"

    @property
    def needs_key(self) -> bool:
        return self.endpoint is None or self.endpoint.auth

    @property
    def methods(self) -> tuple[str, ...]:
        return METHODS if self.endpoint is None else self.endpoint.methods

    def require(self, principal: Principal) -> None:
        """Raise PermissionDenied when the key may not use this route."""
        if principal.allowed_routes or principal.key_type:
            own = self.endpoint.path if self.endpoint is not None else f"/{self.prefix}"
            require_route(principal, RouteKind.CALL, self.path, own)


class PassedPaths:
    """Finds what paths lead to, and makes calls of requests. One for a process."""

    def __init__(self, *, snapshot: Callable[[], Snapshot], key_header: bytes | None) -> None:
        self._snapshot = snapshot
        self._key_header = key_header

    def find(self, path: str) -> PassedPath | None:
        """Return what a path leads to, None when it is passed nowhere. Endpoints go before providers."""
        found = self._snapshot().pass_through.find(path)
        if found is not None:
            return PassedPath(path, None, found[0])
        prefixed = find_prefix(path)
        return None if prefixed is None else PassedPath(path, prefixed[0], None)

    def passage(self, passed: PassedPath, scope: Scope, body: bytes, *, key: str | None) -> tuple[Passage, CallRequest]:
        """Return where a request goes and what of it, and what the call is. Raises BadRequest."""
        headers = dict(scope["headers"])
        raw_path = checked_path(scope["raw_path"])
        # What the caller's path says beyond that of the endpoint or the prefix, byte for byte.
        depth = passed.endpoint.path.count("/") if passed.endpoint is not None else 1
        path = "/".join(raw_path.split("/")[depth + 1 :])
        names = ("key",) if passed.takes_key_in_query else ()
        query = checked_query(scope["query_string"], key=key, key_names=names)
        read = read_passed_body(body, headers.get(b"content-type", b"").decode("latin-1").strip())
        operation = Operation(passed.endpoint.path) if passed.endpoint is not None else _operation(passed, path, query)
        if passed.prefix is not None:
            _require_readable(read, operation, path, headers, method=scope["method"])
        if operation.as_array:
            query = "&".join(part for part in (_without_alt(query), "alt=sse") if part)
        asks = operation.dialect == OPENAI and operation.endpoint in _USAGE_ASKED
        if asks and read.stream and not read.wants_usage:
            body, operation = asking_usage(body), operation._replace(stream=USAGE_HIDDEN)
        request = PassedRequest(
            method=scope["method"],
            path=path,
            query=query,
            headers=passed_headers(
                headers,
                key=key,
                key_header=self._key_header,
                all_of_them=passed.endpoint is None or passed.endpoint.forward_headers,
            ),
            body=body,
        )
        passage = Passage(
            request=request,
            prefix=passed.prefix,
            endpoint=passed.endpoint,
            operation=operation,
            is_json=read.is_json,
        )
        return passage, _call_request(operation, read, body, scope)


def _operation(passed: PassedPath, path: str, query: str) -> Operation:
    assert passed.prefix is not None
    return find_operation(passed.prefix, path, query)


def _require_readable(
    read: PassedBody, operation: Operation, path: str, headers: Mapping[bytes, bytes], *, method: str
) -> None:
    """Raise BadRequest for a body that only the provider can read: which model it names and what it costs is unknown.

    Files may be of any kind, where the path takes them or they say that they are no JSON.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
        raise BadRequest("A body that is compressed can't be passed to a provider: leave content-encoding out.")
    if read.is_json or read.is_form:
        return
    is_call = operation.endpoint != "pass_through" and method == "POST"
    says_json = b"json" in headers.get(b"content-type", b"json").lower()
    if is_call or (read.is_unreadable and says_json and not path.startswith("upload/")):
        raise BadRequest("The body must be a JSON object in UTF-8.")


def _call_request(operation: Operation, read: PassedBody, body: bytes, scope: Scope) -> CallRequest:
    return CallRequest(
        dialect=operation.dialect,
        endpoint=operation.endpoint,
        model=operation.model or read.model,
        raw=body if read.is_json else b"",
        stream=operation.is_stream or read.stream,
        user=read.user,
        metadata=read.metadata,
        litellm_metadata={"pass_through_path": scope["path"][:_PATH_IN_EVENT_MAX]},
        tags=[],
        max_output_tokens=read.max_output_tokens,
        choices=read.choices,
    )


def _without_alt(query: str) -> str:
    return "&".join(part for part in query.split("&") if part.partition("=")[0] not in ("alt", "$alt", "%24alt"))
