"""The list of prices as the snapshot builder asks it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from tallystick.pricing.price import PriceSheet


class PriceList(Protocol):
    """Prices by our provider prefix and by what the upstream calls the model. `pricing.price_map` is one."""

    def resolve(self, provider: str, model: str, *, now: datetime, api_base: str = "") -> PriceSheet | None:
        """Return the prices in force at `now`; None when the list does not know the model."""

    def next_change(self, provider: str, model: str, *, now: datetime, api_base: str = "") -> datetime | None:
        """Return when the answer of `resolve` may next be another."""

    def context_tokens(self, provider: str, model: str, *, api_base: str = "") -> int | None:
        """Return the most tokens of input that the model takes; None when the list does not say."""
