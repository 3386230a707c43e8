"""Which settings the admin API may write, and why not the others."""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

from tallystick.config import litellm_keys
from tallystick.config.load import SETTINGS
from tallystick.config.settings import Settings
from tallystick.control.live_settings import LIVE
from tallystick.errors import BadRequest, Conflict

SECTIONS: Final = tuple(litellm_keys.BY_SECTION)
_AT_START: Final = frozenset(place.name for entry in SETTINGS for place in entry.file_places)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_VALUE_LENGTH_MAX: Final = 65_536


def is_known(name: str) -> bool:
    """Whether there is a setting of this whole name."""
    return name in LIVE or name in _AT_START


def require_writable(settings: Settings, name: str) -> None:
    """Refuse a setting that the file or the environment has, one that is read at start only, and one unknown.

    `name` is the whole name, as in `litellm_settings.cost_margin_config`. Raises Conflict, BadRequest.
    """
    where = settings.owned.get(name)
    if where is not None:
        raise Conflict(
            f"'{name}' is set in {where}, which owns it: change it there, or remove it there to set it here.",
            param=name,
        )
    if name in LIVE:
        return
    section, _, key = name.partition(".")
    if name in _AT_START:
        raise BadRequest(
            f"'{name}' is read only at start: set it in the configuration file and start again.", param=name
        )
    if key in litellm_keys.BY_SECTION.get(section, ()):
        raise BadRequest(f"'{name}' is a setting of LiteLLM that is not supported yet.", param=name)
    close = difflib.get_close_matches(name, sorted((*LIVE, *_AT_START)), n=1, cutoff=0.7)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    raise BadRequest(f"There is no setting '{name[:256]}'.{meant}", param=name[:256])


def checked_value(name: str, value: Any) -> Any:  # Any: JSON.
    """Return the value of a live setting. Raises BadRequest that says what would be right."""
    try:
        LIVE[name].check(value)
    except ValueError as error:
        raise BadRequest(f"'{name}' is not right: {error}.", param=name) from error
    return value


def require_own_variable(settings: Settings, name: str) -> None:
    """Refuse a name that can't be one, and variables that the file sets. Raises BadRequest, Conflict."""
    if not _VARIABLE.fullmatch(name):
        raise BadRequest(
            f"'{name[:64]}' can't be the name of a variable: at most 256 letters, digits and underscores.",
            param="environment_variables",
        )
    if name in settings.environment_variables:
        raise Conflict(
            f"The variable '{name}' is in environment_variables of the configuration file, which owns it: change it "
            "there.",
            param=f"environment_variables.{name}",
        )


def variable_text(name: str, value: Any) -> str:  # Any: JSON.
    """Return a variable's value as text. Raises BadRequest."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str) and len(text := str(value)) <= _VALUE_LENGTH_MAX:
        return text
    raise BadRequest(
        f"'environment_variables.{name}' must be a text of at most {_VALUE_LENGTH_MAX} characters, a number or a truth "
        "value.",
        param=f"environment_variables.{name}",
    )
