"""`tallystick.LiteLLMLogger`: an object for LiteLLM's own `callbacks`, which records its calls in a ledger of ours.

LiteLLM calls `log_pre_api_call` before a request leaves: the intent. It ends a call with one of four methods, and
sometimes with two of them: what comes first counts, by `litellm_call_id`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import importlib.util
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack

import structlog

from tallystick.bootstrap import Services, open_embedded
from tallystick.client.litellm_calls import begun_event, ended_event, moment_of, reported_cost
from tallystick.client.recorder import Recorder
from tallystick.client.runtime import EXIT_SECONDS
from tallystick.errors import TallystickError
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.clock import Clock, SystemClock
from tallystick.runtime.ids import new_event_id

log = structlog.get_logger(__name__)

CostSource = Literal["price_list", "litellm"]
JSON = Mapping[str, Any]  # Any: what LiteLLM hands out.

_BASE: Final = "litellm.integrations.custom_logger"
_WORKER: Final = "litellm.litellm_core_utils.logging_worker"
_OPEN_MAX: Final = 10_000
_ENDED_MAX: Final = 100_000
_WAIT_SECONDS: Final = 30.0


class LiteLLMLoggerOptions(TypedDict, total=False):
    """Where the ledger is: as for `tallystick.Client`."""

    database_url: str
    home: Path | str
    journal_directory: Path | str
    journal_sync: str


class LiteLLMLogger:
    """Records each of LiteLLM's calls as one event. `litellm.callbacks = [tallystick.LiteLLMLogger()]`.

    Where LiteLLM is installed, an instance is a CustomLogger of its, too, which it insists on. `cost` says whose price
    counts: that of our list, with LiteLLM's where the list has none, or LiteLLM's `response_cost` first. Nothing that
    goes wrong here reaches LiteLLM's caller: it is logged, each kind once, and counted in `failed`.
    """

    def __new__(cls, **_options: object) -> Self:
        base = _custom_logger_class()
        if base is None or issubclass(cls, base):
            return super().__new__(cls)
        mixed: type[Self] = type(cls.__name__, (cls, base), {"__doc__": cls.__doc__})
        return object.__new__(mixed)

    def __init__(
        self, *, cost: CostSource = "price_list", clock: Clock | None = None, **options: Unpack[LiteLLMLoggerOptions]
    ) -> None:
        """Opens nothing: the ledger is opened when the first call begins, in the process that makes it."""
        super().__init__()
        if cost not in ("price_list", "litellm"):
            raise ValueError("cost must be 'price_list' or 'litellm'")
        self.failed = 0
        self._cost = cost
        self._clock = clock or SystemClock()
        self._options = options
        self._lock = threading.Lock()
        self._open: OrderedDict[str, SpendEvent] = OrderedDict()
        """The intents of calls that run, by LiteLLM's id."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._logged: set[str] = set()
        self._recorder = Recorder(self._open_services)
        atexit.register(_hear_the_rest)  # After the recorder's own: so it runs before.

    # What LiteLLM calls

    def log_pre_api_call(self, model: str, messages: object, kwargs: JSON) -> None:
        """Write the intent, before LiteLLM sends anything."""
        with self._watched("log_pre_api_call"):
            call_id = kwargs["litellm_call_id"]
            with self._lock:
                if call_id in self._open or call_id in self._ended:
                    return  # LiteLLM tries again: it is the same call.
                intent = begun_event(new_event_id(self._clock.now()), {**kwargs, "model": model}, messages)
                self._open[call_id] = intent
                left = self._give_up_oldest()
            if left is not None:
                self._recorder.end(left)
            self._recorder.begin(intent).result(_WAIT_SECONDS)

    def log_success_event(self, kwargs: JSON, response_obj: object, start_time: object, end_time: object) -> None:
        """Write the event of a call that succeeded."""
        self._end(kwargs, response_obj, start_time, end_time, failed=False)

    def log_failure_event(self, kwargs: JSON, response_obj: object, start_time: object, end_time: object) -> None:
        """Write the event of a call that failed."""
        self._end(kwargs, response_obj, start_time, end_time, failed=True)

    async def async_log_success_event(
        self, kwargs: JSON, response_obj: object, start_time: object, end_time: object
    ) -> None:
        """See `log_success_event`; for an event loop, which goes on meanwhile."""
        await self._end_soon(kwargs, response_obj, start_time, end_time, failed=False)

    async def async_log_failure_event(
        self, kwargs: JSON, response_obj: object, start_time: object, end_time: object
    ) -> None:
        """See `log_failure_event`; for an event loop, which goes on meanwhile."""
        await self._end_soon(kwargs, response_obj, start_time, end_time, failed=True)

    # For the program

    def flush(self, *, timeout_seconds: float = 30.0) -> None:
        """Return when the database has all calls that have ended. Raises NotCommittedInTime."""
        self._recorder.flush(timeout_seconds=timeout_seconds)

    def close(self, *, timeout_seconds: float = EXIT_SECONDS) -> None:
        """End it for good: calls that still run are written down as interrupted."""
        with self._lock:
            left = list(self._open.values())
            self._ended.update(dict.fromkeys(self._open))
            self._open.clear()
        for intent in left:
            with self._watched("close"):
                self._recorder.end(intent).result(timeout_seconds)
        if not self._recorder.close(timeout_seconds=timeout_seconds):
            log.warning("litellm_logger_not_closed_in_time", seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_services(self) -> Services:
        options: dict[str, object] = {name: str(value) for name, value in self._options.items() if value is not None}
        return open_embedded(
            overrides={"drain_seconds": EXIT_SECONDS / 2, **options}, model_list=None, config_file=None
        )

    def _end(self, kwargs: JSON, response: object, start: object, end: object, *, failed: bool) -> None:
        with self._watched("log_failure_event" if failed else "log_success_event"):
            writing = self._begin_end(kwargs, response, start, end, failed=failed)
            if writing is not None:
                writing.result(_WAIT_SECONDS)

    async def _end_soon(self, kwargs: JSON, response: object, start: object, end: object, *, failed: bool) -> None:
        with self._watched("async_log_failure_event" if failed else "async_log_success_event"):
            writing = self._begin_end(kwargs, response, start, end, failed=failed)
            if writing is not None:
                await asyncio.shield(asyncio.wrap_future(writing))

    def _begin_end(
        self, kwargs: JSON, response: object, start: object, end: object, *, failed: bool
    ) -> Future[SpendEvent] | None:
        """Begin to write the event of a call; None when it has one already."""
        call_id = kwargs["litellm_call_id"]
        with self._lock:
            if call_id in self._ended:
                return None
            self._note_ended(call_id)
            begun = self._open.pop(call_id, None)
        # Without an intent, it was answered from LiteLLM's cache, or refused before it was sent.
        event_id = begun.event_id if begun else new_event_id(moment_of(start) or self._clock.now())
        event = ended_event(event_id, kwargs, response, end_time=end, failed=failed, begun=begun)
        reported = None if failed or event.cache_hit else reported_cost(kwargs)
        return self._recorder.end(event, reported_nano_usd=reported, reported_first=self._cost == "litellm")

    def _give_up_oldest(self) -> SpendEvent | None:
        """Return the intent of the call that is open longest, when there are too many: a stream nobody read on."""
        if len(self._open) <= _OPEN_MAX:
            return None
        call_id, intent = self._open.popitem(last=False)
        self._note_ended(call_id)
        return intent

    def _note_ended(self, call_id: str) -> None:
        self._ended[call_id] = None
        if len(self._ended) > _ENDED_MAX:
            self._ended.popitem(last=False)

    @contextlib.contextmanager
    def _watched(self, method: str) -> Any:  # Any: a context manager without a value.
        try:
            yield
        except Exception as error:  # noqa: BLE001 - LiteLLM's callers must not hear of it.
            self.failed += 1
            kind = f"{method} {type(error).__name__}"
            if kind not in self._logged:
                self._logged.add(kind)
                reason = error.message if isinstance(error, TallystickError) else f"{type(error).__name__}: {error}"
                log.error("litellm_call_not_recorded", method=method, reason=reason)  # noqa: TRY400 - it says all.


def _custom_logger_class() -> type | None:
    """Return LiteLLM's CustomLogger, where LiteLLM is installed."""
    module = sys.modules.get(_BASE)
    if module is None and importlib.util.find_spec("litellm") is not None:
        module = importlib.import_module(_BASE)
    found = getattr(module, "CustomLogger", None)
    return found if isinstance(found, type) else None


def _hear_the_rest() -> None:
    """At the end of the process, have LiteLLM tell what it still keeps in its queue, while the ledger is open."""
    worker = getattr(sys.modules.get(_WORKER), "GLOBAL_LOGGING_WORKER", None)
    flush: Callable[[], object] | None = getattr(worker, "_flush_on_exit", None)
    if flush is not None:
        flush()
