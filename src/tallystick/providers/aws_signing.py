"""Signatures of calls to AWS, by botocore (extra `aws`); credentials are renewed beside the calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import botocore.session
import structlog
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError

from tallystick.errors import UpstreamUnreachable
from tallystick.providers.aws_identity import AWSIdentity

log = structlog.get_logger()

_RENEW_AFTER_SECONDS: Final = 60.0
"""Older credentials are used while newer ones are looked for. botocore asks its source only ahead of their end."""
_TRUSTED_SECONDS: Final = 300.0
"""Older ones are not used: botocore renews 15 minutes ahead, and insists from 10 minutes ahead on."""
_WAIT_SECONDS: Final = 60.0
_IDENTITIES_MAX: Final = 1024
_ROLE_SESSION: Final = "tallystick"


class AWSSigning:
    """The AWSSigner."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._sources: dict[AWSIdentity, _Source] = {}

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
        """See AWSSigner."""
        source = self._sources.get(identity)
        if source is None:
            if len(self._sources) >= _IDENTITIES_MAX:
                self._sources.clear()  # Of old configurations; those in use come back at their next call.
            source = self._sources[identity] = _Source(identity, monotonic=self._monotonic)
        credentials = await source.current()
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        SigV4Auth(credentials, service, identity.region).add_auth(request)
        return dict(request.headers.items())


class _Source:
    """The credentials of one identity: found in a thread, because that may take files and the network."""

    def __init__(self, identity: AWSIdentity, *, monotonic: Callable[[], float]) -> None:
        self._identity = identity
        self._monotonic = monotonic
        self._credentials: Any = None  # Any: botocore has no types. It renews itself when it is frozen.
        self._frozen: tuple[ReadOnlyCredentials, float] | None = None
        """The last ones, and when that was."""
        self._renewal: asyncio.Future[str] | None = None
        """The search that runs, or the last one: why it failed, '' when it did not."""

    async def current(self) -> ReadOnlyCredentials:
        """Return credentials that hold for minutes. Raises UpstreamUnreachable when there are none."""
        frozen = self._frozen
        age = float("inf") if frozen is None else self._monotonic() - frozen[1]
        if frozen is not None and age < _RENEW_AFTER_SECONDS:
            return frozen[0]
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().run_in_executor(None, self._renew)
        if frozen is not None and age < _TRUSTED_SECONDS:
            return frozen[0]
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                failure = await asyncio.shield(self._renewal)
        except TimeoutError:
            failure = f"there were none after {_WAIT_SECONDS:.0f} seconds"
        if failure or self._frozen is None:
            raise UpstreamUnreachable(f"AWS gives no credentials for this deployment: {failure}.")
        return self._frozen[0]

    def _renew(self) -> str:
        """Look for credentials, in a thread; return why there are none. Nothing that AWS says is told to callers."""
        began = self._monotonic()
        try:
            if self._credentials is None:
                self._credentials = _find(self._identity)
            if self._credentials is None:
                return "none are configured"
            self._frozen = (self._credentials.get_frozen_credentials(), began)
        except ClientError as error:
            reason = str(error.response.get("Error", {}).get("Code", ""))
            log.warning("aws_credentials_missing", reason=reason)
            return f"its security token service answered {reason}" if reason else "its security token service refused"
        except (BotoCoreError, OSError, ValueError) as error:
            log.warning("aws_credentials_missing", reason=type(error).__name__)
            return type(error).__name__
        return ""


def _find(identity: AWSIdentity) -> Any:  # Any: botocore has no types.
    """Return credentials that renew themselves where they end."""
    session = botocore.session.Session(profile=identity.profile_name or None)
    if identity.access_key_id:
        found: Any = Credentials(  # Any: see above.
            identity.access_key_id, identity.secret_access_key, identity.session_token or None
        )
    else:
        found = session.get_credentials()
    if not identity.role_arn or found is None:
        return found
    fetcher = AssumeRoleCredentialFetcher(
        partial(session.create_client, region_name=identity.region),
        found,
        identity.role_arn,
        extra_args={"RoleSessionName": identity.role_session_name or _ROLE_SESSION},
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
