"""Services: what runs beside the calls. Each has an owner that starts, watches and stops it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

import structlog

from tallystick.errors import TallystickError
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

State = Literal["stopped", "running", "restarting", "finished"]

_REASON_LENGTH_MAX: Final = 300
_CANCEL_AGAIN_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """How a service is. `healthy` is false while it is down or waits to be started again."""

    name: str
    state: State
    restarts: int = 0
    last_error: str = ""

    @property
    def healthy(self) -> bool:
        return self.state in ("running", "finished")


class Service(Protocol):
    """Something that is started once and stopped once."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Make it ready. When this raises, the service is as if it had never been started."""

    async def stop(self) -> None:
        """End it, with its tasks. Harmless when it does not run."""


@runtime_checkable
class Reporting(Protocol):
    """A service that knows more about its health than whether it was started."""

    def health(self) -> ServiceHealth: ...


class ServiceGroup:
    """Start services in order and stop them in reverse, so that each finds what it needs."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = tuple(services)
        self._started: list[Service] = []

    async def start(self) -> None:
        """Start all. When one fails, those already started are stopped and its error is raised."""
        for service in self._services:
            try:
                await service.start()
            except TallystickError as error:
                reason = mask_text(str(error))
                log.error("service_start_failed", service=service.name, reason=reason)  # noqa: TRY400 - it says all.
                await self.stop()
                raise
            except BaseException:
                log.exception("service_start_failed", service=service.name)
                await self.stop()
                raise
            self._started.append(service)

    async def stop(self) -> None:
        """Stop those that were started, the last one first. An error of one does not keep the others running."""
        while self._started:
            service = self._started.pop()
            try:
                await service.stop()
            except Exception:
                log.exception("service_stop_failed", service=service.name)

    def health(self) -> tuple[ServiceHealth, ...]:
        """Report on every service, in order of start."""
        return tuple(self._health_of(service) for service in self._services)

    def _health_of(self, service: Service) -> ServiceHealth:
        if isinstance(service, Reporting):
            return service.health()
        state: State = "running" if any(service is other for other in self._started) else "stopped"
        return ServiceHealth(name=service.name, state=state)


class SupervisedLoop:
    """A service around one endless coroutine: a crash is logged and counted, and the loop is started again.

    The wait before a restart doubles from 0.1 s to 10 s, jittered; it is short again after a minute without a crash.
    A loop that returns has finished and stays so. `stop` cancels it and waits for its end.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        metrics: Metrics,
        backoff_min_seconds: float = 0.1,
        backoff_max_seconds: float = 10.0,
        settled_after_seconds: float = 60.0,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._name = name
        self._run = run
        self._clock = clock
        self._restarts_total = metrics.service_restarts.labels(name)
        self._backoff_min_seconds = backoff_min_seconds
        self._backoff_max_seconds = backoff_max_seconds
        self._settled_after_seconds = settled_after_seconds
        self._jitter = jitter
        self._task: asyncio.Task[None] | None = None
        self._state: State = "stopped"
        self._restarts = 0
        self._last_error = ""

    @property
    def name(self) -> str:
        return self._name

    async def start(self) -> None:
        assert self._task is None, f"{self._name} runs already"
        self._state = "running"
        self._task = asyncio.create_task(self._supervise(), name=self._name)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        while not task.done():  # A library may swallow one cancellation; the loop must end all the same.
            task.cancel()
            await asyncio.wait((task,), timeout=_CANCEL_AGAIN_SECONDS)
        self._state = "stopped"

    async def join(self) -> None:
        """Wait until the loop has returned by itself, for services that drain before they stop."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def health(self) -> ServiceHealth:
        return ServiceHealth(name=self._name, state=self._state, restarts=self._restarts, last_error=self._last_error)

    async def _supervise(self) -> None:
        backoff_seconds = self._backoff_min_seconds
        while True:
            begun = self._clock.monotonic()
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - whatever it was, the loop must go on.
                if self._clock.monotonic() - begun >= self._settled_after_seconds:
                    backoff_seconds = self._backoff_min_seconds
                self._record_crash(error, backoff_seconds)
            else:
                self._state = "finished"
                return
            await self._clock.sleep(self._jitter(backoff_seconds / 2, backoff_seconds))
            backoff_seconds = min(backoff_seconds * 2, self._backoff_max_seconds)
            self._state = "running"

    def _record_crash(self, error: Exception, backoff_seconds: float) -> None:
        self._state = "restarting"
        self._restarts += 1
        self._restarts_total.inc()
        self._last_error = mask_text(f"{type(error).__name__}: {error}")[:_REASON_LENGTH_MAX]
        log.error("service_crashed", service=self._name, restart_in_seconds=backoff_seconds, exc_info=error)
