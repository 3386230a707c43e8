"""From budgets to what bounds a call now: their current windows, the limits in force there, and the accounts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from tallystick.access.leasing.account import Account
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.access.scopes import LIFETIME_END, Budget, Window
from tallystick.access.windows import WindowRule

NO_LIMIT: Final = 2**62
"""The limit of a budget that only warns."""
_RESOLVED_MAX: Final = 100_000
_MOMENT: Final = timedelta(microseconds=1)


class Bound(NamedTuple):
    """A budget's current window, as it bounds a call."""

    account: Account
    limit: int
    """In force now, corrections taken off."""
    budget: Budget
    previous: Window | None
    previous_limit: int | None = None
    """Of the window before, at its end, what was corrected in it taken off."""


class AccountOpener(Protocol):
    """Where accounts are: the keeper of leases."""

    def open(self, window: Window, entity_ids: tuple[str, ...]) -> Account: ...

    def watch(self, bound: Bound) -> None:
        """Learn now and then what stands in the window of a budget that denies nothing."""


class _Resolved(NamedTuple):
    """What some budgets come to for as long as their windows last."""

    source: object
    starts_at: datetime
    until: datetime
    bounds: tuple[Bound, ...]
    """Those that deny."""
    watched: tuple[Bound, ...]
    """Those that only warn."""

    def holds_at(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.until and not any(
            bound.account.is_closed for bound in (*self.bounds, *self.watched)
        )


class Bounds:
    """Resolves budgets. What it found for budgets that are the same objects is kept until one of their windows ends."""

    def __init__(self, accounts: AccountOpener, windows: WindowRule) -> None:
        self._accounts = accounts
        self._windows = windows
        self._resolved: OrderedDict[tuple[int, str], _Resolved] = OrderedDict()

    def of_limits(self, scoped: Sequence[ScopedLimits], *, model_group: str, moment: datetime) -> list[Bound]:
        """Return the budgets that may deny a call of this model at this moment."""
        bounds: list[Bound] = []
        for each in scoped:
            if each.budgets:
                bounds += self._resolve(each, each.budgets, "", moment)
            if each.model_budgets and model_group in each.model_budgets:
                bounds += self._resolve(each, each.model_budgets[model_group], model_group, moment)
        return bounds

    def of_budgets(self, budgets: tuple[Budget, ...], *, moment: datetime) -> tuple[Bound, ...]:
        """Return budgets that stand for themselves, such as a provider's."""
        return self._resolve(budgets, budgets, "", moment) if budgets else ()

    def reopened(self, bounds: Sequence[Bound]) -> Sequence[Bound]:
        """Return the same bounds with accounts that are in use: a call that waited may hold one that was dropped."""
        if not any(bound.account.is_closed for bound in bounds):
            return bounds
        return [
            bound._replace(account=self._accounts.open(bound.account.window, bound.budget.entity_ids))
            for bound in bounds
        ]

    def _resolve(self, source: object, budgets: Sequence[Budget], model: str, moment: datetime) -> tuple[Bound, ...]:
        key = (id(source), model)
        found = self._resolved.get(key)
        if found is None or found.source is not source or not found.holds_at(moment):
            found = self._resolve_anew(source, budgets, moment)
            self._resolved[key] = found
            if len(self._resolved) > _RESOLVED_MAX:
                self._resolved.popitem(last=False)
        self._resolved.move_to_end(key)
        for bound in found.watched:
            self._accounts.watch(bound)
        return found.bounds

    def _resolve_anew(self, source: object, budgets: Sequence[Budget], moment: datetime) -> _Resolved:
        by_window: dict[Window, Bound] = {}
        starts_at, until = datetime.min.replace(tzinfo=moment.tzinfo), LIFETIME_END
        for budget in budgets:
            window = self._windows.window_of(budget.scope, budget.duration, moment)
            starts_at, until = max(starts_at, window.starts_at), min(until, window.ends_at)
            if budget.increase_until is not None and budget.increase_until > moment:
                until = min(until, budget.increase_until)
            bound = self._bound_of(budget, window, moment)
            least = by_window.get(window)
            if least is None or bound.limit < least.limit:
                by_window[window] = bound
                bound.account.budget = budget
        ordered = [by_window[window] for window in sorted(by_window)]
        return _Resolved(
            source=source,
            starts_at=starts_at,
            until=until,
            bounds=tuple(bound for bound in ordered if bound.limit != NO_LIMIT),
            watched=tuple(bound for bound in ordered if bound.limit == NO_LIMIT),
        )

    def _bound_of(self, budget: Budget, window: Window, moment: datetime) -> Bound:
        previous = self._windows.previous(window, budget.duration) if budget.rolls_over else None
        return Bound(
            account=self._accounts.open(window, budget.entity_ids),
            limit=_limit_in(budget, window, moment),
            budget=budget,
            previous=previous,
            previous_limit=None if previous is None else _limit_in(budget, previous, previous.ends_at - _MOMENT),
        )


def _limit_in(budget: Budget, window: Window, moment: datetime) -> int:
    """Return the limit in force at a moment of a window, what was corrected in it taken off."""
    limit = budget.limit_at(moment)
    return NO_LIMIT if limit is None else limit - budget.correction_of(window)
