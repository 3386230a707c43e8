"""One budget window as this instance knows it: its lease, what was spent of it, and what running calls hold.

    free = amount of the lease - events that the lease does not reflect yet - holds

The store's lease and this account stay in step by numbers, not by time: every answer of the store says up to which
event the lease is settled, and what lies above that number is taken off here. So it does not matter when a commit
comes. An answer is only applied when nothing else was asked about the same account meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from tallystick.access.budget_store import LeaseState
from tallystick.access.scopes import Budget, Window

_PENDING_FOLDED: Final = 1_000
"""So many events above the settled number are kept one by one before confirmed ones are taken off the amount."""
_WANT_DOUBLED_SECONDS: Final = 2.0
_WANT_HALVED_SECONDS: Final = 20.0
_WANT_FIRST: Final = 8
"""The first lease is for so many calls, where there is plenty."""
_WANT_MAX: Final = 10**15
_LOW: Final = 2
"""A lease is renewed in the background when less than the last grant divided by this is free."""


class Account:
    """Money of one window. For one event loop; `free_at` and `hold` never wait."""

    __slots__ = (
        "_granted_at",
        "_last_grant",
        "_pending",
        "_want",
        "amount",
        "answered_at",
        "ask_after",
        "budget",
        "carried",
        "entity_ids",
        "held",
        "is_closed",
        "is_known",
        "is_wanted",
        "leased",
        "pending",
        "refill_after",
        "settled_seq",
        "since_seq",
        "spent",
        "statements",
        "statements_begun",
        "trusted_until",
        "used_at",
        "waiters",
        "window",
    )

    def __init__(self, window: Window, *, since_seq: int, entity_ids: frozenset[str], now: float) -> None:
        self.window = window
        self.entity_ids = entity_ids
        """Further ids whose events count in the window."""
        self.since_seq = since_seq
        """Events above this number are paid by the lease, and come to `settle`."""
        self.settled_seq = since_seq
        self.amount = 0
        self.pending = 0
        """Sum of the events above `settled_seq`."""
        self.held = 0
        self.spent = self.carried = self.leased = 0
        """Of all instances, as last told."""
        self.is_known = False
        """Whether the store has told anything yet."""
        self.budget: Budget | None = None
        """The last one that it was looked up for."""
        self.trusted_until = 0.0
        """Monotonic. After it others may have taken the lease."""
        self.used_at = now
        self.statements = 0
        """Under way about this account."""
        self.statements_begun = 0
        self.ask_after = 0.0
        """Before it nothing new is to be expected of the store."""
        self.refill_after = 0.0
        """Before it nothing is leased in the background."""
        self.is_wanted = False
        self.is_closed = False
        """Out of the registry: nobody may take a hold on it any more."""
        self.answered_at = -1.0
        """Monotonic: when the statement was sent whose answer was applied last."""
        self.waiters: dict[asyncio.Future[None], int] = {}
        """Calls that wait for room, in their order, with what they need."""
        self._pending: deque[tuple[int, int]] = deque()
        self._want = 0
        self._last_grant = 0
        self._granted_at = now

    # Holds

    def free_at(self, now: float) -> int:
        """Return what a call may take now without asking; negative when calls cost more than their estimates."""
        trusted = self.amount if now < self.trusted_until else 0
        return trusted - self.pending - self.held

    def hold(self, nano_usd: int, now: float) -> None:
        self.held += nano_usd
        self.used_at = now

    def release(self, nano_usd: int, now: float) -> None:
        """End a hold."""
        self.held -= nano_usd
        assert self.held >= 0, "a hold was released twice"
        if self.waiters:
            self.wake(now)

    def settle(self, seq: int, cost_nano_usd: int, now: float) -> None:
        """Count an event of this instance, with the number that the journal gave it."""
        if seq <= self.settled_seq or not cost_nano_usd:
            return
        self._pending.append((seq, cost_nano_usd))
        self.pending += cost_nano_usd
        self.used_at = now

    def wake(self, now: float) -> None:
        """Let those look again who wait for room: the first one, and as many more as what is free may do for."""
        left = self.free_at(now)
        while self.waiters:
            waiter, need = next(iter(self.waiters.items()))
            del self.waiters[waiter]
            if not waiter.done():
                waiter.set_result(None)
                left -= need
                if left <= 0:
                    return

    # What the store says

    def apply(self, state: LeaseState, *, watermark: int, sent_at: float, trusted_until: float) -> None:
        """Take over what the store said, when no other statement about this account can have changed it since.

        Events up to `watermark` were committed before the store was asked, so they are in what it said.
        """
        self.amount = state.amount_nano_usd
        self.settled_seq = max(self.settled_seq, state.settled_seq, watermark)
        self.spent, self.carried = state.spent_nano_usd, state.carried_nano_usd
        self.leased, self.is_wanted = state.leased_nano_usd, state.is_wanted
        self.trusted_until = trusted_until
        self.is_known = True
        self.answered_at = sent_at
        self._drop_settled()

    def fold(self, watermark: int) -> None:
        """Take committed events off the amount, as the store did, when many have gathered.

        Costs are never negative, so the order in which they were taken off does not matter.
        """
        if len(self._pending) < _PENDING_FOLDED or self.statements:
            return
        self.statements_begun += 1  # An answer that was under way meanwhile is not applied.
        committed = 0
        while self._pending and self._pending[0][0] <= watermark:
            committed += self._pending.popleft()[1]
        self.pending -= committed
        self.amount = max(0, self.amount - committed)
        self.spent += committed
        self.settled_seq = max(self.settled_seq, watermark)

    def is_settled(self, watermark: int) -> bool:
        """Whether nothing that the lease may have to pay for is under way."""
        return not self.held and (not self._pending or self._pending[-1][0] <= watermark)

    def clear(self) -> None:
        """Let go of the whole lease: everything that it was to pay for is committed."""
        self._pending.clear()
        self.pending = self.amount = 0

    def lose(self) -> None:
        """The lease has lapsed, and others may have it."""
        self.amount = 0
        self.trusted_until = 0.0

    def _drop_settled(self) -> None:
        while self._pending and self._pending[0][0] <= self.settled_seq:
            self.pending -= self._pending.popleft()[1]

    # How much to ask for

    def want_of(self, estimate_nano_usd: int, now: float) -> int:
        """Return how much to lease where there is plenty: more the faster it is used up."""
        age = now - self._granted_at
        if not self._want:
            self._want = _WANT_FIRST * estimate_nano_usd
        elif age < _WANT_DOUBLED_SECONDS:
            self._want *= 2
        elif age > _WANT_HALVED_SECONDS:
            self._want //= 2
        self._want = min(max(self._want, estimate_nano_usd), _WANT_MAX)
        return self._want

    def note_grant(self, nano_usd: int, now: float) -> None:
        self._last_grant, self._granted_at = nano_usd, now
        self.ask_after = 0.0

    def is_low(self, now: float) -> bool:
        """Whether more should be leased before a call has to wait for it."""
        return self.free_at(now) * _LOW < self._last_grant and not self.is_wanted and now >= self.refill_after

    def may_be_asked_about(self, now: float) -> bool:
        """Whether asking the store may bring something: not twice at a time, and never for an account out of use."""
        return not self.statements and not self.is_closed and now >= self.ask_after

    @property
    def known_spend(self) -> int:
        """What is spent for certain: committed by anyone, or by this instance and not committed yet."""
        return self.spent + self.carried + self.pending

    @property
    def is_unused(self) -> bool:
        """Whether nothing of it would be missed."""
        return not (self.amount or self.pending or self.held or self.statements or self.waiters)
