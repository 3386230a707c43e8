"""The port through which `tallystick doctor` asks a database how it is. It reads no event, so it is quick."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

import msgspec


class Partitions(msgspec.Struct, frozen=True, kw_only=True):
    """The days that have a partition of their own, and whether events lie in none of them."""

    last_day: date | None
    default_is_empty: bool


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is. `partitions` is None where events are not partitioned."""

    engine: str
    schema_version: int
    now: datetime
    dead_letters: int
    dead_letter_cost_nano_usd: int
    partitions: Partitions | None = None


class StoreInspector(Protocol):
    """Tells how the database is."""

    async def inspect(self) -> StoreFacts:
        """Return the facts. Raises StoreUnavailable, MigrationFailed."""
