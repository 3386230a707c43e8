"""What goes wrong in callbacks is logged once with its cause."""

from __future__ import annotations

import traceback
from typing import Final

import structlog

from tallystick.calls.callbacks.lists import Action
from tallystick.runtime.masking import mask_text

log = structlog.get_logger(__name__)

_KINDS_MAX: Final = 1_000
_REASON_LENGTH_MAX: Final = 300


class FailureLog:
    """Remembers which kinds of failures have been logged: by callback, method and class of the error."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, str]] = set()

    def note(self, action: Action, error: BaseException) -> None:
        """Log an error that a callback raised, if it is the first of its kind."""
        if self._is_new(action, type(error).__name__):
            reason = mask_text(f"{type(error).__name__}: {error}")[:_REASON_LENGTH_MAX]
            log.warning("callback_failed", callback=action.callback, method=action.method, reason=reason, at=_at(error))

    def note_timeout(self, action: Action, seconds: float) -> None:
        """Log that a callback took too long, if it is the first time."""
        if self._is_new(action, "timeout"):
            log.warning("callback_timeout", callback=action.callback, method=action.method, after_seconds=seconds)

    def _is_new(self, action: Action, kind: str) -> bool:
        key = (action.callback, action.method, kind)
        if key in self._logged or len(self._logged) >= _KINDS_MAX:
            return False
        self._logged.add(key)
        return True


def _at(error: BaseException) -> str:
    """Return where it was raised: the last line of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
