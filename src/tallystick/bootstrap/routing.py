"""Routing, put together: what instances share of their deployments goes through the Redis that the settings name."""

from __future__ import annotations

from tallystick.config.settings import RedisSettings
from tallystick.errors import ConfigError
from tallystick.routing.sharing import SharedRouting
from tallystick.routing.tracker import Tracker
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


def open_shared_routing(
    settings: RedisSettings, tracker: Tracker, *, clock: Clock, metrics: Metrics
) -> SharedRouting | None:
    """Return the service that shares what the tracker sees; None when no Redis is given. Its start connects.

    Raises ConfigError when the client library is not installed.
    """
    address = settings.address
    if address is None:
        return None
    try:
        from tallystick.stores.redis.connection import connect
        from tallystick.stores.redis.routing import RedisRoutingStore
    except ImportError as error:
        raise ConfigError(
            f"Redis needs the package {error.name}: install tallystick[redis]", key_path="redis_url"
        ) from error
    timeout_seconds = settings.socket_timeout_seconds
    store = RedisRoutingStore(
        connect(address, timeout_seconds=timeout_seconds),
        where=address.shown,
        key_prefix=settings.keys_begin_with,
        timeout_seconds=timeout_seconds,
    )
    return SharedRouting(store, tracker, clock=clock, metrics=metrics)
