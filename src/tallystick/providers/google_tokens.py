"""Access tokens for Vertex AI, with google-auth: of a service account, of a user, or of the machine (ADC).

A token is renewed ahead of its end while calls go on with the old one. google-auth waits, so it works in a thread.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError

import google.auth
import structlog
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport import Request, Response
from google.oauth2.credentials import Credentials as UserCredentials
from google.oauth2.service_account import Credentials as ServiceAccount

from tallystick.errors import UpstreamUnreachable
from tallystick.runtime.clock import Clock

log = structlog.get_logger()

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_AHEAD: Final = timedelta(minutes=5)
_PAUSE: Final = timedelta(seconds=30)
"""From one renewal to the next while a token is good: one may fail, and a machine may give the same token again."""
_REQUEST_SECONDS: Final = 30.0
_ANSWER_BYTES_MAX: Final = 1024 * 1024


class _Token(NamedTuple):
    text: str
    good_until: datetime


class GoogleTokens:
    """A `TokenSource`. One for a process; close it when done."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._by_credentials: dict[str, _Renewed] = {}

    async def token(self, credentials: str) -> str:
        """See TokenSource."""
        held = self._by_credentials.get(credentials)
        if held is None:
            held = self._by_credentials[credentials] = _Renewed(credentials, clock=self._clock)
        return await held.token()

    async def aclose(self) -> None:
        """Wait for renewals that are under way no longer."""
        for held in self._by_credentials.values():
            await held.aclose()


class _Renewed:
    """The token of one identity. All who wait share one request."""

    def __init__(self, credentials: str, *, clock: Clock) -> None:
        self._given = credentials
        self._clock = clock
        self._token: _Token | None = None
        self._renewal: asyncio.Task[_Token] | None = None
        self._not_before = datetime.min.replace(tzinfo=UTC)

    async def token(self) -> str:
        now = self._clock.now()
        held = self._token
        if held is not None and now < held.good_until:
            if now >= held.good_until - _AHEAD and now >= self._not_before:
                self._begin()
            return held.text
        # Shielded: whoever gives up waiting must not take it from the others.
        return (await asyncio.shield(self._begin())).text

    async def aclose(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _begin(self) -> asyncio.Task[_Token]:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._renew(), name="google-token")
            self._renewal.add_done_callback(self._end)
        return self._renewal

    async def _renew(self) -> _Token:
        try:
            self._token = await asyncio.to_thread(_ask_token, self._given)
        except (GoogleAuthError, ValueError, OSError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}" if isinstance(error, GoogleAuthError) else "wrong"
            raise UpstreamUnreachable(
                f"Google gives no token for Vertex AI ({reason}); check vertex_credentials."
            ) from error
        return self._token

    def _end(self, renewal: asyncio.Task[_Token]) -> None:
        self._renewal = None
        self._not_before = self._clock.now() + _PAUSE
        error = None if renewal.cancelled() else renewal.exception()
        if error is not None:
            log.warning("google_token_failed", reason=type(error.__cause__).__name__)


def _ask_token(given: str) -> _Token:
    """Ask for a token. Raises GoogleAuthError, or ValueError for credentials that are none."""
    request = _Requests()
    credentials = _credentials(given, request)
    credentials.refresh(request)
    expiry = credentials.expiry
    assert expiry is not None, "a token that was just given has an end"
    return _Token(str(credentials.token), expiry.replace(tzinfo=UTC))


def _credentials(given: str, request: Request) -> Credentials:
    if not given:
        return google.auth.default(scopes=_SCOPES, request=request)[0]
    fields = json.loads(given)
    if fields.get("type") == "authorized_user":
        return UserCredentials.from_authorized_user_info(fields, scopes=_SCOPES)
    return ServiceAccount.from_service_account_info(fields, scopes=_SCOPES)


class _Answer(Response):
    """What google-auth wants to see of an answer."""

    def __init__(self, status: int, headers: Message, data: bytes) -> None:
        self._status = status
        self._headers = headers
        self._data = data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return dict(self._headers.items())

    @property
    def data(self) -> bytes:
        return self._data


class _Requests(Request):
    """HTTP for google-auth with what Python has, so that it needs no further package."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,  # Any: options of other clients.
    ) -> _Answer:
        """See google.auth.transport.Request."""
        del kwargs
        if not url.startswith(("https://", "http://")):
            raise TransportError("A token is asked for over HTTP only.")
        asked = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310 - checked above.
        try:
            with urllib.request.urlopen(asked, timeout=timeout or _REQUEST_SECONDS) as answer:  # noqa: S310 - as above.
                return _read(answer)
        except HTTPError as error:
            with error:
                return _Answer(error.code, error.headers, error.read(_ANSWER_BYTES_MAX))
        except (OSError, HTTPException) as error:
            raise TransportError(f"no answer ({type(error).__name__})") from error


def _read(answer: HTTPResponse) -> _Answer:
    return _Answer(answer.status, answer.headers, answer.read(_ANSWER_BYTES_MAX))
