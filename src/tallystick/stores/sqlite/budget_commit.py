"""What a commit does to budgets: it adds to windows what its events cost, and takes that off its producer's leases."""

from __future__ import annotations

from typing import NamedTuple

import apsw
import msgspec

from tallystick.access.scopes import Window
from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_fold import BudgetFold, Charge, settled
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.budget_rows import key_of, window_of
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch

_SQL = load_queries("tallystick.stores.sqlite")
_SCOPE_WIDTH = 3


class Charges(NamedTuple):
    """What a batch adds to the windows that there were when so many windows and aliases had been made."""

    windows_made: int
    charges: list[Charge[Window]]


def charges_of(connection: apsw.Connection, batch: Batch) -> Charges:
    """Work out what a batch adds to windows. It stays true until further windows or aliases are made."""
    # Read before the windows: one that is made meanwhile makes the number another.
    ((windows_made,),) = fetch(connection, _SQL["budget_windows_made"])
    folded = BudgetFold(batch) if windows_made and batch.events else None
    if folded is None or folded.first_time is None or folded.last_time is None:
        return Charges(windows_made, [])
    rows = fetch(
        connection,
        _SQL["budget_places"],
        {
            "scopes": msgspec.json.encode(folded.scopes).decode(),
            "first_time": microseconds(folded.first_time),
            "last_time": microseconds(folded.last_time),
        },
    )
    places = ((row[:_SCOPE_WIDTH], window_of(row[_SCOPE_WIDTH:])) for row in rows)
    return Charges(windows_made, folded.charges(places))


def charge(connection: apsw.Connection, batch: Batch, charges: Charges) -> None:
    """Charge the windows. The transaction holds the write lock, and no further window was made."""
    for each in charges.charges:
        key = key_of(each.window)
        leases = fetch(connection, _SQL["budget_lease"], (*key, batch.producer_id))
        paid = 0
        for amount, since_seq, _ in leases:
            paid = settled(amount, each.above(since_seq))
            connection.execute(_SQL["shrink_budget_lease"], (*key, batch.producer_id, paid, batch.last_seq))
        if each.cost_nano_usd or paid:
            connection.execute(_SQL["charge_budget_window"], (*key, each.cost_nano_usd, paid))
