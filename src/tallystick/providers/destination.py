"""Where requests go: an origin, and the head that all requests to one URL share."""

from __future__ import annotations

import re
import string
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from tallystick.errors import UpstreamUnreachable

_PORTS = {"http": 80, "https": 443}
_VISIBLE = string.ascii_letters + string.digits + string.punctuation
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_DEFAULT_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",
    "content-type": "application/json",
    "user-agent": "tallystick",
}
_OF_THE_CONNECTION = frozenset(
    # What frames a message or governs the connection is not for a deployment to set.
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)


class Origin(NamedTuple):
    """Scheme, host and port: what connections are made to, and all that messages may tell of a URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Destination:
    """A URL and the headers of every request to it, prepared once. Names of headers are in lower case.

    Raises UpstreamUnreachable when no request can be made of them. Headers that govern the connection are left out.
    """

    __slots__ = ("head", "headers", "origin", "url")

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts, self.origin = _split(url)
        self.url = url
        own = {name.lower(): value for name, value in headers.items()}
        default_headers = {"host": _host_header(self.origin), **_DEFAULT_HEADERS}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            default_headers["authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        kept = {name: value for name, value in (default_headers | own).items() if name not in _OF_THE_CONNECTION}
        if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in kept.items()):
            raise UpstreamUnreachable(f"{self.origin} can't be called: a header has characters that can't be sent.")
        self.headers: Mapping[str, str] = kept
        lines = [f" {_request_target(parts)} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
        self.head = "\r\n".join([*lines, "content-length: "]).encode()
        """All of the head but the method before it and the body's length behind it."""


def _split(url: str) -> tuple[SplitResult, Origin]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode()
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise UpstreamUnreachable("The upstream's URL is none that can be called; check its api_base.") from error
    if not host or set(host) - set(_VISIBLE):
        raise UpstreamUnreachable("The upstream's URL names no host; check its api_base.")
    return parts, Origin(parts.scheme, host, port)


def _host_header(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == _PORTS[origin.scheme] else f"{host}:{origin.port}"


def _request_target(parts: SplitResult) -> str:
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return quote(target, safe=_VISIBLE)
