"""What a batch adds to budget windows, and what it takes off the leases of its producer. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Generic, TypeVar

from tallystick.ledger.batch import Batch
from tallystick.ledger.budget_scopes import ScopeKey, scopes_of
from tallystick.ledger.event import SpendEvent

# Scope (type, id, member id, model), start and end, as `access.scopes.Window` has them.
WindowKey = tuple[tuple[str, str, str, str], datetime, datetime]
WindowT = TypeVar("WindowT", bound=WindowKey)


def settled(amount_nano_usd: int, cost_nano_usd: int) -> int:
    """Return what a cost takes off a lease: at most all of it, and a correction that lowers spend gives nothing."""
    return max(0, min(amount_nano_usd, cost_nano_usd))


class Charge(Generic[WindowT]):
    """What the events of one batch cost in one window."""

    __slots__ = ("_runs", "cost_nano_usd", "window")

    def __init__(self, window: WindowT) -> None:
        self.window = window
        self.cost_nano_usd = 0
        self._runs: list[_Run] = []

    def above(self, since_seq: int) -> int:
        """Return what the events with higher numbers than `since_seq` cost: what a lease pays that began there."""
        if all(run.first_seq > since_seq for run in self._runs):
            return self.cost_nano_usd
        _, starts_at, ends_at = self.window
        return sum(run.cost_within(starts_at, ends_at, since_seq=since_seq) for run in self._runs)

    def add(self, run: _Run) -> None:
        """Count those of the events that lie in the window."""
        _, starts_at, ends_at = self.window
        if run.first_time >= ends_at or run.last_time < starts_at:
            return
        if starts_at <= run.first_time and run.last_time < ends_at:
            cost = run.cost_nano_usd
        elif run.meets(starts_at, ends_at):
            cost = run.cost_within(starts_at, ends_at, since_seq=-1)
        else:
            return
        self.cost_nano_usd += cost
        self._runs.append(run)

    def __bool__(self) -> bool:
        """Whether any event counts."""
        return bool(self._runs)


class BudgetFold:
    """The events of a batch, gathered by all that decides in which windows they count, but for their times."""

    def __init__(self, batch: Batch) -> None:
        runs: dict[tuple[object, ...], _Run] = {}
        for seq, event in zip(batch.numbers, batch.events, strict=True):
            key = (
                event.key_hash,
                event.session_id,
                event.user_id,
                event.team_id,
                event.organization_id,
                event.provider,
                event.end_user_id,
                event.tags,
                event.model_group,
            )
            run = runs.get(key)
            if run is None:
                run = runs[key] = _Run(event, seq)
            run.add(event, seq)
        self._runs = tuple(runs.values())
        self._scopes = [tuple(scopes_of(run.event)) for run in self._runs]

    @property
    def scopes(self) -> list[ScopeKey]:
        """The scopes in which the events count, in order: whose windows, and aliases, are to be looked for."""
        return sorted({scope for scopes in self._scopes for scope in scopes})

    @property
    def first_time(self) -> datetime | None:
        """When the first of the events began; None when there are none."""
        return min((run.first_time for run in self._runs), default=None)

    @property
    def last_time(self) -> datetime | None:
        """When the last of the events began."""
        return max((run.last_time for run in self._runs), default=None)

    def charges(self, places: Iterable[tuple[ScopeKey, WindowT]]) -> list[Charge[WindowT]]:
        """Return the charge of each window in which at least one event counts, in the order of windows.

        A place is a scope of the events and a window in which they count by it: one of this scope, or of one for
        which the scope's id is an alias. An event counts once in a window, by however many places. Windows of other
        models or times may be among them.
        """
        windows_of: dict[ScopeKey, list[WindowT]] = {}
        for scope, window in places:
            windows_of.setdefault(scope, []).append(window)
        charges: dict[WindowT, Charge[WindowT]] = {}
        for run, scopes in zip(self._runs, self._scopes, strict=True):
            models = {"", run.event.model_group}
            for window in dict.fromkeys(window for scope in scopes for window in windows_of.get(scope, ())):
                if window[0][3] in models:
                    if window not in charges:
                        charges[window] = Charge(window)
                    charges[window].add(run)
        return [charges[window] for window in sorted(charges) if charges[window]]


class _Run:
    """Events that count in the same windows, but for their times."""

    __slots__ = ("cost_nano_usd", "event", "first_seq", "first_time", "last_time", "numbered")

    def __init__(self, event: SpendEvent, seq: int) -> None:
        self.event = event
        """One of them, for what all of them have."""
        self.first_seq = seq
        self.first_time = self.last_time = event.started_at
        self.cost_nano_usd = 0
        self.numbered: list[tuple[int, datetime, int]] = []

    def add(self, event: SpendEvent, seq: int) -> None:
        """Add the next one; numbers ascend."""
        moment = event.started_at
        if moment < self.first_time:
            self.first_time = moment
        elif moment > self.last_time:
            self.last_time = moment
        self.cost_nano_usd += event.cost_nano_usd
        self.numbered.append((seq, moment, event.cost_nano_usd))

    def meets(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether any of them lies in these times."""
        return any(starts_at <= moment < ends_at for _, moment, _ in self.numbered)

    def cost_within(self, starts_at: datetime, ends_at: datetime, *, since_seq: int) -> int:
        """Return what those cost that lie in these times and have higher numbers."""
        return sum(cost for seq, moment, cost in self.numbered if seq > since_seq and starts_at <= moment < ends_at)
