"""The port of budgets: windows, what was spent in them, and the leases on what is left.

For each window, always: spent + carried + leased ≤ limit, but for what calls cost beyond their estimates. `spent` is
the sum of the window's events and changes only in the commit that carries them (`LedgerStore.commit`), which shrinks
the lease of the batch's producer by the same money. Implementations live in `stores/`; all pass one suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tallystick.access.scopes import Window


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance asks of one window."""

    window: Window
    limit_nano_usd: int
    """As it is in force, an admin's corrections taken off; may be negative."""
    need_nano_usd: int
    """So much more at least, else nothing is granted on any window of the request; 0 takes what can be spared."""
    want_nano_usd: int
    """So much where there is plenty."""
    since_seq: int = 0
    """The lease pays for events of its holder above this number; older ones only count as spent.

    For the first lease of a holder on a window; a lease that is there keeps its own.
    """
    entity_ids: tuple[str, ...] = ()
    """Further ids whose events count in the window (`Budget.entity_ids`)."""
    previous: Window | None = None
    """The window before, when what was spent there above the limit is to be carried into this one."""
    previous_limit_nano_usd: int | None = None
    """What was in force at the end of the window before, its own corrections taken off; None: the same as now."""


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """A window and the holder's lease on it, as of one transaction."""

    window: Window
    spent_nano_usd: int
    """Sum of the committed events."""
    carried_nano_usd: int
    leased_nano_usd: int
    """By all holders."""
    amount_nano_usd: int
    """Of this holder's lease; 0 when it has none."""
    settled_seq: int
    """Events of the holder up to this number are taken off the amount already; those above are not."""
    is_wanted: bool = False
    """Others lack what is leased: what can be spared should go back at once."""


class LeaseReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to requests, in their order."""

    granted: bool
    states: tuple[LeaseState, ...]


class WindowSum(msgspec.Struct, frozen=True, kw_only=True):
    """What reports show of a window."""

    window: Window
    spent_nano_usd: int
    carried_nano_usd: int = 0
    leased_nano_usd: int = 0
    limit_nano_usd: int | None = None
    """The limit of the last lease; None for a window that nobody has leased from."""


class BudgetStore(Protocol):
    """Where budgets are kept. Every method raises StoreUnavailable when the database does not answer.

    A holder is a producer id. Leases are counted by the database's own clock.
    """

    async def lease(self, holder: str, requests: Sequence[LeaseRequest], *, seconds: float, share: int) -> LeaseReply:
        """Add to the holder's leases on all these windows, or on none, in one transaction.

        Windows are locked in their order, made when they are not there (spent = the sum of their committed events,
        exact although commits go on), and freed of the leases of others that have lapsed: one that is found past its
        time for the first time lasts for `grants.notice_seconds` once more. Each gets max(need, min(want,
        room // share)), at most its room, which is limit - spent - carried - leased; when a room is below its need,
        nothing is granted, and those windows of which others hold leases are marked as wanted for some seconds. A
        window that is wanted gives no more than the need. Every lease of the holder on these windows, granted or not,
        then lasts `seconds` from now.
        """

    async def renew(self, holder: str, *, seconds: float) -> tuple[LeaseState, ...]:
        """Let all leases of the holder last `seconds` from now and return them, in the order of windows."""

    async def wanted(self, holder: str) -> tuple[Window, ...]:
        """Return the windows that others want and of which the holder has a lease. Cheap: it writes nothing."""

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        """Take these amounts off the holder's leases, each at most what is there; a lease of 0 is deleted."""

    async def release(self, holder: str) -> int:
        """Delete all leases of the holder; return how many there were."""

    async def sums(self, windows: Sequence[tuple[Window, tuple[str, ...]]]) -> tuple[WindowSum, ...]:
        """Return what stands in each window, in the given order, with the further entity ids of each.

        A window that does not exist is summed from the events, and not made.
        """

    async def open_windows(self, *, after: Window | None, limit: int) -> tuple[WindowSum, ...]:
        """Return the windows that have not ended, in their order, behind `after`."""

    async def claim_alert(self, window: Window, *, level: int) -> bool:
        """Note that an alert of this level is sent for the window; False when one of this level or above was."""

    async def trim(self, *, ended_days: float) -> int:
        """Delete windows without leases that ended so many days ago; return how many.

        Those without an end of INVENTED_TYPES, too, that nobody has leased from for so long: they are made anew, with
        the sum of their events, when somebody asks again.
        """
