"""A gate that work goes through, and that can be closed until nobody is inside: before a process forks."""

from __future__ import annotations

import threading
from types import TracebackType


class Gate:
    """`with gate:` waits while it is closed. Any number may be inside at once, from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def close(self, *, timeout_seconds: float) -> bool:
        """Let nobody in any more, and wait until nobody is inside; False when that takes too long."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: not self._inside, timeout_seconds)

    def open(self) -> None:
        """Let everybody in who waits."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()
