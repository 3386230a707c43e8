"""The callbacks of a process: an observer of its calls, and a service that runs beside them.

    call ── begin, end ──> lane ── in a thread of its own ──> callbacks, one after the other

All of it runs in one daemon thread with an event loop: a callback that blocks there, or that takes long to be told, is
in nobody's way. Functions that are no coroutines run in a further thread. The thread's own limits: a coroutine that
blocks holds up the other callbacks, and what waits meanwhile is dropped when the queue is full.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import structlog

from tallystick.calls.call import RunningCall
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.calls.callbacks.lane import Lane, LaneLimits, Telling
from tallystick.calls.callbacks.lists import CallbackLists, actions_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_END_SECONDS: Final = 1.0
"""How long the thread may take to end when it has been told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackLimits:
    """The settings of the callbacks."""

    lane: LaneLimits
    answer_bytes_max: int
    drain_seconds: float


class CallbackService:
    """A CallObserver, and a Service."""

    name = "callbacks"

    def __init__(
        self,
        lists: CallbackLists,
        *,
        limits: CallbackLimits,
        metrics: Metrics,
        redacts: Callable[[], bool] = bool,
    ) -> None:
        """`redacts` is asked before each telling whether messages and answers are to be left out."""
        self._limits = limits
        actions = actions_of(lists)
        self._lanes = tuple(
            lane
            for name, is_async in (("callbacks", True), ("blocking-callbacks", False))
            if (
                lane := Lane(
                    name,
                    {moment: [each for each in all_ if each.is_async is is_async] for moment, all_ in actions.items()},
                    limits=limits.lane,
                    redacts=redacts,
                    metrics=metrics,
                )
            ).has_actions
        )
        self._open: dict[str, tuple[RunningCall, HeardAnswer]] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def begin(self, call: RunningCall) -> HeardAnswer:
        """See CallObserver."""
        answer = HeardAnswer(bytes_max=self._limits.answer_bytes_max)
        self._open[call.context.event_id] = (call, answer)
        for lane in self._lanes:
            if lane.wants("begin"):
                lane.put(Telling("begin", call, None, answer))
        return answer

    def end(self, event: SpendEvent) -> None:
        """See CallObserver."""
        known = self._open.pop(event.event_id, None)
        if known is None:  # A call that nobody made: a check of a deployment.
            return
        moment: Final = "success" if event.status == "success" else "failure"
        for lane in self._lanes:
            if lane.wants(moment):
                lane.put(Telling(moment, known[0], event, known[1]))

    async def start(self) -> None:
        """Start the thread; see Service."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="tallystick-callbacks", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(ready)

    async def stop(self) -> None:
        """Run what waits, within the limit; what is left then is counted as dropped. See Service."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopped is None:
            return
        draining = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        try:
            async with asyncio.timeout(self._limits.drain_seconds):
                await asyncio.wrap_future(draining)
        except TimeoutError:
            left = sum(lane.abandon() for lane in self._lanes)
            log.warning("callbacks_left", tellings=left, after_seconds=self._limits.drain_seconds)
        self._loop.call_soon_threadsafe(self._stopped.set)
        await asyncio.to_thread(thread.join, _END_SECONDS)

    async def _drain(self) -> None:
        for lane in self._lanes:
            await lane.drained()

    def _serve(self, ready: Future[None]) -> None:
        asyncio.run(self._run(ready))

    async def _run(self, ready: Future[None]) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        tasks = [asyncio.create_task(lane.run(), name=lane.name) for lane in self._lanes]
        ready.set_result(None)
        await self._stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_END_SECONDS)
