"""Rate limits, put together: counted by this process, or by the Redis that the settings name."""

from __future__ import annotations

from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.shared import SharedRates
from tallystick.access.scoped_limits import RateLimits
from tallystick.config.settings import RateSettings, RedisSettings
from tallystick.errors import ConfigError
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.telemetry import Metrics


def open_shared_rates(settings: RedisSettings, *, clock: Clock, metrics: Metrics) -> SharedRates | None:
    """Return the service that counts in Redis; None when no Redis is given. Nothing is connected before its start.

    Raises ConfigError when the client library is not installed.
    """
    address = settings.address
    if address is None:
        return None
    try:
        from tallystick.stores.redis.connection import connect
        from tallystick.stores.redis.rates import RedisRateStore
    except ImportError as error:
        raise ConfigError(
            f"Redis needs the package {error.name}: install tallystick[redis]", key_path="redis_url"
        ) from error
    timeout_seconds = settings.socket_timeout_seconds
    store = RedisRateStore(
        connect(address, timeout_seconds=timeout_seconds),
        where=address.shown,
        key_prefix=settings.keys_begin_with,
        holder=new_event_id(clock.now()),
        timeout_seconds=timeout_seconds,
    )
    return SharedRates(store, clock=clock, metrics=metrics)


def rate_limiter(settings: RateSettings, *, shared: SharedRates | None, clock: Clock, metrics: Metrics) -> RateLimiter:
    """Return what admits calls by their rates."""
    parallel = settings.parallel_requests
    return RateLimiter(
        memory=MemoryRates(counters_max=settings.counters_max, clock=clock, metrics=metrics),
        shared=shared,
        global_rates=None if parallel is None else RateLimits(parallel_requests=parallel),
        metrics=metrics,
    )
