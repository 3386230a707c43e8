"""Windows of budgets in a commit: what its events cost in them, and what its producer's leases pay of that.

Windows are looked for before ledger_head is locked, when nobody waits, and what they grow by is computed while the
database works. That holds if nobody has made a window since, which the head itself tells. Then the windows are locked,
in key order as by everybody, and written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import asyncpg

from tallystick.access.scopes import Window
from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_fold import BudgetFold, Charge, settled
from tallystick.ledger.budget_scopes import ScopeKey
from tallystick.stores.postgres.budget_rows import columns_of_windows, key_of, window_of
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.encoding import SLICE, array_of_numbers, columns_of_keys


class BudgetCommit:
    """What one batch does to windows of budgets."""

    def __init__(self, batch: Batch, *, queries: Mapping[str, str], windows_made: int) -> None:
        self._batch = batch
        self._queries = queries
        self._windows_made = windows_made
        self._fold = BudgetFold()
        self._places: list[tuple[ScopeKey, Window]] = []
        self._charges: list[Charge[Window]] = []
        self._columns: list[str] = []

    async def gather(self) -> None:
        """Find in which scopes the events count, if there are any windows."""
        if self._windows_made:
            await self._gather()

    async def look(self, connection: Connection) -> None:
        """Find the windows of these scopes, in their order."""
        fold = self._fold
        if fold.first_time is not None:
            rows = await connection.fetch(
                self._queries["budget_windows_of_scopes"],
                *columns_of_keys(fold.scopes),
                fold.first_time,
                fold.last_time,
            )
            self._places = [((row["scope_type"], row["entity_id"], row["member_id"]), window_of(row)) for row in rows]

    async def charge(self) -> None:
        """Compute what the windows grow by."""
        self._charges = []
        for number, (_, places) in enumerate(groupby(self._places, key=itemgetter(1))):
            self._charges += self._fold.charges(places)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        if self._charges:
            self._columns = columns_of_keys([key_of(charge.window) for charge in self._charges])

    async def write(self, connection: Connection, *, windows_made: int) -> None:
        """Count in the windows. ledger_head is locked, and says how many windows were ever made."""
        if windows_made != self._windows_made:
            await self._gather()
            await self.look(connection)
            await self.charge()
        if not self._charges:
            return
        await connection.execute(self._queries["lock_counted_budget_windows"], *self._columns)
        leases_within = await connection.fetch(
            self._queries["count_in_budget_windows"],
            *self._columns,
            self._batch.producer_id,
            array_of_numbers([charge.cost_nano_usd for charge in self._charges]),
            self._batch.first_seq,
            self._batch.last_seq,
            array_of_numbers(range(len(self._charges))),
        )
        if leases_within:
            await self._pay_in_part(connection, leases_within)

    async def _gather(self) -> None:
        batch = self._batch
        self._fold = BudgetFold()
        for start in range(0, len(batch.events), SLICE):
            end = start + SLICE
            self._fold.add(batch.numbers[start:end], batch.events[start:end])
            await asyncio.sleep(0)

    async def _pay_in_part(self, connection: Connection, leases: Sequence[asyncpg.Record]) -> None:
        """Let leases that were first given in the middle of the batch pay for the events behind that."""
        charges = [self._charges[lease["place"]] for lease in leases]
        paid = [
            settled(lease["amount_nano_usd"], charge.above(lease["since_seq"]))
            for lease, charge in zip(leases, charges, strict=True)
        ]
        await connection.execute(
            self._queries["shrink_budget_leases"],
            *columns_of_windows([charge.window for charge in charges]),
            self._batch.producer_id,
            paid,
            [False] * len(paid),
        )
