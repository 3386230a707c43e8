"""The arithmetic of a sliding window. Pure: `now` is given, in milliseconds that do not go back.

What was taken is kept in slices of a 60th of the window, each with the moment of its newest take. A slice counts as a
whole until that moment is a window ago. So no stretch of time as long as a window, wherever it begins, ever holds more
than the limit; and a caller never waits longer for what it took than a window and the length of a slice.
`docs/adr/0009-rate-limits.md` says what else was weighed. `stores/redis/rates.lua` does the same.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SLICES: Final = 60


def slice_ms_of(window_ms: int) -> int:
    """Return the length of a slice of a window."""
    return -(-window_ms // SLICES)


class SlidingWindow:
    """What was taken in the last `window_ms`. Call `advance` before anything else."""

    __slots__ = ("_slice_ms", "_slices", "used", "window_ms")

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.used = 0
        """The sum of all slices."""
        self._slice_ms = slice_ms_of(window_ms)
        self._slices: deque[list[int]] = deque()  # Each is [number, amount, newest take]; at most SLICES + 1.

    def advance(self, now_ms: int) -> None:
        """Forget what is a window ago."""
        oldest = now_ms - self.window_ms
        slices = self._slices
        while slices and slices[0][2] < oldest:
            self.used -= slices.popleft()[1]

    def add(self, amount: int, now_ms: int) -> None:
        """Count an amount."""
        number = now_ms // self._slice_ms
        self.used += amount
        slices = self._slices
        if slices and slices[-1][0] == number:
            newest = slices[-1]
            newest[1] += amount
            newest[2] = now_ms
        else:
            slices.append([number, amount, now_ms])

    def correct(self, amount: int, *, taken_ms: int, now_ms: int) -> None:
        """Count more: it was used until now. Or less: it goes back where it was taken, if that is still counted."""
        if amount > 0:
            self.add(amount, now_ms)
            return
        number = taken_ms // self._slice_ms
        for each in self._slices:
            if each[0] == number:
                back = min(-amount, each[1])
                each[1] -= back
                self.used -= back
                break
        if not self.used:
            self._slices.clear()

    def wait_ms(self, amount: int, limit: int, now_ms: int) -> int:
        """Return how long until there is room for an amount, if nothing more is taken; 0 when there is."""
        lacking = self.used + amount - limit
        wait = 0
        for _, taken, newest_ms in self._slices:
            if lacking <= 0:
                break
            lacking -= taken
            wait = newest_ms + self.window_ms + 1 - now_ms
        return wait

    def relief_ms(self, now_ms: int) -> int:
        """Return how long until the oldest slice goes and room comes back; 0 when nothing is counted."""
        return self._slices[0][2] + self.window_ms - now_ms if self._slices else 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is counted any more."""
        return not self._slices
