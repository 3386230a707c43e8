"""Who calls AWS are signed as, and the port that signs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class AWSIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Where credentials come from: the keys given, or those of a profile, or AWS' own chain; then a role, if named.

    Never logged.
    """

    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    profile_name: str = ""
    role_arn: str = ""
    role_session_name: str = ""
    region: str
    """Where the role is assumed, and for where calls are signed."""


class AWSSigner(Protocol):
    """Signs calls (SigV4)."""

    async def sign(
        self,
        identity: AWSIdentity,
        *,
        service: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        method: str = "POST",
    ) -> Mapping[str, str]:
        """Return the headers to send: those given, and what proves who sends them.

        May wait for the first credentials of an identity. Raises UpstreamUnreachable when there are none.
        """
