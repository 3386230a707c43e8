"""Budgets on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from tallystick.access.budget_store import LeaseReply, LeaseRequest, LeaseState, WindowSum
from tallystick.access.scopes import INVENTED_TYPES, LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.errors import StoreUnavailable
from tallystick.stores.postgres.budget_leases import TRIES, BudgetLeases
from tallystick.stores.postgres.budget_making import BudgetMaker
from tallystick.stores.postgres.budget_rows import columns_of_windows, sum_of, window_of
from tallystick.stores.postgres.database import PostgresDatabase

_TRIMMED_AT_ONCE: Final = 1_000
_BEFORE_ALL: Final = Window(scope=Scope(type=""), starts_at=LIFETIME_START, ends_at=LIFETIME_START)


class PostgresBudgetStore:
    """Implements BudgetStore; may be shared by any number of holders."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries
        self._maker = BudgetMaker(database=database)
        self._leases = BudgetLeases(database=database, maker=self._maker)

    async def lease(self, holder: str, requests: Sequence[LeaseRequest], *, seconds: float, share: int) -> LeaseReply:
        """Add to the holder's leases on all these windows, or on none; make the windows that are not there."""
        windows = [request.window for request in requests]
        assert len(set(windows)) == len(windows), "a window is asked for once"
        ordered = sorted(requests, key=lambda request: request.window)
        reply = await self._leases.lease(holder, ordered, seconds=seconds, share=share)
        states = {state.window: state for state in reply.states}
        return LeaseReply(granted=reply.granted, states=tuple(states[window] for window in windows))

    async def renew(self, holder: str, *, seconds: float) -> tuple[LeaseState, ...]:
        """Let all leases of the holder last `seconds` from now and return them, in the order of windows."""
        return await self._leases.renew(holder, seconds=seconds)

    async def wanted(self, holder: str) -> tuple[Window, ...]:
        """Return the windows that others want and of which the holder has a lease."""
        return await self._leases.wanted(holder)

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        """Take these amounts off the holder's leases, each at most what is there; a lease of 0 is deleted."""
        states = await self._leases.give_back(holder, dict(amounts))
        return tuple(states[window] for window, _ in amounts)

    async def release(self, holder: str) -> int:
        """Delete all leases of the holder; return how many there were."""
        return await self._leases.release(holder)

    async def sums(self, windows: Sequence[tuple[Window, tuple[str, ...]]]) -> tuple[WindowSum, ...]:
        """Return what stands in each window; one that does not exist is summed from the events, and not made."""
        return await self._maker.sums(windows)

    async def open_windows(self, *, after: Window | None, limit: int) -> tuple[WindowSum, ...]:
        """Return the windows that have not ended, in their order, behind `after`."""
        last = _BEFORE_ALL if after is None else after
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                self._queries["open_budget_windows"],
                *last.scope,
                last.starts_at,
                last.ends_at,
                self._database.clock.now(),
                limit,
            )
        return tuple(sum_of(row, window_of(row)) for row in rows)

    async def claim_alert(self, window: Window, *, level: int) -> bool:
        """Note that an alert of this level is sent for the window; False when one of this level or above was."""
        key = (*window.scope, window.starts_at, window.ends_at)
        for _ in range(TRIES):
            async with self._database.connection() as connection:
                is_new = await connection.fetchval(self._queries["claim_budget_alert"], *key, level)
            if is_new is not None:
                return bool(is_new)
            await self._maker.make([_request_of_nothing(window)])
        raise StoreUnavailable("PostgreSQL loses a window of a budget as soon as it is made.")

    async def trim(self, *, ended_days: float) -> int:
        """Delete windows that ended so many days ago, and idle ones without an end, of which nobody has leases."""
        ended_before = self._database.clock.now() - timedelta(days=ended_days)
        idle_seconds = timedelta(days=ended_days).total_seconds()
        return await self._trim("lock_ended_budget_windows", ended_before) + await self._trim(
            "lock_idle_budget_windows", INVENTED_TYPES, LIFETIME_START, LIFETIME_END, idle_seconds
        )

    async def _trim(self, locking: str, *which: object) -> int:
        """Delete the windows that a statement locks, in pieces."""
        trimmed = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.fetch(self._queries[locking], *which, _TRIMMED_AT_ONCE)
                if not rows:
                    return trimmed
                windows = columns_of_windows([window_of(row) for row in rows])
                trimmed += await connection.fetchval(self._queries["delete_ended_budget_windows"], *windows)


def _request_of_nothing(window: Window) -> LeaseRequest:
    return LeaseRequest(window=window, limit_nano_usd=0, need_nano_usd=0, want_nano_usd=0)
