"""Entra tokens for Azure Database for PostgreSQL, over plain HTTP: the requests are few and small."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import msgspec

from tallystick.errors import StoreUnavailable, UpstreamError
from tallystick.providers.destination import Destination
from tallystick.providers.transport import Transport
from tallystick.stores.postgres.passwords import Token

_RESOURCE: Final = "https://ossrdbms-aad.database.windows.net"
_MACHINE_ENDPOINT: Final = "http://169.254.169.254/metadata/identity/oauth2/token"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TIMEOUT_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureIdentity:
    """Who asks for a token, and whom. What is None is not there."""

    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    federated_token_file: Path | None = None
    authority_host: str = "https://login.microsoftonline.com"
    identity_endpoint: str | None = None
    identity_header: str | None = field(default=None, repr=False)


class EntraTokens:
    """A `TokenIssuer`: by a federated token, else by a client secret, else by the machine's managed identity."""

    def __init__(self, identity: AzureIdentity, *, transport: Transport) -> None:
        self._identity = identity
        self._transport = transport

    async def issue(self) -> Token:
        """`TokenIssuer`."""
        identity = self._identity
        has_application = identity.tenant_id is not None and identity.client_id is not None
        if has_application and identity.federated_token_file is not None:
            assertion = await asyncio.to_thread(_read, identity.federated_token_file)
            return await self._from_authority(client_assertion_type=_ASSERTION, client_assertion=assertion)
        if has_application and identity.client_secret is not None:
            return await self._from_authority(client_secret=identity.client_secret)
        return await self._from_machine()

    async def _from_authority(self, **proof: str) -> Token:
        identity = self._identity
        form = {
            "grant_type": "client_credentials",
            "client_id": identity.client_id or "",
            "scope": f"{_RESOURCE}/.default",
            **proof,
        }
        url = f"{identity.authority_host.rstrip('/')}/{identity.tenant_id}/oauth2/v2.0/token"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", url, headers, urlencode(form).encode())

    async def _from_machine(self) -> Token:
        identity = self._identity
        query = {"resource": _RESOURCE}
        if identity.client_id is not None:
            query["client_id"] = identity.client_id
        if identity.identity_endpoint is not None and identity.identity_header is not None:
            url, version = identity.identity_endpoint, "2019-08-01"
            headers = {"x-identity-header": identity.identity_header}
        else:
            url, version = _MACHINE_ENDPOINT, "2018-02-01"
            headers = {"metadata": "true"}
        return await self._ask("GET", f"{url}?{urlencode({'api-version': version, **query})}", headers, b"")

    async def _ask(self, method: Literal["GET", "POST"], url: str, headers: Mapping[str, str], body: bytes) -> Token:
        try:
            answer = await self._transport.send(
                method, Destination(url, headers), body, timeout_seconds=_TIMEOUT_SECONDS
            )
        except UpstreamError as error:
            raise StoreUnavailable(f"Azure issues no token for PostgreSQL: {error.message}") from error
        if answer.status != 200:
            # What it says beyond its status may repeat what was sent.
            raise StoreUnavailable(f"Azure issues no token for PostgreSQL: it answered with status {answer.status}.")
        try:
            found = _DECODER.decode(answer.body)
            if found.expires_in is not None:
                return Token(text=found.access_token, lifetime_seconds=float(found.expires_in))
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreUnavailable("Azure issues no token for PostgreSQL: its answer is not understood.") from error
        # App Service tells only when it ends; a token lasts hours, and this asks again in time.
        return Token(text=found.access_token, lifetime_seconds=_UNTOLD_LIFETIME_SECONDS)


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int | float | str | None = None


_UNTOLD_LIFETIME_SECONDS: Final = 300.0
_DECODER: Final = msgspec.json.Decoder(_Answer)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StoreUnavailable(f"The federated token can't be read: {file}: {error.strerror}") from error
