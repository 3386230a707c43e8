"""The response cache, put together: in this process's memory, or in the Redis that the settings name."""

from __future__ import annotations

from typing import NamedTuple

from tallystick.calls.caching.cache import AnswerCache, CacheRules
from tallystick.calls.caching.memory import MemoryAnswers
from tallystick.calls.caching.reliable import ReliableAnswers
from tallystick.calls.caching.store import AnswerStore
from tallystick.config.settings import CacheSettings, RedisSettings
from tallystick.errors import ConfigError
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import Service
from tallystick.runtime.telemetry import Metrics


class Caching(NamedTuple):
    """What one worker has of it."""

    cache: AnswerCache | None
    """None where nothing is cached."""
    service: Service | None
    kind: str
    """`local`, `redis`, or '' where nothing is cached."""


def open_answer_cache(settings: CacheSettings, redis: RedisSettings, *, clock: Clock, metrics: Metrics) -> Caching:
    """Return the cache. Raises ConfigError when Redis's client library is not installed."""
    if not settings.enabled or settings.type == "none":
        return Caching(None, None, "")
    kind = settings.type or ("local" if redis.address is None else "redis")
    service: Service | None = None
    store: AnswerStore
    if kind == "redis":
        store = service = ReliableAnswers(_redis_answers(redis), clock=clock, metrics=metrics)
    else:
        store = MemoryAnswers(bytes_max=settings.memory_bytes_max, monotonic=clock.monotonic)
    rules = CacheRules(
        endpoints=settings.endpoints(),
        scope=settings.scope,
        namespace=settings.namespace,
        ttl_seconds=settings.ttl_seconds,
        is_on_by_default=settings.mode == "default_on",
        answer_bytes_max=settings.answer_bytes_max,
    )
    return Caching(AnswerCache(store, rules, now=clock.now, metrics=metrics), service, kind)


def _redis_answers(settings: RedisSettings) -> AnswerStore:
    address = settings.address
    if address is None:
        raise ConfigError("needs a Redis: give its host or redis_url", key_path="cache_type")
    try:
        from tallystick.stores.redis.answers import RedisAnswers
        from tallystick.stores.redis.connection import connect
    except ImportError as error:
        raise ConfigError(
            f"Redis needs the package {error.name}: install tallystick[redis]", key_path="redis_url"
        ) from error
    timeout_seconds = settings.socket_timeout_seconds
    return RedisAnswers(
        connect(address, timeout_seconds=timeout_seconds),
        where=address.shown,
        key_prefix=settings.keys_begin_with,
        timeout_seconds=timeout_seconds,
    )
