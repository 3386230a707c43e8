"""Worker processes: started, watched, started again when they die, and ended together."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from tallystick.runtime.clock import Clock

log = structlog.get_logger()

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_LOOK_SECONDS = 0.5
_RESTART_SECONDS_MIN = 0.1
_RESTART_SECONDS_MAX = 5.0
_SETTLED_SECONDS = 10.0
WRONG_USE = 2
"""Exit code of a worker whose settings are wrong: starting it again would not help."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    pause_seconds: float = _RESTART_SECONDS_MIN


class WorkerSupervisor:
    """Keeps `count` processes of `command` running until SIGTERM or SIGINT, then ends them within `stop_seconds`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        environment: Mapping[str, str],
        inherited_fds: Sequence[int],
        stop_seconds: float,
        on_exit: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._inherited_fds = tuple(inherited_fds)
        self._stop_seconds = stop_seconds
        self._on_exit = on_exit
        self._clock = clock
        self._workers = [_Worker(number=number) for number in range(1, count + 1)]

    def run(self) -> int:
        """Run until told to stop; return the exit code: 0, or that of a worker whose settings are wrong."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while True:
                for worker in self._workers:
                    self._keep_running(worker)
                received = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
                if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                    return 0
                if self._note_exits():
                    return WRONG_USE
        finally:
            self._stop_all()

    def _keep_running(self, worker: _Worker) -> None:
        if worker.process is not None or self._clock.monotonic() < worker.start_again_at:
            return
        worker.process = subprocess.Popen(self._command, env=self._environment, pass_fds=self._inherited_fds)
        worker.started_at = self._clock.monotonic()
        log.info("worker_started", worker=worker.number, pid=worker.process.pid)

    def _note_exits(self) -> bool:
        """Prepare the restart of workers that died; whether one found its settings wrong."""
        for worker in self._workers:
            if worker.process is None or (code := worker.process.poll()) is None:
                continue
            self._on_exit(worker.process.pid)
            if code == WRONG_USE:
                worker.process = None
                return True
            now = self._clock.monotonic()
            if now - worker.started_at > _SETTLED_SECONDS:
                worker.pause_seconds = _RESTART_SECONDS_MIN
            log.error("worker_died", worker=worker.number, pid=worker.process.pid, exit_code=code)
            worker.process = None
            worker.start_again_at = now + worker.pause_seconds
            worker.pause_seconds = min(2 * worker.pause_seconds, _RESTART_SECONDS_MAX)
        return False

    def _stop_all(self) -> None:
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        deadline = self._clock.monotonic() + self._stop_seconds
        for process in running:
            try:
                process.wait(max(0.1, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker_killed", pid=process.pid, reason="it did not stop in time")
                process.kill()
                process.wait()
            self._on_exit(process.pid)


def unblock_signals() -> None:
    """Undo, in a worker, the block of signals that it inherits from its supervisor."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
