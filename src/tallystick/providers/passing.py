"""Requests that go to an upstream as they are, to a path that the caller names below an address that it does not.

What a caller gives can't leave the target's address: its path is appended to it, and has been looked at before
(`gateway.passed_paths`). Nothing is followed, and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from urllib.parse import unquote_plus

import msgspec

from tallystick.errors import BadRequest, UpstreamGarbled, UpstreamRefused
from tallystick.providers.anthropic import VERSION, VERSION_HEADER
from tallystick.providers.aws_identity import AWSIdentity, AWSSigner
from tallystick.providers.aws_target import AWS_IDENTITY
from tallystick.providers.base import Target
from tallystick.providers.destination import Destination
from tallystick.providers.gemini import TokenSource
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.providers.vertex import VERTEX_CREDENTIALS

EXACT: Final = "exact"
"""The path style of a target whose `api_base` is the whole address, to which only a caller's sub-path is appended."""


class PassedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. All of it is the caller's, and has been looked at."""

    method: str
    path: str
    """As it stands in the request, escapes and all, without a slash at its begin; '' is the target itself."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case; none that says who calls."""
    body: bytes


class Sends(Protocol):
    """Sends passed requests."""

    async def send(self, passed: PassedRequest, target: Target) -> RawAnswer:
        """Return an answer with a 2xx status: whole, or a stream.

        Raises UpstreamRefused for a status of 400 and above, with the body as it came; UpstreamGarbled for a redirect;
        BadRequest, before anything is sent, for a path that is not the target's; and the errors of `Transport.send`.
        """


class Passing:
    """Sends to the upstreams of deployments, and to others only where their addresses are public."""

    def __init__(
        self,
        transport: Transport,
        guarded: Transport,
        *,
        tokens: TokenSource,
        load_signer: Callable[[], AWSSigner],
    ) -> None:
        """`guarded` refuses addresses; what is configured as a model's address is called by `transport`."""
        self._transport = transport
        self._guarded = guarded
        self._tokens = tokens
        self._load_signer = load_signer
        self._signer: AWSSigner | None = None

    async def send(self, passed: PassedRequest, target: Target) -> RawAnswer:
        """See Sends."""
        destination = await self._destination(passed, target)
        transport = self._guarded if target.path_style == EXACT else self._transport
        answer = await transport.send(
            passed.method,
            destination,
            passed.body,
            timeout_seconds=target.timeout_seconds,
            stream=True,  # What is JSON comes whole all the same.
            stream_idle_seconds=target.stream_idle_seconds,
        )
        if answer.status >= 400:
            raise UpstreamRefused(
                status=answer.status,
                body=answer.body,
                content_type=answer.content_type,
                retry_after=answer.headers.get("retry-after"),
            )
        if answer.status >= 300:
            if answer.chunks is not None:
                await answer.chunks.aclose()
            raise UpstreamGarbled(f"The upstream answered with a redirect ({answer.status}), which is not followed.")
        return answer

    async def _destination(self, passed: PassedRequest, target: Target) -> Destination:
        url = passed_url(target, passed.path, passed.query)
        headers = {**passed.headers, **target.headers}
        if target.provider == "anthropic":
            headers.setdefault(VERSION_HEADER, VERSION)
        credentials = target.options.get(VERTEX_CREDENTIALS)
        if credentials is not None:
            headers = {"authorization": f"Bearer {await self._tokens.token(str(credentials))}", **headers}
        identity = target.options.get(AWS_IDENTITY)
        if isinstance(identity, AWSIdentity):
            if self._signer is None:
                self._signer = await asyncio.to_thread(self._load_signer)
            signed = await self._signer.sign(
                identity, service="bedrock", url=url, headers=headers, body=passed.body, method=passed.method
            )
            return Destination(url, signed)
        return Destination(url, headers)


def passed_url(target: Target, path: str, query: str) -> str:
    """Return the whole address. Raises BadRequest for a path that is not the target's own."""
    base = target.api_base
    if target.path_style == EXACT:
        url = f"{base}/{path}" if path else base
    elif target.provider == "vertex_ai":
        url = _vertex_url(base, path)
    else:
        has_version = _VERSION.match(path) is not None
        url = f"{_VERSION_AT_END.sub('', base) if has_version else base}/{path}"
    whole = _merged_query(target.query, query)
    return f"{url}?{whole}" if whole else url


def _merged_query(own: str, given: str) -> str:
    """Put the caller's parameters behind the target's own, which it can't replace."""
    if not own or not given:
        return own or given
    taken = {_parameter(part) for part in own.split("&")}
    return "&".join([own, *(part for part in given.split("&") if _parameter(part) not in taken)])


def _parameter(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


def _vertex_url(base: str, path: str) -> str:
    """Return the address in the deployment's own project and location, which a path may name or leave out."""
    found = _PLACE.search(base)
    own = "" if found is None else found[0].strip("/")
    root = _VERSION_AT_END.sub("", base if found is None else base[: found.start()])
    version = _VERSION.match(path)
    rest = path if version is None else path[version.end() :]
    named = _PLACE.match("/" + rest)
    if named is not None:
        if own != named[0].strip("/"):
            raise BadRequest("No deployment here has this project and location at Vertex AI.", param="path")
        rest = rest[named.end() - 1 :].lstrip("/")
    elif rest.startswith("projects/"):
        raise BadRequest("At Vertex AI, only paths of projects/<project>/locations/<location>/ are passed.")
    place = f"{own}/" if own else ""
    return f"{root}/{'v1/' if version is None else version[0]}{place}{rest}"


_VERSION: Final = re.compile(r"v\d+(?:alpha|beta)?\d*/")
_VERSION_AT_END: Final = re.compile(r"/v\d+(?:alpha|beta)?\d*$")
_PLACE: Final = re.compile(r"/projects/[^/]+/locations/[^/]+(?=/|$)")
