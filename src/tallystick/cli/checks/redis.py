"""Redis: does it answer, is it one that is written to, and does it drop keys when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import uvloop

from tallystick.bootstrap import look_at_redis
from tallystick.cli.checks.check import Check
from tallystick.cli.checks.machine import bytes_text
from tallystick.config.settings import Settings
from tallystick.errors import StoreError
from tallystick.runtime.clock import Clock
from tallystick.runtime.redis_facts import RedisFacts

_SECONDS: Final = 3.0
_VERSION_MIN: Final = 5
_KEEPS_ALL: Final = "noeviction"


def check_redis(settings: Settings, clock: Clock) -> list[Check]:
    """Everything about Redis, within a few seconds."""
    started = clock.monotonic()
    try:
        facts = uvloop.run(look_at_redis(settings.redis, timeout_seconds=_SECONDS))
    except StoreError as error:
        return [_away(error, settings)]
    if facts is None:
        found = "none is given: each worker counts its rate limits for itself"
        return [Check(name="redis", state="good", found=found)]
    milliseconds = (clock.monotonic() - started) * 1_000
    return list(judge_redis(facts, milliseconds, uses_buffer=settings.instances.uses_redis_buffer))


def judge_redis(facts: RedisFacts, milliseconds: float, *, uses_buffer: bool) -> Iterator[Check]:
    """Return what is to say of a Redis that answered."""
    version = "" if facts.version is None else f" (Redis {facts.version})"
    yield Check(name="redis", state="good", found=f"{facts.where} answered in {milliseconds:.0f} ms{version}")
    major = (facts.version or "").partition(".")[0]
    if major.isdigit() and int(major) < _VERSION_MIN:
        yield Check(
            name="redis: version",
            state="bad",
            found=f"{facts.version} is too old",
            mend=f"Run Redis {_VERSION_MIN} or later: the buffer is a stream, which older ones do not have.",
        )
    if facts.is_replica:
        yield Check(
            name="redis: role",
            state="bad",
            found=f"{facts.where} is a replica, which takes no writes",
            mend="Name the master, or the sentinels that know it (redis_sentinel_nodes).",
        )
    yield _judge_memory(facts, uses_buffer=uses_buffer)


def _judge_memory(facts: RedisFacts, *, uses_buffer: bool) -> Check:
    name = "redis: memory"
    policy, bytes_max = facts.memory_policy, facts.memory_bytes_max
    if policy is None:
        found = "its user may not ask (INFO) whether keys are dropped when memory is full"
        return Check(name=name, state="good", found=found)
    limit = "no limit of its own" if not bytes_max else f"at most {bytes_text(bytes_max)}"
    if policy == _KEEPS_ALL:
        return Check(name=name, state="good", found=f"{limit}; drops no keys ({policy})")
    dropped = "counters of rate limits and the leadership"
    again = ""
    if uses_buffer:
        dropped += ", and batches of events, which are then sent again"
        again = " Nothing of the ledger is lost by it."
    return Check(
        name=name,
        state="warn",
        found=f"{limit}; drops keys when memory is full ({policy}): {dropped}",
        mend=f"Set maxmemory-policy {_KEEPS_ALL} there, or use a Redis that is no cache.{again}",
    )


def _away(error: StoreError, settings: Settings) -> Check:
    meanwhile = "rate limits are counted by each worker"
    if settings.instances.uses_redis_buffer:
        meanwhile += ", and events are committed directly"
    return Check(
        name="redis",
        state="bad",
        found=error.message,
        mend=f"Start it, or correct the settings that name it. Until then {meanwhile}.",
    )
