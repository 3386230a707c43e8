"""The provider seam: one call to one deployment's upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import Reading


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment's calls go. Resolved once, when the configuration is loaded; never logged."""

    provider: str
    """The prefix of `litellm_params.model`: openai, groq, demo …; of a library's model, the one behind the library."""
    model: str
    """What the upstream calls the model."""
    api_base: str
    """Base URL without a trailing slash; '' where nothing is called (demo, mock)."""
    headers: Mapping[str, str] = {}
    """Auth and extra headers, ready to send."""
    query: str = ""
    """Query string without '?', such as Azure's api-version."""
    path_style: str = "openai"
    """`openai`: base + '/' + endpoint; `azure`: base + '/openai/deployments/' + model + '/' + endpoint."""
    options: Mapping[str, object] = {}
    """What an adapter needs besides, such as `mock_response`."""
    drop_params: bool = False
    """Whether fields of a request that the upstream's dialect can't say are dropped, not refused."""
    library: str = ""
    """The library that calls it: `any-llm` or `litellm`; '': we do."""
    timeout_seconds: float = 600.0
    """Until the whole answer is there; for a stream, until its first byte."""
    stream_idle_seconds: float = 600.0
    """The longest pause inside a stream. A stream has no total timeout."""

    @property
    def served_by(self) -> str:
        """The name in the table of providers."""
        return self.library or self.provider


class InvalidTarget(ValueError):
    """A deployment can't be called as it is configured; `field` is the parameter to mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class Answer:
    """An upstream's answer with a 2xx status, as it came, and how it is to be read.

    A plain answer has `body`; a stream has `chunks`, which yields bytes as they come and must be either exhausted or
    closed with `aclose()`.
    """

    __slots__ = ("body", "chunks", "content_type", "headers", "reading", "status")

    def __init__(
        self,
        *,
        status: int,
        content_type: str,
        headers: Mapping[str, str],
        reading: Reading,
        body: bytes = b"",
        chunks: ClosableStream | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self.reading = reading
        self.body = body
        self.chunks = chunks


class ClosableStream(Protocol):
    """Bytes of a stream as they come. Iterating raises UpstreamError when it breaks or pauses too long."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Stop, and give the connection up if the stream has not ended. Harmless when called again."""


class Provider(Protocol):
    """One upstream family."""

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream and return its answer once the status is known (and, if plain, the body is complete).

        A request in another dialect than the upstream's is translated; see `providers.translator`. Raises
        Untranslatable and BadRequest before anything is sent; UpstreamRefused for a status of 400 and above,
        UpstreamTimeout, UpstreamUnreachable, UpstreamGarbled.
        """
