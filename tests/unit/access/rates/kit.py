"""What tests of rate limits share."""

from __future__ import annotations

from tallystick.access.rates.limiter import RateLimiter
from tallystick.access.rates.memory import MemoryRates
from tallystick.access.rates.quota import MINUTE_MS, quota
from tallystick.access.scoped_limits import RateLimits, ScopedLimits
from tallystick.access.scopes import Scope
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock

KEY, TEAM = Scope("key", "k1"), Scope("team", "t1")


def requests(limit, scope=KEY):
    return quota(scope, "requests", MINUTE_MS, limit)


def tokens(limit, scope=KEY, window_ms=MINUTE_MS):
    return quota(scope, "tokens", window_ms, limit)


def parallel(limit, scope=KEY):
    return quota(scope, "parallel", 0, limit)


def limits(scope=KEY, *, models=None, **rates):
    return ScopedLimits(scope=scope, rates=RateLimits(**rates) if rates else None, model_rates=models or {})


class Gate:
    """A limiter of one instance and its clock."""

    def __init__(self, *, shared=None, counters_max=1_000, global_rates=None, clock=None):
        self.clock = clock or FakeClock()
        self.metrics = Metrics()
        self.memory = MemoryRates(counters_max=counters_max, clock=self.clock, metrics=self.metrics)
        self.limiter = RateLimiter(memory=self.memory, shared=shared, global_rates=global_rates, metrics=self.metrics)
        self._calls = 0

    def admit(self, *scoped, model="m", tokens=10, caller="mine"):
        self._calls += 1
        return self.limiter.try_admit(
            scoped, model_group=model, tokens_estimate=tokens, call_id=f"c{self._calls}", caller=caller
        )
