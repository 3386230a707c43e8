"""Rate limits of one instance, in its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallystick.access.rates.quota import Quota
from tallystick.access.rates.sliding_window import SlidingWindow
from tallystick.access.rates.store import TakeReply
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

_SWEPT_AT_ONCE: Final = 64


class MemoryRates:
    """Counts without waiting. At most `counters_max` windows of each length are kept; at the limit the one used longest
    ago is forgotten.

    Parallel calls are counted apart: there are no more of those counters than calls that run.
    """

    def __init__(self, *, counters_max: int, clock: Clock, metrics: Metrics) -> None:
        self._counters_max = counters_max
        self._clock = clock
        self._forgotten = metrics.rate_counters_forgotten
        # Apart by length, so that counters of days do not stand in the way of forgetting idle ones of minutes.
        self._windows: dict[int, OrderedDict[str, SlidingWindow]] = {}
        self._running: dict[str, int] = {}
        self._crowded = False

    def take(self, quotas: Sequence[Quota], amounts: Sequence[int]) -> TakeReply:
        """Take an amount of every quota, or of none."""
        reply = self._take(quotas, amounts, self._now_ms())
        if self._crowded:
            self._make_room(reply.at_ms)
        return reply

    def correct(self, quota: Quota, amount: int, taken_ms: int) -> None:
        """Count `amount` more than was taken then, or less."""
        now = self._now_ms()
        window = self._window(quota.key, quota.window_ms, now)
        window.correct(amount, taken_ms=taken_ms, now_ms=now)
        if self._crowded:
            self._make_room(now)

    def release(self, quota: Quota, _call_id: str) -> None:
        """Count a running call no more."""
        key = quota.key
        left = self._running.get(key, 0) - 1
        if left > 0:
            self._running[key] = left
        else:
            self._running.pop(key, None)

    @property
    def counters(self) -> int:
        """How many there are."""
        return len(self._running) + sum(len(windows) for windows in self._windows.values())

    def _take(self, quotas: Sequence[Quota], amounts: Sequence[int], now: int) -> TakeReply:
        granted = True
        windows: list[SlidingWindow | None] = []
        used: list[int] = []
        for (key, _, _, window_ms, limit), amount in zip(quotas, amounts, strict=True):
            if window_ms:
                counter = self._window(key, window_ms, now)
                after = counter.used + amount
                windows.append(counter)
            else:
                after = self._running.get(key, 0) + amount
                windows.append(None)
            used.append(after)
            if after > limit:
                granted = False
        if not granted:
            before = [after - amount for after, amount in zip(used, amounts, strict=True)]
            waits = [
                window.wait_ms(amount, quota.limit, now) if window is not None else 0
                for window, amount, quota in zip(windows, amounts, quotas, strict=True)
            ]
            return TakeReply(False, now, tuple(before), tuple(waits))
        reliefs: list[int] = []
        for place, window in enumerate(windows):
            if window is None:
                self._running[quotas[place].key] = used[place]
                reliefs.append(0)
            else:
                window.add(amounts[place], now)
                reliefs.append(window.relief_ms(now))
        return TakeReply(True, now, tuple(used), tuple(reliefs))

    def _window(self, key: str, window_ms: int, now_ms: int) -> SlidingWindow:
        windows = self._windows.get(window_ms)
        if windows is None:
            windows = self._windows[window_ms] = OrderedDict()
        window = windows.get(key)
        if window is None:
            window = windows[key] = SlidingWindow(window_ms)
            self._crowded = True
        else:
            windows.move_to_end(key)
            window.advance(now_ms)
        return window

    def _make_room(self, now_ms: int) -> None:
        """Drop idle counters, more than a call can add; above the limit also those that count."""
        self._crowded = False
        for windows in self._windows.values():
            swept = 0
            while windows and swept < _SWEPT_AT_ONCE:
                key, oldest = next(iter(windows.items()))
                oldest.advance(now_ms)
                if not oldest.is_empty:
                    break
                del windows[key]
                swept += 1
            while len(windows) > self._counters_max:
                windows.popitem(last=False)
                self._forgotten.inc()

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)
