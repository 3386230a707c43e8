"""Passwords that expire: each new connection gets one that is good, and a new one is there before the old one ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock

_ISSUE_SECONDS_MAX: Final = 10.0
_AHEAD_SECONDS_MAX: Final = 300.0
_RETRY_SECONDS: Final = 5.0
_FAILURE_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class PasswordSource(Protocol):
    """What a database asks before each new connection. Connections that are open are not its concern."""

    async def password(self, *, seconds_max: float) -> str:
        """Return a password that is good now. Raises StoreUnavailable when none can be had within so long."""

    def accept(self, password: str) -> None:
        """The server took this password."""

    def refuse(self, password: str) -> None:
        """The server did not take this password: do not give it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A password and for how long it is good, from its issue on."""

    text: str = field(repr=False)
    lifetime_seconds: float


class TokenIssuer(Protocol):
    """Where tokens come from."""

    async def issue(self) -> Token:
        """Return a new token. Raises StoreUnavailable, which says what could not be reached or what was refused."""


class ExpiringPasswords:
    """A `PasswordSource` that keeps the newest token. However many ask at once, they share one attempt and its failure.

    For a second after a failure nobody asks the issuer again: everybody who needs a token then fails at once. A token
    that the server refuses is replaced; when it refuses the one in its place too, that is a failure like the issuer's.
    `run` fetches the next one when a third of the lifetime is left, at most five minutes ahead; while that fails, the
    old one is given until it ends. Without `run` the next one is fetched when it is needed.
    """

    def __init__(self, issuer: TokenIssuer, *, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._token: Token | None = None
        self._issued_at = 0.0
        self._fetching: asyncio.Task[Token] | None = None
        self._asked_at = 0.0
        self._refused_in_a_row = 0
        self._failure = ""
        self._failed_until = float("-inf")

    async def password(self, *, seconds_max: float) -> str:
        """`PasswordSource`. Counted from when the attempt began: who joins a slow one late does not wait long."""
        token = self._good_token() or await self._next_token(seconds_max)
        return token.text

    def accept(self, password: str) -> None:
        """`PasswordSource`."""
        if self._token is not None and self._token.text == password:
            self._refused_in_a_row = 0

    def refuse(self, password: str) -> None:
        """`PasswordSource`."""
        if self._token is None or self._token.text != password:
            return  # Late news of a connection that began before.
        self._token = None
        self._refused_in_a_row += 1
        if self._refused_in_a_row > 1:
            self._remember("PostgreSQL refuses the tokens that are issued for it.")

    async def run(self) -> None:
        """Keep a good token at hand, for ever."""
        while True:
            left = self._seconds_until_next()
            if left > 0:
                await self._clock.sleep(left)
                continue
            try:
                await self._next_token(_ISSUE_SECONDS_MAX)
            except StoreUnavailable as error:
                _log.warning("database_token_unavailable", reason=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """End an attempt that is still running; who waits for it is told that there is no token."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _good_token(self) -> Token | None:
        token = self._token
        if token is None or self._clock.monotonic() >= self._issued_at + token.lifetime_seconds:
            return None
        return token

    def _seconds_until_next(self) -> float:
        token = self._good_token()
        if token is None:
            return 0.0
        ahead = min(_AHEAD_SECONDS_MAX, token.lifetime_seconds / 3)
        return self._issued_at + token.lifetime_seconds - ahead - self._clock.monotonic()

    async def _next_token(self, seconds_max: float) -> Token:
        """Wait for the attempt that runs, or begin one. One that stops waiting does not take it from the others."""
        now = self._clock.monotonic()
        if now < self._failed_until:
            raise StoreUnavailable(self._failure)
        if self._fetching is None:
            self._asked_at = now
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        fetching = self._fetching
        left = self._asked_at + seconds_max - now
        await asyncio.wait({fetching}, timeout=max(0.0, left))
        if not fetching.done() or fetching.cancelled():
            raise StoreUnavailable("No token for PostgreSQL was issued in time.")
        failure = fetching.exception()
        if isinstance(failure, StoreUnavailable):
            raise StoreUnavailable(str(failure)) from failure  # Each gets its own: they are raised in many tasks.
        return fetching.result()

    async def _fetch(self) -> Token:
        asked_at = self._asked_at
        try:
            async with asyncio.timeout(_ISSUE_SECONDS_MAX):
                token = await self._issuer.issue()
        except TimeoutError as error:
            raise StoreUnavailable(f"No token for PostgreSQL was issued within {_ISSUE_SECONDS_MAX:g} s.") from error
        self._token, self._issued_at = token, asked_at
        _log.info("database_token_issued", lifetime_seconds=round(token.lifetime_seconds))
        return token

    def _fetched(self, fetching: asyncio.Task[Token]) -> None:
        self._fetching = None
        failure = None if fetching.cancelled() else fetching.exception()
        if isinstance(failure, StoreUnavailable):
            self._remember(str(failure))

    def _remember(self, failure: str) -> None:
        self._failure = failure
        self._failed_until = self._clock.monotonic() + _FAILURE_SECONDS
