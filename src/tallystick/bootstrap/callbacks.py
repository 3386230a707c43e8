"""The callbacks of the configuration: imported at the start, and put together with their thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from tallystick.calls.callbacks.lane import LaneLimits
from tallystick.calls.callbacks.lists import CallbackLists, Named, hooks_not_called
from tallystick.calls.callbacks.loading import CallbackLoader
from tallystick.calls.callbacks.service import CallbackLimits, CallbackService
from tallystick.config.callback_settings import CallbackSettings, is_import_path
from tallystick.config.settings import Settings
from tallystick.control.live_settings import LiveSettings
from tallystick.errors import ConfigError
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_FIELDS: Final[Mapping[str, str]] = {
    "callbacks": "both",
    "input_callback": "begin",
    "success_callback": "success",
    "failure_callback": "failure",
}
_TURNS_OFF: Final = "litellm_settings.turn_off_message_logging"


def load_callbacks(settings: Settings) -> CallbackLists:
    """Import what the configuration names. Raises ConfigError with file, key and reason.

    It runs the code of those modules, so that only what serves calls may ask for it.
    """
    loader = CallbackLoader(settings.config_file.absolute().parent if settings.config_file is not None else None)
    loaded: dict[str, object] = {}
    lists: dict[str, tuple[Named, ...]] = {}
    for name, entries in settings.callbacks.lists().items():
        for index, entry in enumerate(entries):
            if is_import_path(entry) and entry not in loaded:
                try:
                    loaded[entry] = loader.load(entry)
                except ValueError as error:
                    raise _wrong(settings, name, index, error) from error
        lists[_FIELDS[name]] = tuple(Named(entry, loaded[entry]) for entry in entries if entry in loaded)
    for entry, callback in loaded.items():
        if hooks := hooks_not_called(callback):
            log.warning(
                "callback_hooks_not_called",
                callback=entry,
                hooks=list(hooks),
                hint="Callbacks are told of calls and change none; these methods are never called.",
            )
    return CallbackLists(**lists)


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


def _wrong(settings: Settings, name: str, index: int, error: ValueError) -> ConfigError:
    place = settings.owned.get(f"litellm_settings.{name}", f"litellm_settings.{name}")
    file, _, key_path = place.rpartition(": ")
    return ConfigError(str(error), file=file or None, key_path=f"{key_path}[{index}]")
