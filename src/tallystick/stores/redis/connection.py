"""Connections to Redis, and its errors in our words."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from typing import Any, Final

import redis.exceptions as failures
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from tallystick.config.redis_address import RedisAddress
from tallystick.errors import RowRefused, StoreError, StoreUnavailable

Client = Redis | RedisCluster

FAILURES: Final = (failures.RedisError, failures.RedisClusterException, OSError, asyncio.TimeoutError)
"""What a command may raise."""
_LASTING: Final = (failures.ResponseError, failures.DataError)
_PASSING: Final = (
    failures.ReadOnlyError,
    failures.OutOfMemoryError,
    failures.NoPermissionError,
    failures.ClusterDownError,
    failures.TryAgainError,
    failures.AskError,
)
# At the beginning, or behind what a script's line is called.
_PASSING_WORDS: Final = re.compile(r"(^|-)(LOADING|READONLY|MASTERDOWN|OOM|NOAUTH|BUSY|MISCONF|NOREPLICAS)\b")
_ROUND_TRIPS: Final = 4  # Connect, authenticate, choose the database, and the command itself.
_ROUND_TRIPS_OF_TLS: Final = 2
_CAUSES_MAX: Final = 10


def connect(address: RedisAddress, *, timeout_seconds: float) -> Client:
    """Return a client. Nothing is connected before the first command; nothing is tried twice. `close` closes it."""
    # Any: the library types each of them for itself.
    shared: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds * (1 + _ROUND_TRIPS_OF_TLS if address.ssl else 1),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # Redis 5, and some proxies before a Redis, know no other.
        **_tls(address),
    }
    login: dict[str, Any] = {"username": address.username, "password": address.password, **shared}
    if address.nodes:
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in address.nodes], **login)
    if address.sentinels:
        sentinel_login = {"username": address.sentinel_username, "password": address.sentinel_password, **shared}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # The library has no types there.
            address.sentinels, sentinel_kwargs=sentinel_login, db=address.db, **login
        )
        master: Redis = sentinel.master_for(address.service_name)
        return master
    return Redis(host=address.host, port=address.port, unix_socket_path=address.socket_path, db=address.db, **login)


async def close(client: Client) -> None:
    """Close its connections, those to sentinels too."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)  # A cluster has one for each node.
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def round_trips(client: Client) -> int:
    """Return how often a first command goes to and fro until its answer is there."""
    if isinstance(client, RedisCluster):
        return 2 * _ROUND_TRIPS + (2 * _ROUND_TRIPS_OF_TLS if "ssl_cert_reqs" in client.connection_kwargs else 0)
    pool = client.connection_pool
    trips = _ROUND_TRIPS + (_ROUND_TRIPS_OF_TLS if issubclass(pool.connection_class, SSLConnection) else 0)
    return 2 * trips if isinstance(pool, SentinelConnectionPool) else trips


def translated(error: BaseException, where: str) -> StoreError:
    """Return our error for one of FAILURES."""
    reason = str(error) or type(error).__name__
    if isinstance(error, _LASTING) and not isinstance(error, _PASSING) and not _PASSING_WORDS.search(reason):
        return RowRefused(f"Redis at {where} refuses this: {reason}")
    tls = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return StoreUnavailable(
            f"Redis at {where} shows a certificate that is not trusted ({tls.verify_message}): see redis_ssl_ca_certs"
        )
    if tls is not None:
        return StoreUnavailable(f"Redis at {where} and we find no common TLS ({tls.reason or reason}): see redis_ssl")
    if isinstance(error, failures.AuthenticationError | failures.AuthorizationError):
        return StoreUnavailable(
            f"Redis at {where} does not let us in: see redis_username and redis_password ({reason})"
        )
    if isinstance(error, MasterNotFoundError):
        # The library shows its objects between the reasons.
        return StoreUnavailable(f"No sentinel of {where} tells where it is: {re.sub('<.*?> - ', '', reason)}")
    return StoreUnavailable(f"Redis at {where} does not answer: {reason}")


def _tls(address: RedisAddress) -> dict[str, Any]:  # Any: see above.
    if not address.ssl:
        return {}
    tls = address.tls
    trust = tls.trust or "required"
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca_file,
        "ssl_certfile": tls.certificate_file,
        "ssl_keyfile": tls.key_file,
        "ssl_cert_reqs": trust,
        "ssl_check_hostname": trust != "none" if tls.checks_host is None else tls.checks_host,
    }


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    each: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__
