"""A lane: one queue of what happened, and the actions that are run for each, in order.

It lives in the thread of the callbacks; `put` comes from the calls' own. A queue that is full takes nothing more: what
does not go in is counted for each callback that would have heard of it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from tallystick.calls.call import RunningCall
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.calls.callbacks.arguments import Arguments, Moment, arguments_of
from tallystick.calls.callbacks.failures import FailureLog
from tallystick.calls.callbacks.lists import Action
from tallystick.calls.callbacks.threads import BlockingRunner, CallbackExited
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_OVERHEAD_BYTES = 2_048
"""What a telling takes besides the bodies of its call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """How much waits, and for how long a callback may take."""

    queue_max: int
    queue_bytes_max: int
    timeout_seconds: float


class Telling(NamedTuple):
    """Something that happened to a call."""

    moment: Moment
    call: RunningCall
    event: SpendEvent | None
    """None: the call's intent."""
    answer: HeardAnswer

    @property
    def size_bytes(self) -> int:
        return len(self.call.request.raw) + self.answer.size_bytes + _OVERHEAD_BYTES


class Lane:
    """Runs actions of one kind: those that may block, or those that are coroutines."""

    def __init__(
        self,
        name: str,
        actions: Mapping[Moment, Sequence[Action]],
        *,
        limits: LaneLimits,
        redacts: Callable[[], bool],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._actions = actions
        self._limits = limits
        self._redacts = redacts
        self._metrics = metrics
        self._failures = FailureLog()
        self._waiting: deque[tuple[Telling, int]] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._is_full = False
        self._sleeps = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._runner = BlockingRunner(f"tallystick-{name}")

    @property
    def has_actions(self) -> bool:
        """Whether anything is ever called."""
        return any(self._actions.values())

    def wants(self, moment: Moment) -> bool:
        """Whether anything is called then."""
        return bool(self._actions[moment])

    def put(self, telling: Telling) -> None:
        """Take what happened; from any thread, and without waiting."""
        size = telling.size_bytes
        with self._lock:
            full = bool(self._waiting) and (
                len(self._waiting) >= self._limits.queue_max
                or self._waiting_bytes + size > self._limits.queue_bytes_max
            )
            if not full:
                self._waiting.append((telling, size))
                self._waiting_bytes += size
                self._metrics.callbacks_waiting.inc()
                self._is_full = False
            wakes, self._sleeps = self._sleeps, False
        if full:
            self._drop(telling.moment)
        if wakes and self._loop is not None:
            self._call_soon(self._loop)

    async def run(self) -> None:
        """Run what is to be run, for ever; what was put before comes first."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                telling = self._take(falls_asleep=True)
                if telling is None:
                    self._idle.set()
                    await self._wake.wait()
                    continue
                self._idle.clear()
                await self._tell(telling)
        finally:
            self._runner.close()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        while self._waiting or not self._idle.is_set():
            await self._idle.wait()
            await asyncio.sleep(0)

    def abandon(self) -> int:
        """Give up what still waits, and return how many tellings that were."""
        left = 0
        while (telling := self._take()) is not None:
            left += 1
            self._count_dropped(telling.moment)
        return left

    def _call_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # It has just been closed: the process stops, and `abandon` counts what is left.
            log.debug("callback_after_stop", lane=self.name)

    def _take(self, *, falls_asleep: bool = False) -> Telling | None:
        with self._lock:
            if not self._waiting:
                self._sleeps = falls_asleep
                return None
            telling, size = self._waiting.popleft()
            self._waiting_bytes -= size
            self._metrics.callbacks_waiting.dec()
            return telling

    def _drop(self, moment: Moment) -> None:
        self._count_dropped(moment)
        if not self._is_full:
            self._is_full = True
            log.warning(
                "callback_queue_full",
                lane=self.name,
                waiting=len(self._waiting),
                hint="The callbacks are slower than the calls; what does not go in is dropped and counted.",
            )

    def _count_dropped(self, moment: Moment) -> None:
        for action in self._actions[moment]:
            self._metrics.callbacks.labels(action.callback, "dropped").inc()

    async def _tell(self, telling: Telling) -> None:
        redacts = self._redacts()
        built: dict[bool, Arguments] = {}
        for action in self._actions[telling.moment]:
            try:
                redacted = redacts or action.redacts
                if redacted not in built:
                    built[redacted] = _arguments(telling, redacts=redacted)
                await self._run(action, built[redacted])
            except Exception as error:  # noqa: BLE001 - a fault of ours in one telling must not end the others.
                self._fail(action, error)

    async def _run(self, action: Action, arguments: Arguments) -> None:
        try:
            async with asyncio.timeout(self._limits.timeout_seconds) as limit:
                if action.is_async:
                    await action.run(*arguments.of(action.form))
                else:
                    result = await self._runner.run(action.run, *arguments.of(action.form))
                    if inspect.isawaitable(result):
                        await result
        except TimeoutError as error:
            if limit.expired():
                self._metrics.callbacks.labels(action.callback, "timeout").inc()
                self._failures.note_timeout(action, self._limits.timeout_seconds)
            else:
                self._fail(action, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._fail(action, error)  # Of the callback's own making.
        except (SystemExit, KeyboardInterrupt) as error:
            self._fail(action, CallbackExited(repr(error)))
        except Exception as error:  # noqa: BLE001 - whatever a callback raises ends here.
            self._fail(action, error)
        else:
            self._metrics.callbacks.labels(action.callback, "done").inc()

    def _fail(self, action: Action, error: BaseException) -> None:
        self._metrics.callbacks.labels(action.callback, "failed").inc()
        self._failures.note(action, error)


def _arguments(telling: Telling, *, redacts: bool) -> Arguments:
    event = telling.call.intent() if telling.event is None else telling.event
    return arguments_of(telling.moment, telling.call, event, telling.answer, redacts=redacts)
