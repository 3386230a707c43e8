"""Group sync: one thread makes appended bytes durable, once for everybody who waits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from tallystick.errors import LedgerUnavailable


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
        self._waiters: list[asyncio.Future[None]] = []
        self._dirty: set[int] = set()
        self._retired: list[int] = []
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def durable(self, fd: int) -> asyncio.Future[None]:
        """Return a future that is done once all that is written to `fd` by now survives a power loss.

        It raises LedgerUnavailable when the disk refuses.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._waiters.append(future)
            self._dirty.add(fd)
        self._wake.set()
        return future

    def durable_now(self, fd: int) -> None:
        """Make what is written to `fd` durable in the calling thread. Raises LedgerUnavailable when the disk refuses."""
        error = self._sync({fd})
        if error is not None:
            raise _refusal(error)

    def mark_dirty(self, fd: int) -> None:
        """Let the next sync cover `fd` too."""
        with self._lock:
            self._dirty.add(fd)

    def retire(self, fd: int) -> None:
        """Sync `fd` once more, then close it."""
        with self._lock:
            self._retired.append(fd)
        self._wake.set()

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                waiters, self._waiters = self._waiters, []
                retired, self._retired = self._retired, []
                dirty, self._dirty = self._dirty | set(retired), set()
            if dirty:
                error = self._sync(dirty)
                for fd in retired:
                    os.close(fd)
                if waiters:
                    self._loop.call_soon_threadsafe(_resolve, waiters, error)
            if self._stopping and not self._waiters and not self._retired:
                return

    def _sync(self, fds: set[int]) -> OSError | None:
        begun = self._monotonic()
        failure = None
        for fd in fds:
            try:
                os.fdatasync(fd)
            except OSError as error:
                failure = error
        self._on_sync_seconds(self._monotonic() - begun)
        return failure


def _resolve(waiters: list[asyncio.Future[None]], error: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(_refusal(error))


def _refusal(error: OSError) -> LedgerUnavailable:
    return LedgerUnavailable(f"the journal could not be made durable: {error.strerror}")
