"""Runs what may block in a thread of its own, one after the other; a thread that hangs is left behind."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import structlog

log = structlog.get_logger(__name__)

HANGING_MAX: Final = 8
"""Threads left behind; with more of them, nothing is begun until one of them ends."""

_Result = Future[Any]  # Any: what a callback returns.


class _Task(NamedTuple):
    run: Callable[..., Any]  # Any: as above.
    arguments: tuple[object, ...]
    result: _Result


class BlockingRunner:
    """Runs functions in one thread. The threads are daemons: none keeps a process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: queue.SimpleQueue[_Task | None] | None = None
        self._hanging: list[_Result] = []

    async def run(self, function: Callable[..., Any], *arguments: object) -> Any:  # Any: what a callback returns.
        """Return what the function returns. Whoever stops waiting leaves the thread behind."""
        while len(self._hanging) >= HANGING_MAX:
            await asyncio.wait(map(asyncio.wrap_future, self._hanging), return_when=asyncio.FIRST_COMPLETED)
            self._hanging = [each for each in self._hanging if not each.done()]
        if self._inbox is None:
            self._inbox = _begin_thread(self._name)
        result: _Result = Future()
        result.set_running_or_notify_cancel()  # From here on it can't be cancelled, only be left.
        self._inbox.put(_Task(function, arguments, result))
        try:
            return await asyncio.wrap_future(result)
        finally:
            if not result.done():
                self._leave(result)

    def close(self) -> None:
        """End the thread when it is idle."""
        if self._inbox is not None:
            self._inbox.put(None)
            self._inbox = None

    def _leave(self, result: _Result) -> None:
        self._hanging = [each for each in self._hanging if not each.done()] + [result]
        self.close()


def _begin_thread(name: str) -> queue.SimpleQueue[_Task | None]:
    inbox: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(inbox,), name=name, daemon=True).start()
    return inbox


def _work(inbox: queue.SimpleQueue[_Task | None]) -> None:
    while (task := inbox.get()) is not None:
        try:
            result = task.run(*task.arguments)
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits; sys.exit() ends nothing here.
            log.debug("callback_raised", kind=type(error).__name__)
            task.result.set_exception(error if isinstance(error, Exception) else CallbackExited(repr(error)))
        else:
            task.result.set_result(result)


class CallbackExited(Exception):
    """A callback raised SystemExit or KeyboardInterrupt, which end nothing here."""
