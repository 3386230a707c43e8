"""IAM tokens for Amazon RDS: a presigned request that only the database sees. Nothing is sent to issue one."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlencode

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from tallystick.errors import ConfigError, StoreUnavailable
from tallystick.stores.postgres.passwords import Token

_LIFETIME_SECONDS: Final = 900
_RDS_HOST: Final = re.compile(r"\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.rds\.amazonaws\.com")


class RDSTokens:
    """A `TokenIssuer`. Credentials are those of AWS' own chain: variables, profiles, roles, the machine's."""

    def __init__(self, *, host: str, port: int, user: str, region: str | None) -> None:
        self._host, self._port, self._user = host, port, user
        self._session: Any = botocore.session.get_session()  # Any: botocore has no types.
        in_host = _RDS_HOST.search(host)
        found = region or self._session.get_config_variable("region") or (in_host and in_host["region"])
        if not found:
            raise ConfigError("the region of the database is not known", key_path="database_aws_region")
        self._region: str = found
        # One of its own: AWS may be slow to answer, and the threads that all share have other things to do.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aws-tokens")

    async def issue(self) -> Token:
        """`TokenIssuer`. In a thread, because credentials may come over the network."""
        try:
            text = await asyncio.get_running_loop().run_in_executor(self._thread, self._sign)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"AWS gives no credentials for PostgreSQL: {_code_of(error)}.") from error
        return Token(text=text, lifetime_seconds=_LIFETIME_SECONDS)

    def _sign(self) -> str:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise StoreUnavailable("AWS gives no credentials for PostgreSQL: none are configured.")
        signer = RequestSigner(
            ServiceId("rds-db"),
            self._region,
            "rds-db",
            "v4",
            credentials,
            self._session.get_component("event_emitter"),
        )
        query = urlencode({"Action": "connect", "DBUser": self._user})
        request = {
            "method": "GET",
            "url": f"https://{self._host}:{self._port}/?{query}",
            "headers": {},
            "body": {},
            "context": {},
        }
        signed: str = signer.generate_presigned_url(
            request, operation_name="connect", expires_in=_LIFETIME_SECONDS, region_name=self._region
        )
        return signed.removeprefix("https://")


def _code_of(error: BotoCoreError | ClientError) -> str:
    """Return what went wrong in a word. What AWS says beyond it names accounts and roles."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))[:100]
    return type(error).__name__
