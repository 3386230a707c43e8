"""Windows of budgets in a commit: what its events cost in them, and what its producer's leases pay of that.

Windows are looked for before ledger_head is locked, when nobody waits, and what they grow by is computed while the
database works. That holds if nobody has made a window since, which the head itself tells. Then the windows are locked,
in key order as by everybody, and written.
"""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.access.scopes import Window
from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_fold import BudgetFold, Charge, settled
from tallystick.ledger.budget_scopes import ScopeKey
from tallystick.stores.postgres.budget_rows import columns_of_windows, window_of
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.encoding import columns_of_keys

Place = tuple[ScopeKey, Window]


class BudgetCommit:
    """What one batch does to windows of budgets."""

    def __init__(self, batch: Batch, *, queries: Mapping[str, str], windows_made: int) -> None:
        self._batch = batch
        self._queries = queries
        self._windows_made = windows_made
        self._fold: BudgetFold | None = None
        self._places: list[Place] = []
        self._charges: list[Charge[Window]] = []

    async def prepare(self, connection: Connection) -> None:
        """Find the windows and compute what they grow by, if there are any at all."""
        if self._windows_made:
            await self.gather()
            await self.look(connection)
            await self.charge()

    async def gather(self) -> None:
        """Find the scopes of the events."""
        self._fold = BudgetFold(self._batch)

    async def look(self, connection: Connection) -> None:
        """Find the windows in which the events count."""
        fold = self._fold
        assert fold is not None, "gathered"
        if fold.first_time is None:
            return
        rows = await connection.fetch(
            self._queries["budget_windows_of_scopes"], *columns_of_keys(fold.scopes), fold.first_time, fold.last_time
        )
        self._places = [((row["scope_type"], row["entity_id"], row["member_id"]), window_of(row)) for row in rows]

    async def charge(self) -> None:
        """Compute what the windows grow by."""
        assert self._fold is not None, "gathered"
        self._charges = self._fold.charges(self._places)

    async def write(self, connection: Connection, *, windows_made: int) -> None:
        """Count in the windows. ledger_head is locked and says how many windows were ever made."""
        if windows_made == 0:
            return
        if windows_made != self._windows_made:
            await self.gather()
            await self.look(connection)
            await self.charge()
        if not self._charges:
            return
        columns = columns_of_windows([charge.window for charge in self._charges])
        is_leased = await connection.fetchval(self._queries["lock_counted_budget_windows"], *columns)
        paid = [0] * len(self._charges)
        if is_leased:
            holder = self._batch.producer_id
            rows = await connection.fetch(self._queries["leases_of_counted_budget_windows"], *columns, holder)
            for row in rows:
                place = row["place"] - 1
                paid[place] = settled(row["amount_nano_usd"], self._charges[place].above(row["since_seq"]))
        await connection.execute(
            self._queries["count_in_budget_windows"],
            *columns,
            self._batch.producer_id,
            [charge.cost_nano_usd for charge in self._charges],
            paid,
            self._batch.last_seq,
        )
