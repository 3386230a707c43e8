"""Tags: labels of calls, under which their spend is summed."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.access.scopes import Correction


class TagSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tag's row holds besides its columns; its limits are those of its budget, `budget_id`."""

    description: str = ""
    models: tuple[str, ...] = ()
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.
