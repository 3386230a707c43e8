"""A look at the Redis that the settings name, without starting anything."""

from __future__ import annotations

from tallystick.config.redis_settings import RedisSettings
from tallystick.errors import ConfigError
from tallystick.runtime.redis_facts import RedisFacts


async def look_at_redis(settings: RedisSettings, *, timeout_seconds: float) -> RedisFacts | None:
    """Ask it how it is; None when none is given.

    Raises StoreUnavailable, and ConfigError when the client library is not installed.
    """
    address = settings.address
    if address is None:
        return None
    try:
        from tallystick.stores.redis.connection import close, connect
        from tallystick.stores.redis.inspection import inspect
    except ImportError as error:
        raise ConfigError(
            f"Redis needs the package {error.name}: install tallystick[redis]", key_path="redis_url"
        ) from error
    client = connect(address, timeout_seconds=timeout_seconds)
    key = f"{{{settings.keys_begin_with}}}:doctor"
    try:
        return await inspect(client, where=address.shown, key=key, timeout_seconds=timeout_seconds)
    finally:
        await close(client)
