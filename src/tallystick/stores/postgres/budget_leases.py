"""Leases on windows of budgets: one transaction each.

Whoever changes what is leased locks the windows in key order first. Only then, in a statement of its own, which sees
what those before it have written, it looks at the leases. Nothing is left on a connection between transactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import msgspec

from tallystick.access.budget_store import LeaseReply, LeaseRequest, LeaseState
from tallystick.access.grants import WANTED_SECONDS, Room, grants_of, notice_seconds, short_of
from tallystick.access.scopes import Window
from tallystick.errors import StoreUnavailable
from tallystick.stores.postgres.budget_making import BudgetMaker, aliases_of
from tallystick.stores.postgres.budget_rows import columns_of_aliases, columns_of_windows, window_of
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase

TRIES: Final = 5
"""How often a window is made for somebody who needs it, while others trim it."""


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a window holds; nothing when it is not there."""

    spent_nano_usd: int = 0
    carried_nano_usd: int = 0
    leased_nano_usd: int = 0
    wanted_by: str | None = None
    """None when nobody lacks what others have, '' when several do."""

    @property
    def room(self) -> Room:
        return Room(
            spent_nano_usd=self.spent_nano_usd,
            carried_nano_usd=self.carried_nano_usd,
            leased_nano_usd=self.leased_nano_usd,
            is_wanted=self.wanted_by is not None,
        )


class _Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder has of one window."""

    holder: str
    amount_nano_usd: int | None
    """None when there is no lease."""
    settled_seq: int
    watermark: int
    """What the holder has committed: all of it is taken off already, in windows where it had any."""

    def state(self, window: Window, held: _Held, *, change: int = 0, since_seq: int = 0) -> LeaseState:
        """Return what is there after the amount has changed."""
        has_lease = self.amount_nano_usd is not None
        return LeaseState(
            window=window,
            spent_nano_usd=held.spent_nano_usd,
            carried_nano_usd=held.carried_nano_usd,
            leased_nano_usd=held.leased_nano_usd + change,
            amount_nano_usd=(self.amount_nano_usd or 0) + change,
            settled_seq=max(self.settled_seq if has_lease else since_seq, self.watermark),
            is_wanted=held.wanted_by is not None and held.wanted_by != self.holder,
        )


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a lease transaction: what is there, and what becomes of it."""

    request: LeaseRequest
    held: _Held
    """Without the leases that have lapsed."""
    freed_nano_usd: int
    lease: _Lease
    granted_nano_usd: int = 0
    becomes_wanted: bool = False

    @property
    def has_lease(self) -> bool:
        return self.granted_nano_usd > 0 or self.lease.amount_nano_usd is not None

    @property
    def leased_by_others(self) -> int:
        return self.held.leased_nano_usd - (self.lease.amount_nano_usd or 0)

    def state(self) -> LeaseState:
        request = self.request
        return self.lease.state(request.window, self.held, change=self.granted_nano_usd, since_seq=request.since_seq)


