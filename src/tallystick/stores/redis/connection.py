"""Connections to Redis, and its errors in our words."""

from __future__ import annotations

import asyncio
from typing import Final

import redis.exceptions as failures
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tallystick.config.redis_settings import RedisAddress
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
_PASSING_WORDS: Final = ("LOADING", "READONLY", "MASTERDOWN", "OOM", "NOAUTH", "BUSY", "MISCONF", "NOREPLICAS")


def connect(address: RedisAddress, *, timeout_seconds: float) -> Client:
    """Return a client. Nothing is connected before the first command; nothing is tried twice."""
    once = Retry(NoBackoff(), 0)
    if address.nodes:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
            username=address.username,
            password=address.password,
            ssl=address.ssl,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=once,
        )
    return Redis(
        host=address.host,
        port=address.port,
        db=address.db,
        username=address.username,
        password=address.password,
        ssl=address.ssl,
        unix_socket_path=address.socket_path,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=once,
    )


def translated(error: BaseException, where: str) -> StoreError:
    """Return our error for one of FAILURES."""
    reason = str(error) or type(error).__name__
    if isinstance(error, _LASTING) and not isinstance(error, _PASSING) and not reason.startswith(_PASSING_WORDS):
        return RowRefused(f"Redis at {where} refuses this: {reason}")
    return StoreUnavailable(f"Redis at {where} does not answer: {reason}")
