"""Settings of routing that may be changed while the gateway runs: all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pydantic

from tallystick.config.places import SettingEntry, registry
from tallystick.config.routing_settings import RETRIES_MAX, RoutingSettings

ROUTING: Final = registry(RoutingSettings)
TIMEOUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "timeout": ("router_settings.timeout", "litellm_settings.request_timeout"),
    "stream_timeout": ("router_settings.stream_timeout",),
}
"""By name; the first one that is set holds."""
_TIMEOUT_SECONDS_MAX: Final = 86_400
_TYPES: Final = {
    "whole number": "Integer",
    "number": "Float",
    "true or false": "Boolean",
    "mapping": "Dict",
    "{": "Dict",
}


def live_routing(of_file: RoutingSettings, values: Mapping[str, Any]) -> RoutingSettings:  # Any: JSON.
    """Return what is in force. `values` are the database's by the whole name, of what the file does not have."""
    changed = {}
    for entry in ROUTING:
        name = next((place.name for place in entry.file_places if place.name in values), None)
        if name is not None:
            field = entry.field_path[-1]
            changed[field] = getattr(_read(field, values[name]), field)
    return of_file.model_copy(update=changed) if changed else of_file


def check_routing(field: str, value: Any) -> object:  # Any: JSON.
    """Raise ValueError that says what would be right."""
    try:
        return _read(field, value)
    except pydantic.ValidationError as error:
        if field == "num_retries":
            raise ValueError(f"it must be a whole number from 0 to {RETRIES_MAX}") from None
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"][1:])
        raise ValueError(f"{place or 'it'}: {first['msg'].removeprefix('Value error, ')}") from None


def checks_seconds(value: Any) -> object:  # Any: JSON.
    """Raise ValueError for what is no timeout."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _TIMEOUT_SECONDS_MAX:
        raise ValueError(f"it must be a number of seconds, more than 0 and at most {_TIMEOUT_SECONDS_MAX}")
    return value


def live_type(entry: SettingEntry) -> str:
    """Return what LiteLLM's clients call the type of a setting."""
    if entry.name.endswith("fallbacks") and entry.name != "max_fallbacks":
        return "List"
    return next((shown for start, shown in _TYPES.items() if entry.type_name.startswith(start)), "String")


def _read(field: str, value: Any) -> RoutingSettings:  # Any: JSON.
    # As JSON and strictly, so that `true` is no number.
    return RoutingSettings.model_validate_json(msgspec.json.encode({field: value}), strict=True)