class BudgetLeases:
    """The part of PostgresBudgetStore that changes leases."""

    def __init__(self, *, database: PostgresDatabase, maker: BudgetMaker) -> None:
        self._database = database
        self._queries = database.queries
        self._maker = maker

    async def lease(self, holder: str, requests: Sequence[LeaseRequest], *, seconds: float, share: int) -> LeaseReply:
        """Add to the holder's leases on all windows, which are distinct and in their order, or on none."""
        windows = [request.window for request in requests]
        for _ in range(TRIES):
            async with self._database.transaction() as connection:
                held = await self._lock(connection, windows)
                if len(held) == len(windows) and not await self._lacks_aliases(connection, requests):
                    return await self._grant(connection, holder, requests, held, seconds=seconds, share=share)
            await self._maker.make(requests)
        raise StoreUnavailable("PostgreSQL loses the windows of budgets as soon as they are made.")

    async def give_back(self, holder: str, amounts: Mapping[Window, int]) -> dict[Window, LeaseState]:
        """Take these amounts off the holder's leases, each at most what is there; a lease of 0 is deleted."""
        windows = sorted(amounts)
        async with self._database.transaction() as connection:
            held = await self._lock(connection, windows)
            leases = await self._own(connection, holder, windows)
            taken = [
                min(amounts[window], lease.amount_nano_usd or 0) for window, lease in zip(windows, leases, strict=True)
            ]
            await self._shrink(connection, holder, windows, leases, taken)
        return {
            window: lease.state(window, held.get(window, _Held()), change=-less)
            for window, lease, less in zip(windows, leases, taken, strict=True)
        }

    async def release(self, holder: str) -> int:
        """Delete all leases of the holder; return how many there were."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(self._queries["lock_leased_budget_windows"], holder)
            windows = [window_of(row) for row in rows]
            leases = await self._own(connection, holder, windows)
            taken = [lease.amount_nano_usd or 0 for lease in leases]
            await self._shrink(connection, holder, windows, leases, taken)
        return sum(1 for lease in leases if lease.amount_nano_usd is not None)

    async def renew(self, holder: str, *, seconds: float) -> tuple[LeaseState, ...]:
        """Let all leases of the holder last `seconds` from now and return them."""
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["lock_leased_budget_windows"], holder)
            await connection.execute(self._queries["renew_budget_leases"], holder, seconds)
            rows = await connection.fetch(self._queries["budget_leases_of_holder"], holder)
        return tuple(_lease_of(row, holder).state(window_of(row), _held_of(row)) for row in rows)

    async def wanted(self, holder: str) -> tuple[Window, ...]:
        """Return the windows that others want and of which the holder has a lease."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["wanted_budget_windows"], holder)
        return tuple(window_of(row) for row in rows)

    async def _lock(self, connection: Connection, windows: Sequence[Window]) -> dict[Window, _Held]:
        """Lock those of the windows that are there, in their order, and return what they hold."""
        rows = await connection.fetch(self._queries["lock_budget_windows"], *columns_of_windows(windows))
        return {windows[row["place"] - 1]: _held_of(row) for row in rows}

    async def _lacks_aliases(self, connection: Connection, requests: Sequence[LeaseRequest]) -> bool:
        aliases = aliases_of(requests)
        if not aliases:
            return False
        return bool(await connection.fetch(self._queries["missing_budget_aliases"], *columns_of_aliases(aliases)))

    async def _grant(
        self,
        connection: Connection,
        holder: str,
        requests: Sequence[LeaseRequest],
        held: Mapping[Window, _Held],
        *,
        seconds: float,
        share: int,
    ) -> LeaseReply:
        columns = columns_of_windows([request.window for request in requests])
        rows = await connection.fetch(
            self._queries["free_and_read_budget_leases"], *columns, holder, notice_seconds(seconds)
        )
        lines = [_line(request, held[request.window], holder, row) for request, row in zip(requests, rows, strict=True)]
        granted, lines = _granted(lines, share=share)
        await connection.execute(
            self._queries["write_budget_leases"],
            *columns,
            holder,
            [line.granted_nano_usd for line in lines],
            [line.has_lease for line in lines],
            [line.request.since_seq for line in lines],
            [line.granted_nano_usd - line.freed_nano_usd for line in lines],
            [line.request.limit_nano_usd for line in lines],
            [line.becomes_wanted for line in lines],
            seconds,
            WANTED_SECONDS,
        )
        return LeaseReply(granted=granted, states=tuple(line.state() for line in lines))

    async def _own(self, connection: Connection, holder: str, windows: Sequence[Window]) -> list[_Lease]:
        rows = await connection.fetch(self._queries["own_budget_leases"], *columns_of_windows(windows), holder)
        return [_lease_of(row, holder) for row in rows]

    async def _shrink(
        self,
        connection: Connection,
        holder: str,
        windows: Sequence[Window],
        leases: Sequence[_Lease],
        taken: Sequence[int],
    ) -> None:
        there = [place for place, lease in enumerate(leases) if lease.amount_nano_usd is not None]
        await connection.execute(
            self._queries["shrink_budget_leases"],
            *columns_of_windows([windows[place] for place in there]),
            holder,
            [taken[place] for place in there],
            [taken[place] == leases[place].amount_nano_usd for place in there],
        )


def _held_of(row: asyncpg.Record) -> _Held:
    return _Held(
        spent_nano_usd=row["spent_nano_usd"],
        carried_nano_usd=row["carried_nano_usd"],
        leased_nano_usd=row["leased_nano_usd"],
        wanted_by=row["wanted_by"],
    )


def _lease_of(row: asyncpg.Record, holder: str) -> _Lease:
    return _Lease(
        holder=holder,
        amount_nano_usd=row["amount_nano_usd"],
        settled_seq=row["settled_seq"] or 0,
        watermark=row["watermark"],
    )


def _line(request: LeaseRequest, held: _Held, holder: str, row: asyncpg.Record) -> _Line:
    freed: int = row["freed_nano_usd"]
    left = msgspec.structs.replace(held, leased_nano_usd=held.leased_nano_usd - freed)
    return _Line(request=request, held=left, freed_nano_usd=freed, lease=_lease_of(row, holder))


def _granted(lines: Sequence[_Line], *, share: int) -> tuple[bool, list[_Line]]:
    """Return whether all of them get what they need, and what each gets, or whom it has to ask for it."""
    requests, rooms = [line.request for line in lines], [line.held.room for line in lines]
    amounts = grants_of(requests, rooms, share=share)
    if amounts is not None:
        return True, [
            msgspec.structs.replace(line, granted_nano_usd=amount) for line, amount in zip(lines, amounts, strict=True)
        ]
    short = short_of(requests, rooms)
    return False, [
        msgspec.structs.replace(line, becomes_wanted=place in short and line.leased_by_others > 0)
        for place, line in enumerate(lines)
    ]
