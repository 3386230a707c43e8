"""The engine: one event loop in one daemon thread, and in it the services that record calls.

Callers of any kind hand coroutines in: threads that wait, event loops that await, loops that run already. What an
engine holds belongs to the process that started it; a forked child must leave it alone, and starts its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog

from tallystick.bootstrap import Services
from tallystick.client.dispatcher import Dispatcher
from tallystick.client.inherited_files import close_files_below
from tallystick.errors import ClientClosed, TallystickError
from tallystick.runtime.lasting_threads import LastingThreads

log = structlog.get_logger(__name__)

_THREADS: Final = 4
_PARK_SECONDS: Final = 15.0
_CLOSED: Final = "The client is closed. Make another one."
_FORKED: Final = "This belongs to the process that this one was forked from."
ResultT = TypeVar("ResultT")


class Engine:
    """Started by its constructor, which returns when calls can be made."""

    def __init__(self, open_services: Callable[[], Services]) -> None:
        """Raises TallystickError when the services can't be opened or started."""
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()  # Any: whatever each returns.
        self._services: Services
        self._parked: _Parking | None = None
        ready: Future[Dispatcher] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(open_services, ready), name="tallystick-client", daemon=True
        )
        self._thread.start()
        try:
            self.dispatcher = ready.result()
        except BaseException:
            self._thread.join()
            raise

    @property
    def is_of_this_process(self) -> bool:
        return self._pid == os.getpid()

    @property
    def services(self) -> Services:
        """What runs in it; only for coroutines that are submitted to it."""
        return self._services

    def now(self) -> datetime:
        """Return the time, from any thread."""
        return self._services.clock.now()

    def submit(self, work: Coroutine[Any, Any, ResultT]) -> Future[ResultT]:
        """Run a coroutine in the engine; cancelling the future cancels it. Raises ClientClosed."""
        if not self.is_of_this_process or self._stopping.is_set():
            work.close()
            raise ClientClosed(_CLOSED if self.is_of_this_process else _FORKED)
        tracked = self._tracked(work)
        try:
            return asyncio.run_coroutine_threadsafe(tracked, self._loop)
        except RuntimeError:  # The loop was closed at this very moment.
            tracked.close()
            work.close()
            raise ClientClosed(_CLOSED) from None

    def wait(self, work: Coroutine[Any, Any, ResultT], *, timeout_seconds: float | None = None) -> ResultT:
        """Run a coroutine in the engine and wait for it. Raises ClientClosed, and what it raises; see `outcome`."""
        if threading.current_thread() is self._thread:  # It would wait for itself, for ever.
            work.close()
            raise TallystickError("Nothing can be waited for inside of the client's own thread: await it there.")
        return outcome(self.submit(work), timeout_seconds=timeout_seconds)

    def leave(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something done that nobody waits for; nothing when the engine has ended."""
        if self.is_of_this_process and not self._stopping.is_set():
            try:
                self._loop.call_soon_threadsafe(lambda: self.dispatcher.keep(work()))
            except RuntimeError:  # The loop was closed at this very moment: everything has been settled.
                return

    def stop(self, *, timeout_seconds: float) -> bool:
        """End what runs, commit what can be committed in time, and end the thread; False when it took too long."""
        if not self.is_of_this_process:
            return True
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    # Around a fork

    def park(self) -> None:
        """Let the thread stand still, with no file of SQLite open, until `unpark`. In the parent, before a fork."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return
        self._parked = parking = _Parking()
        try:
            self._loop.call_soon_threadsafe(parking.enter)
        except RuntimeError:
            return
        if not parking.entered.wait(_PARK_SECONDS) or not self._services.store.suspend(_PARK_SECONDS):
            log.warning("fork_not_waited_for", seconds=_PARK_SECONDS)

    def unpark(self) -> None:
        """Go on. In the parent, after a fork."""
        parking, self._parked = self._parked, None
        if parking is not None:
            self._services.store.resume()
            parking.left.set()

    def disown(self) -> None:
        """Let go of the journal's files, so that its slot is free when the parent ends. In a child, after a fork.

        Nothing else is touched: sockets and the loop are the parent's.
        """
        close_files_below(self._services.settings.journal.directory)

    # In the thread

    def _run(self, open_services: Callable[[], Services], ready: Future[Dispatcher]) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_default_executor(LastingThreads(_THREADS, name="tallystick-client"))
        try:
            self._loop.run_until_complete(self._serve(open_services, ready))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self, open_services: Callable[[], Services], ready: Future[Dispatcher]) -> None:
        services = None
        try:
            services = open_services()
            self._services = services
            for warning in services.settings.warnings:
                log.warning("setting_not_in_force", setting=warning)
            await asyncio.to_thread(lambda: None)  # No thread can be started any more when the interpreter ends.
            dispatcher = Dispatcher(services, await services.start())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it.
            if services is not None:
                await services.stop()
            ready.set_exception(_own(error))
            return
        ready.set_result(dispatcher)
        await self._stopping.wait()
        await self._end(dispatcher, services)

    async def _end(self, dispatcher: Dispatcher, services: Services) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await dispatcher.settle()
        await services.stop()

    async def _tracked(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        task = asyncio.current_task()
        assert task is not None
        if self._stopping.is_set():
            work.close()
            raise ClientClosed(_CLOSED)
        self._tasks.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if self._stopping.is_set():
                raise ClientClosed("The client was closed while the call was running.") from None
            raise
        finally:
            self._tasks.discard(task)


class _Parking:
    """Where the engine's thread stands still."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()

    def enter(self) -> None:
        self.entered.set()
        self.left.wait(2 * _PARK_SECONDS)


def outcome(future: Future[ResultT], *, timeout_seconds: float | None = None) -> ResultT:
    """Wait for what runs in an engine. Errors of ours come without the engine's own traceback.

    Whoever is interrupted while it waits (Ctrl-C) interrupts the call.
    """
    try:
        return future.result(timeout_seconds)
    except TallystickError as error:
        raise error.with_traceback(None) from None
    except FutureTimeout:
        future.cancel()
        raise
    except BaseException:
        future.cancel()
        raise


def _own(error: BaseException) -> BaseException:
    if not isinstance(error, TallystickError):
        log.error("client_not_started", exc_info=error)
        return TallystickError(f"The client can't start: {type(error).__name__}; see the log.")
    return error
