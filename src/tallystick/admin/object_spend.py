"""What one object has spent, as answers show it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tallystick.access.scopes import Window


class WindowSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent in a window: by its events and what it carries, and as it is shown."""

    window: Window
    counted_nano_usd: int
    shown_nano_usd: int


class ObjectSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What an object has spent."""

    nano_usd: int
    """As it is shown beside the object's limit."""
    ledger_nano_usd: int = 0
    """In its whole life, without corrections."""
    windows: Mapping[str, WindowSpend] = {}
    """By duration, of its limit and of each of `budget_limits`; without those that never reset."""

    def in_window(self, duration: str) -> int:
        """Return what is shown as spent over this duration."""
        held = self.windows.get(duration)
        if held is not None:
            return held.shown_nano_usd
        return 0 if duration else self.nano_usd


NOTHING_SPENT = ObjectSpend(nano_usd=0)
