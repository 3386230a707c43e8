"""Passwords of PostgreSQL that expire: the adapter of the cloud that the settings name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tallystick.config.settings import DatabaseLoginSettings
from tallystick.errors import ConfigError
from tallystick.runtime.clock import Clock

if TYPE_CHECKING:
    from tallystick.stores.postgres.passwords import PasswordSource, TokenIssuer

_PORT = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """A source of passwords, the loop that keeps it fresh, and what closes it."""

    source: PasswordSource
    keep_fresh: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


def open_passwords(settings: DatabaseLoginSettings, *, url: str, clock: Clock) -> Passwords | None:
    """Return what gives passwords for this address; None where the address has its own. Raises ConfigError."""
    if not settings.is_used:
        return None
    from tallystick.stores.postgres.passwords import ExpiringPasswords

    if settings.aws:
        passwords = ExpiringPasswords(_rds_tokens(settings, url), clock=clock)
        return Passwords(source=passwords, keep_fresh=passwords.run, close=passwords.close)
    from tallystick.providers.transport import Transport
    from tallystick.stores.postgres.azure_tokens import AzureIdentity, EntraTokens

    transport = Transport()
    identity = AzureIdentity(
        tenant_id=settings.azure_tenant_id,
        client_id=settings.azure_client_id,
        client_secret=settings.azure_client_secret,
        federated_token_file=settings.azure_federated_token_file,
        authority_host=settings.azure_authority_host,
        identity_endpoint=settings.azure_identity_endpoint,
        identity_header=settings.azure_identity_header,
    )
    passwords = ExpiringPasswords(EntraTokens(identity, transport=transport), clock=clock)

    async def close() -> None:
        await passwords.close()
        await transport.aclose()

    return Passwords(source=passwords, keep_fresh=passwords.run, close=close)


def _rds_tokens(settings: DatabaseLoginSettings, url: str) -> TokenIssuer:
    try:
        from tallystick.stores.postgres.aws_tokens import RDSTokens
    except ImportError as error:
        raise ConfigError(
            f"IAM tokens need the package {error.name}: install tallystick[aws]", key_path="iam_token_db_auth"
        ) from error
    parts = urlsplit(url)
    if not parts.hostname or not parts.username:
        raise ConfigError("IAM tokens need a host and a user in database_url", key_path="iam_token_db_auth")
    return RDSTokens(
        host=parts.hostname,
        port=parts.port or _PORT,
        user=unquote(parts.username),
        region=settings.aws_region,
    )
