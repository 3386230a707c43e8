"""What the store in memory holds of budgets. A plain model: each window looks at every event, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tallystick.access.scopes import Window
from tallystick.ledger.budget_scopes import scopes_of
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import CommittedEvent, Difference


@dataclass(slots=True)
class WindowRow:
    """What is known of a window."""

    spent_nano_usd: int = 0
    carried_nano_usd: int = 0
    leased_nano_usd: int = 0
    limit_nano_usd: int | None = None
    wanted_until: datetime | None = None
    wanted_by: str = ""
    """Who wants; '' when several do."""
    alerted_level: int = 0
    leased_at: datetime | None = None
    """When it was made or last leased from."""


@dataclass(slots=True)
class LeaseRow:
    """What a holder has of a window."""

    amount_nano_usd: int
    since_seq: int
    settled_seq: int
    expires_at: datetime
    is_noticed: bool = False
    """It was found past its time once, and has got some more."""


@dataclass(slots=True)
class BudgetBooks:
    """The tables of budgets."""

    windows: dict[Window, WindowRow] = field(default_factory=dict)
    leases: dict[tuple[Window, str], LeaseRow] = field(default_factory=dict)
    """By window and holder."""
    aliases: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """By type and id of a scope: under which further ids events count."""

    def ids_of(self, window: Window) -> set[str]:
        """Return the ids under which events count in a window."""
        scope = window.scope
        return {scope.id} | self.aliases.get((scope.type, scope.id), set())

    def count(self, producer_id: str, committed: Sequence[CommittedEvent]) -> None:
        """Add the events of a commit to the windows that they lie in; the producer's leases pay what they can."""
        for window, row in self.windows.items():
            mine = [each for each in committed if counts_in(each.event, window, self.ids_of(window))]
            row.spent_nano_usd += sum(each.event.cost_nano_usd for each in mine)
            lease = self.leases.get((window, producer_id))
            if lease is not None and mine:
                lease.settled_seq = max(lease.settled_seq, mine[-1].seq)
                cost = sum(each.event.cost_nano_usd for each in mine if each.seq > lease.since_seq)
                paid = max(0, min(lease.amount_nano_usd, cost))
                lease.amount_nano_usd -= paid
                row.leased_nano_usd -= paid

    def delete_leases(self, keys: Iterable[tuple[Window, str]]) -> int:
        """Give back these leases; return how many there were."""
        deleted = 0
        for key in list(keys):
            lease = self.leases.pop(key)
            self.windows[key[0]].leased_nano_usd -= lease.amount_nano_usd
            deleted += 1
        return deleted

    def differences(self, events: Iterable[CommittedEvent]) -> Iterator[Difference]:
        """Yield what does not follow from the events and the leases."""
        held = [committed.event for committed in events]
        for window, row in self.windows.items():
            spent = spent_in(held, window, self.ids_of(window))
            for column, found, expected in (
                ("spent_nano_usd", row.spent_nano_usd, spent),
                ("leased_nano_usd", row.leased_nano_usd, self._leased(window)),
            ):
                if found != expected:
                    yield Difference(
                        table="budget_windows", row=_label(window), column=column, found=found, expected=expected
                    )
        for window, holder in self.leases:
            if window not in self.windows:
                yield Difference(
                    table="budget_leases", row=f"{_label(window)} {holder}", column="window", found=0, expected=1
                )

    def repair(self, events: Iterable[CommittedEvent]) -> int:
        """Rebuild what was spent and what is leased; return how many rows were wrong."""
        held = [committed.event for committed in events]
        orphans = [key for key in self.leases if key[0] not in self.windows]
        for key in orphans:
            del self.leases[key]
        changed = len(orphans)
        for window, row in self.windows.items():
            expected = (spent_in(held, window, self.ids_of(window)), self._leased(window))
            changed += (row.spent_nano_usd, row.leased_nano_usd) != expected
            row.spent_nano_usd, row.leased_nano_usd = expected
        return changed

    def _leased(self, window: Window) -> int:
        return sum(lease.amount_nano_usd for (leased, _), lease in self.leases.items() if leased == window)


def counts_in(event: SpendEvent, window: Window, ids: Iterable[str]) -> bool:
    """Whether an event counts in a window whose scope has these ids."""
    scope = window.scope
    named = {(scope.type, each, scope.member_id) for each in ids}
    return (
        not named.isdisjoint(scopes_of(event))
        and scope.model in {"", event.model_group}
        and window.starts_at <= event.started_at < window.ends_at
    )


def spent_in(events: Iterable[SpendEvent], window: Window, ids: Iterable[str]) -> int:
    """Return what these events add up to in a window."""
    return sum(event.cost_nano_usd for event in events if counts_in(event, window, ids))


def _label(window: Window) -> str:
    return " ".join((*window.scope, window.starts_at.isoformat(), window.ends_at.isoformat()))
