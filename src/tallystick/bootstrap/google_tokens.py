"""Google's tokens, whose package is loaded when the first of them is asked for: it takes long, and is an extra."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tallystick.errors import UpstreamUnreachable
from tallystick.runtime.clock import Clock

if TYPE_CHECKING:
    from tallystick.providers.google_tokens import GoogleTokens


class GoogleTokensWhenNeeded:
    """The `TokenSource` of a process."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._loading = asyncio.Lock()
        self._tokens: GoogleTokens | None = None

    async def token(self, credentials: str) -> str:
        """See TokenSource."""
        return await (await self._loaded()).token(credentials)

    async def aclose(self) -> None:
        """Stop what is under way."""
        if self._tokens is not None:
            await self._tokens.aclose()

    async def _loaded(self) -> GoogleTokens:
        async with self._loading:  # Two who load it would each ask for tokens of their own.
            if self._tokens is None:
                self._tokens = await asyncio.to_thread(self._load)
        return self._tokens

    def _load(self) -> GoogleTokens:
        try:
            from tallystick.providers.google_tokens import GoogleTokens
        except ImportError as error:
            raise UpstreamUnreachable("Vertex AI needs google-auth: install tallystick[vertex].") from error
        return GoogleTokens(clock=self._clock)
