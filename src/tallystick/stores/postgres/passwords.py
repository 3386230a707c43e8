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
_log = structlog.get_logger(__name__)


class PasswordSource(Protocol):
    """What a database asks before each new connection. Connections that are open are not its concern."""

    async def password(self) -> str:
        """Return a password that is good now. Raises StoreUnavailable when none can be had."""

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
    """A `PasswordSource` that keeps the newest token. However many ask at once, one token is fetched.

    `run` fetches the next one when a third of the lifetime is left, at most five minutes ahead; while that fails, the
    old one is given until it ends. Without `run` the next one is fetched when it is needed.
    """

    def __init__(self, issuer: TokenIssuer, *, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._token: Token | None = None
        self._issued_at = 0.0
        self._fetching = asyncio.Lock()

    async def password(self) -> str:
        """`PasswordSource`."""
        token = self._good_token()
        if token is None:
            async with self._fetching:
                token = self._good_token() or await self._fetch()
        return token.text

    def refuse(self, password: str) -> None:
        """`PasswordSource`."""
        if self._token is not None and self._token.text == password:
            self._token = None

    async def run(self) -> None:
        """Keep a good token at hand, for ever."""
        while True:
            left = self._seconds_until_next()
            if left > 0:
                await self._clock.sleep(left)
                continue
            try:
                async with self._fetching:
                    if self._seconds_until_next() <= 0:
                        await self._fetch()
            except StoreUnavailable as error:
                _log.warning("database_token_unavailable", reason=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

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

    async def _fetch(self) -> Token:
        asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(_ISSUE_SECONDS_MAX):
                token = await self._issuer.issue()
        except TimeoutError as error:
            raise StoreUnavailable(f"No token for PostgreSQL was issued within {_ISSUE_SECONDS_MAX:g} s.") from error
        self._token, self._issued_at = token, asked_at
        _log.info("database_token_issued", lifetime_seconds=round(token.lifetime_seconds))
        return token
