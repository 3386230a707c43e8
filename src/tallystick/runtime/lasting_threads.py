"""Threads that work until the very end of a process.

Those of the standard library's executor take no more work once the main thread has ended, though other threads go on
and what was journaled is yet to be committed. These do. They are daemons: nothing waits for them at the end.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
ResultT = TypeVar("ResultT")
_Jobs = SimpleQueue[Callable[[], None] | None]


class LastingThreads(ThreadPoolExecutor):
    """An executor. It inherits because an event loop takes no other as its own."""

    def __init__(self, count_max: int, *, name: str) -> None:
        super().__init__(count_max, thread_name_prefix=name)
        self._name = name
        self._count_max = count_max
        self._jobs: _Jobs = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started: list[threading.Thread] = []
        self._growing = threading.Lock()
        self._is_over = False
        # Threads must not keep what nobody can use any more; the queue is all that they know of it.
        self._finalizer = weakref.finalize(self, _end, self._jobs, count_max)
        self._finalizer.atexit = False

    def submit(
        self, fn: Callable[Arguments, ResultT], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[ResultT]:
        """See Executor. Raises RuntimeError after `shutdown`."""
        future: Future[ResultT] = Future()
        with self._growing:
            if self._is_over:
                raise RuntimeError(f"The threads '{self._name}' have ended.")
            self._jobs.put(lambda: _perform(future, partial(fn, *args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._started) < self._count_max:
                self._start_one()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See Executor; what was asked for is done all the same."""
        del cancel_futures
        with self._growing:
            self._is_over = True
        if self._finalizer.detach() is not None:  # Called by hand, since finalizers do nothing at the end of a process.
            _end(self._jobs, self._count_max)
        if wait:
            for thread in self._started:
                thread.join()

    def _start_one(self) -> None:
        name = f"{self._name}-{len(self._started)}"
        thread = threading.Thread(target=_work, args=(self._jobs, self._idle), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The interpreter is about to end: those that there are do it.
            if not self._started:
                raise
            return
        self._started.append(thread)


def _end(jobs: _Jobs, count: int) -> None:
    for _ in range(count):
        jobs.put(None)


def _work(jobs: _Jobs, idle: threading.Semaphore) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # It holds on to what it worked with.
        idle.release()


def _perform(future: Future[ResultT], work: Callable[[], ResultT]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        if future.done():
            raise
        future.set_exception(error)
