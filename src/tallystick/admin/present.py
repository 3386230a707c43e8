"""The present moment, and the budget windows that it lies in."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Correction, Scope, Window
from tallystick.access.windows import WindowRule


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What answers show of one moment is all as of it."""

    now: datetime
    windows: WindowRule

    def window_of(self, scope: Scope, duration: str) -> Window:
        """Return the window of this duration that runs now; that of a whole life for ''."""
        return self.windows.window_of(scope, duration, self.now)

    def reset_at(self, duration: str) -> str | None:
        """Return when the window that runs now ends; null for a budget that never resets."""
        return text_of(self.windows.window_at(duration, self.now)[1]) if duration else None


def whole_life(scope: Scope) -> Window:
    """Return the window of a budget that never resets."""
    return Window(scope, LIFETIME_START, LIFETIME_END)


def correction_of(window: Window, nano_usd: int) -> Correction:
    """Return a correction of one window."""
    return Correction(starts_at=window.starts_at, ends_at=window.ends_at, nano_usd=nano_usd)


def text_of(moment: datetime | None) -> str | None:
    """Return a moment in ISO 8601, null when there is none."""
    return None if moment is None else moment.isoformat()
