"""A client's engine, over the life of a process and of those that are forked from it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Final

import structlog

from tallystick.bootstrap import Services
from tallystick.client.engine import Engine
from tallystick.errors import ClientClosed
from tallystick.runtime.telemetry import log_to_logging

log = structlog.get_logger(__name__)

EXIT_SECONDS: Final = 10.0
"""How long the end of a process waits for the database; what is not committed then is in the journal."""


class Runtime:
    """Starts an engine when one is needed. Any thread may use it."""

    def __init__(self, open_services: Callable[[], Services]) -> None:
        self._open_services = open_services
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._is_closed = False
        self._inherited: list[Engine] = []
        """Engines of the processes that this one was forked from. Kept, for their sockets must not be closed here."""
        _follow_forks(self)
        atexit.register(self._close_at_exit)

    def engine(self) -> Engine:
        """Return the engine of this process; start it if there is none. Raises TallystickError."""
        engine = self._engine
        if engine is not None and not self._is_closed:
            return engine
        with self._lock:
            if self._is_closed:
                raise ClientClosed
            if self._engine is None:
                log_to_logging()
                self._engine = Engine(self._open_services)
            return self._engine

    @property
    def running(self) -> Engine | None:
        """The engine, if it was started in this process and not closed."""
        return None if self._is_closed else self._engine

    def close(self, *, timeout_seconds: float) -> bool:
        """End it for good; False when not everything ended in time. Harmless when called again."""
        with self._lock:
            engine, self._engine = self._engine, None
            self._is_closed = True
        atexit.unregister(self._close_at_exit)
        return engine is None or engine.stop(timeout_seconds=timeout_seconds)

    def _close_at_exit(self) -> None:
        if not self.close(timeout_seconds=EXIT_SECONDS):
            log.warning("client_not_closed_in_time", seconds=EXIT_SECONDS)

    # Around a fork

    def before_fork(self) -> None:
        """Stand still. Not in the middle of a start."""
        self._lock.acquire()
        if self._engine is not None:
            self._engine.park()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._engine is not None:
            self._engine.unpark()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the parent's engine alone; the next call starts one of this process."""
        self._lock = threading.Lock()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.disown()
            self._inherited.append(engine)


def _follow_forks(runtime: Runtime) -> None:
    known = weakref.ref(runtime)

    def tell(what: Callable[[Runtime], None]) -> Callable[[], None]:
        def hook() -> None:
            found = known()
            if found is not None:
                what(found)

        return hook

    os.register_at_fork(
        before=tell(Runtime.before_fork),
        after_in_parent=tell(Runtime.after_fork_in_parent),
        after_in_child=tell(Runtime.after_fork_in_child),
    )
