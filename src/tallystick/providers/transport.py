"""HTTP to the upstreams: the narrow seam over the client library, so that another one can take its place.

Nothing is sent twice from here: a provider may have billed a request whose answer was lost, so that trying again is
a decision of routing.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tallystick.errors import UpstreamError, UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.base import ClosableStream

ERROR_BYTES_MAX = 1024 * 1024
"""More of an error's body is cut off."""
_WHOLE_BODY_BYTES_MAX = 1024 * 1024  # The client library wants larger bodies as files.


class RawAnswer:
    """An answer of any status: `body` when it is whole, `chunks` when it is a stream that goes on."""

    __slots__ = ("body", "chunks", "content_type", "headers", "status")

    def __init__(self, *, status: int, headers: Mapping[str, str], body: bytes, chunks: ClosableStream | None) -> None:
        self.status = status
        self.headers = headers
        self.content_type = headers.get("content-type", "")
        self.body = body
        self.chunks = chunks


class Destination:
    """A URL and the headers of every request to it, prepared once."""

    __slots__ = ("headers", "url")

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = URL(url, encoded=True)
        # With those that would else be added to each request.
        self.headers = CIMultiDict(
            {
                "accept": "*/*",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "user-agent": "tallystick",
            }
        )
        self.headers.update(headers)


class Transport:
    """Connections to all upstreams, kept alive and counted. Opens on the first request; close it when done."""

    def __init__(
        self,
        *,
        connections_max: int = 1000,
        connections_per_host_max: int = 1000,
        keep_alive_seconds: float = 15.0,
        connect_timeout_seconds: float = 10.0,
        body_bytes_max: int = 256 * 1024 * 1024,
    ) -> None:
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._keep_alive_seconds = keep_alive_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._body_bytes_max = body_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        destination: Destination,
        body: bytes,
        *,
        timeout_seconds: float,
        stream: bool = False,
        stream_idle_seconds: float = 600.0,
    ) -> RawAnswer:
        """Send one request and return its answer: with its whole body, or, for a stream, from its first byte on.

        An error status and a JSON answer are never streams. Raises UpstreamUnreachable when no answer began,
        UpstreamTimeout, and UpstreamGarbled when an answer broke off, is too large or is no HTTP.
        """
        session = self._session or self._open()
        url = destination.url
        response: aiohttp.ClientResponse | None = None
        try:
            response = await session.request(
                method,
                url,
                headers=destination.headers,
                data=body if len(body) < _WHOLE_BODY_BYTES_MAX else io.BytesIO(body),
                allow_redirects=False,
                timeout=_timeout(timeout_seconds, self._connect_timeout_seconds, stream),
            )
            answer_headers = response.headers
            status = response.status
            chunks = None
            if stream and status < 400 and not answer_headers.get("content-type", "").startswith("application/json"):
                first = await response.content.readany()
                chunks = _Chunks(response, first, url, idle_seconds=stream_idle_seconds)
                whole = b""
            else:
                whole = await self._read_whole(response)
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError, ValueError)):
                raise _translate(error, url, answer_began=response is not None) from error
            raise
        return RawAnswer(status=status, headers=answer_headers, body=whole, chunks=chunks)

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections_max,
                limit_per_host=self._connections_per_host_max,
                keepalive_timeout=self._keep_alive_seconds,
                ttl_dns_cache=30,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The upstream is asked not to compress; one that does it all the same is still understood.
            auto_decompress=True,
            raise_for_status=False,
            trust_env=False,
        )
        return self._session

    async def _read_whole(self, response: aiohttp.ClientResponse) -> bytes:
        content = response.content
        limit = ERROR_BYTES_MAX if response.status >= 400 else self._body_bytes_max
        body = await content.readany()
        if content.at_eof() and len(body) <= limit:
            return body
        parts = bytearray(body)
        while len(parts) <= limit:
            part = await content.readany()
            if not part:
                return bytes(parts)
            parts += part
        response.close()
        if response.status >= 400:
            return bytes(parts[:limit])
        raise UpstreamGarbled(f"The upstream's answer is larger than {limit} bytes.")


class _Chunks:
    """The rest of a response as a ClosableStream."""

    __slots__ = ("_content", "_first", "_idle_seconds", "_response", "_url")

    def __init__(self, response: aiohttp.ClientResponse, first: bytes, url: URL, *, idle_seconds: float) -> None:
        self._response = response
        self._content = response.content
        self._first = first
        self._url = url
        self._idle_seconds = idle_seconds
        # From here on the time between two bytes counts. A response that has ended has no connection any more.
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = idle_seconds
            connection.protocol.start_timeout()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk, self._first = self._first, b""
        if not chunk:
            try:
                chunk = await self._content.readany()
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._response.close()
                raise _translate(error, self._url, answer_began=True) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._response.close()


@lru_cache(maxsize=256)
def _timeout(timeout_seconds: float, connect_timeout_seconds: float, stream: bool) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None if stream else timeout_seconds,
        connect=timeout_seconds,  # Waiting for a free connection included.
        sock_connect=connect_timeout_seconds,
        sock_read=timeout_seconds if stream else None,
        ceil_threshold=3600,  # Timeouts are kept as they are, not rounded up to whole seconds.
    )


def _translate(error: BaseException, url: URL, *, answer_began: bool) -> UpstreamError:
    """Say what happened in our terms. Only the host is named: a URL or a header may hold a key."""
    host = f"{url.scheme}://{url.host}:{url.port}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamUnreachable(f"{host} gave no connection in time.")
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        what = "paused too long in its answer" if answer_began else "did not answer in time"
        return UpstreamTimeout(f"{host} {what}.")
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.InvalidURL, ValueError)):
        return UpstreamGarbled(f"{host} did not answer in HTTP as it should ({type(error).__name__}).")
    if answer_began:
        return UpstreamGarbled(f"{host} broke off in the middle of its answer ({type(error).__name__}).")
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    return UpstreamUnreachable(f"{host} could not be reached: {reason}.")
