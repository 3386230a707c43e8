"""What a batch adds to budget windows, and what it takes off the leases of its producer. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_scopes import ScopeKey, scopes_of
from tallystick.ledger.event import SpendEvent

# Scope (type, id, member id, model), start and end, as `access.scopes.Window` has them.
WindowKey = tuple[tuple[str, str, str, str], datetime, datetime]
WindowT = TypeVar("WindowT", bound=WindowKey)
# Number, start, cost and model group of an event. A plain tuple: this is the innermost loop of a commit.
_Cost = tuple[int, datetime, int, str]


def settled(amount_nano_usd: int, cost_nano_usd: int) -> int:
    """Return what a cost takes off a lease: at most all of it, and a correction that lowers spend gives nothing."""
    return max(0, min(amount_nano_usd, cost_nano_usd))


class Charge(Generic[WindowT]):
    """What the events of one batch cost in one window."""

    __slots__ = ("_costs", "cost_nano_usd", "window")

    def __init__(self, window: WindowT, costs: list[_Cost]) -> None:
        self.window = window
        self.cost_nano_usd = sum(cost for _, _, cost, _ in costs)
        self._costs = costs

    def above(self, since_seq: int) -> int:
        """Return what the events with higher numbers than `since_seq` cost: what a lease pays that began there."""
        if self._costs[0][0] > since_seq:
            return self.cost_nano_usd
        return sum(cost for seq, _, cost, _ in self._costs if seq > since_seq)


class BudgetFold:
    """The costs of a batch, gathered by the scopes in which they count. It may be fed in slices, in ascending order."""

    def __init__(self, batch: Batch | None = None) -> None:
        self._costs_of: dict[ScopeKey, list[_Cost]] = {}
        self.first_time: datetime | None = None
        """When the first of the events began; None when there are none."""
        self.last_time: datetime | None = None
        """When the last of the events began."""
        if batch is not None:
            self.add(batch.numbers, batch.events)

    def add(self, numbers: Sequence[int], events: Sequence[SpendEvent]) -> None:
        """Count some more events, whose numbers are higher than those before."""
        if not events:
            return
        costs_of = self._costs_of
        for seq, event in zip(numbers, events, strict=True):
            cost = (seq, event.started_at, event.cost_nano_usd, event.model_group)
            for scope in scopes_of(event):
                costs = costs_of.get(scope)
                if costs is None:
                    costs_of[scope] = [cost]
                else:
                    costs.append(cost)
        times = [event.started_at for event in events]
        self.first_time = min(times) if self.first_time is None else min(self.first_time, *times)
        self.last_time = max(times) if self.last_time is None else max(self.last_time, *times)

    @property
    def scopes(self) -> list[ScopeKey]:
        """The scopes in which the events count, in order: whose windows, and aliases, are to be looked for."""
        return sorted(self._costs_of)

    def charges(self, places: Iterable[tuple[ScopeKey, WindowT]]) -> list[Charge[WindowT]]:
        """Return the charge of each window in which at least one event counts, in the order of windows.

        A place is a scope of the events and a window in which they count by it: one of this scope, or of one for
        which the scope's id is an alias. An event counts once in a window, by however many places. Windows of other
        models or times may be among them.
        """
        scopes_of_window: dict[WindowT, list[ScopeKey]] = {}
        for scope, window in places:
            scopes_of_window.setdefault(window, []).append(scope)
        charges = []
        for window in sorted(scopes_of_window):
            costs = self._within(window, self._costs_under(scopes_of_window[window]))
            if costs:
                charges.append(Charge(window, costs))
        return charges

    def _costs_under(self, scopes: Sequence[ScopeKey]) -> list[_Cost]:
        """Return the costs of events that count in any of these scopes, each once, in ascending order."""
        if len(scopes) == 1:
            return self._costs_of.get(scopes[0], [])
        return sorted({cost[0]: cost for scope in scopes for cost in self._costs_of.get(scope, ())}.values())

    def _within(self, window: WindowT, costs: list[_Cost]) -> list[_Cost]:
        """Return those of the costs that are of the window's model and times."""
        (_, _, _, model), starts_at, ends_at = window
        if model:
            costs = [cost for cost in costs if cost[3] == model]
        if not costs or self._lies_within(starts_at, ends_at):
            return costs
        return [cost for cost in costs if starts_at <= cost[1] < ends_at]

    def _lies_within(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether all events began in these times, as they mostly did."""
        assert self.first_time is not None, "there are events"
        assert self.last_time is not None, "there are events"
        return starts_at <= self.first_time and self.last_time < ends_at
