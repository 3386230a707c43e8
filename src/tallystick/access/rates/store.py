"""The port of rate limits that instances share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tallystick.access.rates.quota import Quota


class Take(NamedTuple):
    """What one call asks for: its amount of every quota, or nothing."""

    quotas: tuple[Quota, ...]
    amounts: tuple[int, ...]
    call_id: str


class TakeReply(NamedTuple):
    """The answer to a take, by quota in the given order."""

    granted: bool
    at_ms: int
    """When, by the store's clock; a correction names it."""
    used: tuple[int, ...]
    """Of each quota, with what was taken now."""
    wait_ms: tuple[int, ...]
    """Granted: until the oldest part of it comes back. Else: until there is room, 0 where there is."""


class Correction(NamedTuple):
    """What a call used beyond its estimate, or less than it."""

    quota: Quota
    amount: int
    """Actual less estimate."""
    taken_ms: int
    """`TakeReply.at_ms` of the estimate."""


class Slot(NamedTuple):
    """A running call's place in a quota of parallel calls."""

    quota: Quota
    call_id: str


class Batch(NamedTuple):
    """What one instance asks of the store at once, in this order."""

    number: int
    """Of this instance, counted up from 1: a batch whose answer was lost is sent again under its number."""
    releases: Sequence[Slot] = ()
    corrections: Sequence[Correction] = ()
    renewals: Sequence[Slot] = ()
    takes: Sequence[Take] = ()


class RateStore(Protocol):
    """Counters that several instances share. It counts for one instance: the one that it was made for."""

    async def apply(self, batch: Batch) -> tuple[TakeReply, ...]:
        """Do all of a batch in one step and return the answers to its takes.

        The batch with the number of the last one changes nothing; its answers are returned again. A take is granted
        on all its quotas or on none. No counter falls below 0. A slot that is not renewed lapses after a time.

        Raises StoreUnavailable when it is not known whether it was done: the same batch is to be sent again. Raises
        RowRefused when the store will never do it.
        """

    async def close(self) -> None:
        """Close every connection."""
