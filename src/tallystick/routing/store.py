"""The port of what instances tell each other of deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tallystick.routing.tracker import Changes, Use


class Seen(NamedTuple):
    """What all instances together have seen."""

    uses: Mapping[str, Use]
    """Of the current minute by the store's clock, by deployment id."""
    cooldowns: Mapping[str, float]
    """Seconds that are left, by deployment id."""


class RoutingStore(Protocol):
    """Cooldowns and use that several instances share."""

    async def exchange(self, changes: Changes) -> Seen:
        """Add an instance's changes and return what all have told, in one step.

        A cooldown is never shortened. Raises StoreUnavailable when it is not known whether the changes were added: they
        are not sent again, so that a use counts once at most. Raises RowRefused when the store will never do it.
        """

    async def close(self) -> None:
        """Close every connection."""
