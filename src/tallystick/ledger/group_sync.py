"""Group sync: appended bytes are made durable once for everybody who waits.

A sync that takes no longer than the way to another thread and back is made in the event loop, at the end of its turn;
on a slower disk a thread makes it, so that the loop never stands still for long. Which of the two is decided by what
the last syncs took.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tallystick.errors import LedgerUnavailable

QUICK_SECONDS = 0.001
_SAMPLES = 16
_SAMPLES_MIN = 4


class _Work(NamedTuple):
    """What one sync covers."""

    waiters: list[asyncio.Future[None]]
    dirty: set[int]
    retired: list[int]


class GroupSync:
    """Runs fdatasync for all callers that came since the last one began.

    A caller that comes while a sync runs waits for the next: the running one may have begun before its bytes were
    written. File descriptors are closed here too, so that none is closed while it is being synced.
    """

    def __init__(self, *, on_sync_seconds: Callable[[float], None], monotonic: Callable[[], float]) -> None:
        self._on_sync_seconds = on_sync_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._work = _Work([], set(), [])
        self._thread_syncs = False
        self._scheduled = False
        self._stopping = False
        self._recent_seconds: deque[float] = deque(maxlen=_SAMPLES)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def durable(self, fd: int) -> asyncio.Future[None]:
        """Return a future that is done once all that is written to `fd` by now survives a power loss.

        It raises LedgerUnavailable when the disk refuses.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._work.waiters.append(future)
            self._work.dirty.add(fd)
        self._request()
        return future

    def mark_dirty(self, fd: int) -> None:
        """Let the next sync cover `fd` too."""
        with self._lock:
            self._work.dirty.add(fd)

    def retire(self, fd: int) -> None:
        """Sync `fd` once more, then close it."""
        with self._lock:
            self._work.dirty.add(fd)
            self._work.retired.append(fd)
        self._request()

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    @property
    def is_quick(self) -> bool:
        """Whether the quickest of the last syncs was quick: the others may have waited for the interpreter."""
        recent = self._recent_seconds
        return len(recent) >= _SAMPLES_MIN and min(recent) < QUICK_SECONDS

    def _request(self) -> None:
        if not self.is_quick:
            self._wake.set()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._sync_in_loop)

    def _sync_in_loop(self) -> None:
        self._scheduled = False
        with self._lock:
            if self._thread_syncs:  # It may be about to close what we would sync.
                self._wake.set()
                return
            work = self._take()
        _resolve(work.waiters, self._perform(work))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                work = self._take()
                self._thread_syncs = True
            error = self._perform(work)
            with self._lock:
                self._thread_syncs = False
                is_done = self._stopping and not self._work.dirty
            if work.waiters:
                self._loop.call_soon_threadsafe(_resolve, work.waiters, error)
            if is_done:
                return

    def _take(self) -> _Work:
        work, self._work = self._work, _Work([], set(), [])
        return work

    def _perform(self, work: _Work) -> OSError | None:
        """Sync and close; return what went wrong."""
        if not work.dirty:
            return None
        begun = self._monotonic()
        failure = None
        for fd in work.dirty:
            try:
                os.fdatasync(fd)
            except OSError as error:
                failure = error
        seconds = self._monotonic() - begun
        self._recent_seconds.append(seconds)
        self._on_sync_seconds(seconds)
        for fd in work.retired:
            os.close(fd)
        return failure


def _resolve(waiters: list[asyncio.Future[None]], error: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(LedgerUnavailable(f"the journal could not be made durable: {error.strerror}"))
