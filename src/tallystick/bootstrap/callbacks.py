"""The callbacks of the configuration: imported at the start, and put together with their thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import structlog

from tallystick.calls.callbacks.lane import LaneLimits
from tallystick.calls.callbacks.lists import CallbackLists, Named, hooks_not_called, require_callback
from tallystick.calls.callbacks.loading import CallbackLoader
from tallystick.calls.callbacks.service import CallbackLimits, CallbackService
from tallystick.config.callback_settings import CallbackSettings, is_import_path
from tallystick.config.settings import Settings
from tallystick.control.live_settings import LiveSettings
from tallystick.errors import ConfigError
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

CALLBACK_LISTS: Final[Mapping[str, str]] = {
    "callbacks": "both",
    "input_callback": "begin",
    "success_callback": "success",
    "failure_callback": "failure",
}
"""The lists by LiteLLM's names, and what we call them."""
_TURNS_OFF: Final = "litellm_settings.turn_off_message_logging"


def load_callbacks(
    settings: Settings, *, given: Mapping[str, Sequence[object]] = MappingProxyType({})
) -> CallbackLists:
    """Import what the configuration names. Raises ConfigError with file, key and reason.

    It runs the code of those modules, so that only what serves calls may ask for it. `given` are a program's own, by
    LiteLLM's names of the lists: functions, objects, and import paths.
    """
    loader = CallbackLoader(settings.config_file.absolute().parent if settings.config_file is not None else None)
    lists: dict[str, tuple[Named, ...]] = {}
    for name, entries in settings.callbacks.lists().items():
        place = settings.owned.get(f"litellm_settings.{name}", name)
        in_file = [_named(loader, each, place, index) for index, each in enumerate(entries) if is_import_path(each)]
        in_program = [_named(loader, each, name, index) for index, each in enumerate(given.get(name, ()))]
        lists[CALLBACK_LISTS[name]] = (*in_file, *in_program)
    found = CallbackLists(**lists)
    for each in found.all():
        if hooks := hooks_not_called(each.callback):
            log.warning(
                "callback_hooks_not_called",
                callback=each.name,
                hooks=list(hooks),
                hint="Callbacks are told of calls and change none; these methods are never called.",
            )
    return found


def open_callbacks(
    lists: CallbackLists, settings: CallbackSettings, *, live: Callable[[], LiveSettings], metrics: Metrics
) -> CallbackService | None:
    """Return the service that calls them; None where there are none."""
    if not lists.all():
        return None
    limits = CallbackLimits(
        lane=LaneLimits(
            queue_max=settings.queue_max,
            queue_bytes_max=settings.queue_bytes_max,
            timeout_seconds=settings.timeout_seconds,
        ),
        answer_bytes_max=settings.answer_bytes_max,
        drain_seconds=settings.drain_seconds,
    )
    return CallbackService(
        lists,
        limits=limits,
        metrics=metrics,
        redacts=lambda: settings.turns_off_messages or bool(live().values.get(_TURNS_OFF)),
    )


def _named(loader: CallbackLoader, entry: object, place: str, index: int) -> Named:
    try:
        if isinstance(entry, str):
            return Named(entry, loader.load(entry))
        require_callback(entry)
    except ValueError as error:
        file, _, key_path = place.rpartition(": ")
        raise ConfigError(str(error), file=file or None, key_path=f"{key_path}[{index}]") from error
    return Named(getattr(entry, "__qualname__", None) or type(entry).__qualname__, entry)
