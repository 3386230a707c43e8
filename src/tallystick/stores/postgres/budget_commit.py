"""Windows of budgets in a commit: what its events cost in them, and what their producers' leases pay of that.

Windows are looked for before ledger_head is locked, when nobody waits, and what they grow by is computed while the
database works. That holds if nobody has made a window since, which the head itself tells. Then the windows are locked,
in key order as by everybody, and written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from tallystick.access.scopes import Window
from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_fold import BudgetFold, Charge, settled
from tallystick.ledger.budget_scopes import ScopeKey
from tallystick.stores.postgres.budget_rows import columns_of_windows, key_of, window_of
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.encoding import SLICE, array_of_numbers, columns_of_keys


class _Part(NamedTuple):
    """What one producer adds."""

    batch: Batch
    fold: BudgetFold


class _Charged(NamedTuple):
    """What one producer's events cost in one window."""

    batch: Batch
    charge: Charge[Window]


class BudgetCommit:
    """What batches of different producers do to windows of budgets."""

    def __init__(self, batches: Sequence[Batch], *, queries: Mapping[str, str], windows_made: int) -> None:
        self._batches = batches
        self._queries = queries
        self._windows_made = windows_made
        self._parts: list[_Part] = []
        self._places: list[tuple[ScopeKey, Window]] = []
        self._charged: list[_Charged] = []
        self._columns: list[str] = []

    async def gather(self) -> None:
        """Find in which scopes the events count, if there are any windows."""
        if self._windows_made:
            await self._gather()

    async def look(self, connection: Connection) -> None:
        """Find the windows of these scopes, in their order."""
        scopes = sorted({scope for part in self._parts for scope in part.fold.scopes})
        if scopes:
            rows = await connection.fetch(
                self._queries["budget_windows_of_scopes"],
                *columns_of_keys(scopes),
                min(part.fold.first_time for part in self._parts if part.fold.first_time is not None),
                max(part.fold.last_time for part in self._parts if part.fold.last_time is not None),
            )
            self._places = [((row["scope_type"], row["entity_id"], row["member_id"]), window_of(row)) for row in rows]

    async def charge(self) -> None:
        """Compute what the windows grow by."""
        self._charged = []
        for number, (_, same) in enumerate(groupby(self._places, key=itemgetter(1))):
            places = list(same)
            for batch, fold in self._parts:
                self._charged += [_Charged(batch, charge) for charge in fold.charges(places)]
            if number % SLICE == 0:
                await asyncio.sleep(0)
        if self._charged:
            self._columns = columns_of_keys([key_of(each.charge.window) for each in self._charged])

    async def write(self, connection: Connection, *, windows_made: int) -> None:
        """Count in the windows. ledger_head is locked, and says how many windows were ever made."""
        if windows_made != self._windows_made:
            await self._gather()
            await self.look(connection)
            await self.charge()
        if not self._charged:
            return
        await connection.execute(self._queries["lock_counted_budget_windows"], *self._columns)
        leases_within = await connection.fetch(
            self._queries["count_in_budget_windows"],
            *self._columns,
            *columns_of_keys([(each.batch.producer_id,) for each in self._charged]),
            array_of_numbers([each.charge.cost_nano_usd for each in self._charged]),
            array_of_numbers([each.batch.first_seq for each in self._charged]),
            array_of_numbers([each.batch.last_seq for each in self._charged]),
            array_of_numbers(range(len(self._charged))),
        )
        if leases_within:
            await self._pay_in_part(connection, leases_within)

    async def _gather(self) -> None:
        self._parts = []
        for batch in self._batches:
            fold = BudgetFold()
            for start in range(0, len(batch.events), SLICE):
                end = start + SLICE
                fold.add(batch.numbers[start:end], batch.events[start:end])
                await asyncio.sleep(0)
            self._parts.append(_Part(batch, fold))

    async def _pay_in_part(self, connection: Connection, leases: Sequence[asyncpg.Record]) -> None:
        """Let leases that were first given in the middle of a batch pay for the events behind that."""
        of_producer: dict[str, list[tuple[Window, int]]] = {}
        for lease in leases:
            batch, charge = self._charged[lease["place"]]
            paid = settled(lease["amount_nano_usd"], charge.above(lease["since_seq"]))
            of_producer.setdefault(batch.producer_id, []).append((charge.window, paid))
        for producer_id, payments in of_producer.items():
            await connection.execute(
                self._queries["shrink_budget_leases"],
                *columns_of_windows([window for window, _ in payments]),
                producer_id,
                [paid for _, paid in payments],
                [False] * len(payments),
            )
