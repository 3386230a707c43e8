"""Asking a Redis how it is."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError

from tallystick.runtime.redis_facts import RedisFacts
from tallystick.stores.redis.connection import FAILURES, Client, translated


async def inspect(client: Client, *, where: str, key: str, timeout_seconds: float) -> RedisFacts:
    """Ask the server that holds `key`. Raises StoreUnavailable, RowRefused."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await client.execute_command("EXISTS", key)
            try:
                info = await _info(client, key)
            except NoPermissionError:
                return RedisFacts(where=where)
    except FAILURES as error:
        raise translated(error, where) from error
    return RedisFacts(
        where=where,
        version=_text(info.get("redis_version")),
        is_replica=info.get("role") == "slave",
        memory_bytes_max=info.get("maxmemory"),
        memory_policy=_text(info.get("maxmemory_policy")),
    )


async def _info(client: Client, key: str) -> dict[str, Any]:  # Any: numbers and texts.
    if not isinstance(client, RedisCluster):
        return dict(await client.info())
    node = client.get_node_from_key(key)
    answer = await client.info(target_nodes=node)
    return dict(answer)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
