"""Make windows of budgets, and aliases, exact although commits go on.

Every commit takes the lock on ledger_head before it counts in windows. Whoever makes a window holds the same lock: the
commits before are complete and are in the sum that it begins with; those behind see, by the number of windows ever
made, that they have to look again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.access.budget_store import LeaseRequest, WindowSum
from tallystick.access.grants import carried_of
from tallystick.access.scopes import Scope, Window
from tallystick.stores.postgres.budget_rows import Alias, columns_of_aliases, columns_of_windows, sum_of, window_of
from tallystick.stores.postgres.budget_sums import spent_in
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase


class BudgetMaker:
    """Makes what is not there yet, in a transaction of its own."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def make(self, requests: Sequence[LeaseRequest]) -> None:
        """Make those windows and aliases of the requests that are missing."""
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["lock_ledger_head"])
            made = await self._make_aliases(connection, requests)
            made += await self._make_windows(connection, requests)
            if made:
                await connection.execute(self._queries["count_budget_windows"], made)

    async def sums(self, windows: Sequence[tuple[Window, tuple[str, ...]]]) -> tuple[WindowSum, ...]:
        """Return what stands in each window, in one snapshot; what is missing is summed from the events, not made."""
        asked = [window for window, _ in windows]
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            rows = await connection.fetch(self._queries["read_budget_windows"], *columns_of_windows(asked))
            held = {row["place"] - 1: row for row in rows}
            counted = await self._ids_of(connection, [window.scope for window in asked])
            sums = []
            for place, (window, entity_ids) in enumerate(windows):
                row, ids = held.get(place), counted[window.scope]
                uncounted = [each for each in dict.fromkeys(entity_ids) if each not in ids]
                if row is None:
                    spent = await spent_in(connection, self._queries, window, [*ids, *uncounted])
                    sums.append(WindowSum(window=window, spent_nano_usd=spent))
                else:
                    more = await spent_in(connection, self._queries, window, uncounted) if uncounted else 0
                    sums.append(sum_of(row, window, uncounted_nano_usd=more))
        return tuple(sums)

    async def _make_aliases(self, connection: Connection, requests: Sequence[LeaseRequest]) -> int:
        """Let the events of further ids count in their scopes, also the past ones in windows that are there."""
        aliases = aliases_of(requests)
        if not aliases:
            return 0
        missing = await connection.fetch(self._queries["missing_budget_aliases"], *columns_of_aliases(aliases))
        for row in missing:
            alias = aliases[row["place"] - 1]
            await connection.execute(self._queries["add_budget_alias"], *alias)
            held = await connection.fetch(
                self._queries["lock_budget_windows_of_scope"], alias.scope_type, alias.scope_id
            )
            windows = [window_of(window) for window in held]
            costs = [await spent_in(connection, self._queries, window, [alias.entity_id]) for window in windows]
            await connection.execute(self._queries["add_to_budget_windows"], *columns_of_windows(windows), costs)
        return len(missing)

    async def _make_windows(self, connection: Connection, requests: Sequence[LeaseRequest]) -> int:
        columns = columns_of_windows([request.window for request in requests])
        rows = await connection.fetch(self._queries["missing_budget_windows"], *columns)
        if not rows:
            return 0
        missing = [requests[row["place"] - 1] for row in rows]
        ids = await self._ids_of(connection, [request.window.scope for request in missing])
        spent = [await spent_in(connection, self._queries, each.window, ids[each.window.scope]) for each in missing]
        carried = [await self._carried(connection, each, ids[each.window.scope]) for each in missing]
        windows = columns_of_windows([request.window for request in missing])
        await connection.execute(self._queries["add_budget_windows"], *windows, spent, carried)
        return len(missing)

    async def _ids_of(self, connection: Connection, scopes: Sequence[Scope]) -> dict[Scope, list[str]]:
        """Return under which ids events count in each scope."""
        rows = await connection.fetch(
            self._queries["budget_aliases_of_scopes"],
            [scope.type for scope in scopes],
            [scope.id for scope in scopes],
        )
        return {
            scope: [scope.id, *(row["entity_id"] for row in rows if (row["scope_type"], row["scope_id"]) == scope[:2])]
            for scope in scopes
        }

    async def _carried(self, connection: Connection, request: LeaseRequest, ids: Sequence[str]) -> int:
        """Return what was spent above the limit in the window before."""
        if request.previous is None:
            return 0
        row = await connection.fetchrow(self._queries["read_budget_windows"], *columns_of_windows([request.previous]))
        if row is not None:
            spent = int(row["spent_nano_usd"] + row["carried_nano_usd"])
        else:
            spent = await spent_in(connection, self._queries, request.previous, ids)
        return carried_of(request, spent)


def aliases_of(requests: Sequence[LeaseRequest]) -> list[Alias]:
    """Return the aliases that requests need, in the order in which their windows are locked."""
    aliases = {
        Alias(scope_type=request.window.scope.type, scope_id=request.window.scope.id, entity_id=entity_id)
        for request in requests
        for entity_id in request.entity_ids
        if entity_id != request.window.scope.id
    }
    return sorted(aliases)
