"""What a BudgetStore shows of a ledger in memory: its sums, its open windows, and which alerts were claimed."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tallystick.access.budget_store import WindowSum
from tallystick.ledger.budget_scopes import scopes_of


class LedgerBudgets:
    """Of `BudgetStore`, what reports and alerts ask. Windows are open when a test leases from them."""

    def __init__(self, ledger, *, clock):
        self.ledger = ledger
        self.clock = clock
        self.open = {}
        self.reads = 0

    def lease(self, window, *, limit, leased=0, carried=0, entity_ids=()):
        self.open[window] = (limit, leased, carried, entity_ids)

    async def sums(self, windows):
        self.reads += 1
        return tuple(self._sum(window, ids) for window, ids in windows)

    async def open_windows(self, *, after, limit):
        self.reads += 1
        now = self.clock.now()
        held = sorted(each for each in self.open if each.ends_at > now and (after is None or each > after))
        return tuple(self._sum(each, self.open[each][3]) for each in held[:limit])

    async def claim_alert(self, window, *, level):
        raise NotImplementedError

    def _sum(self, window, entity_ids):
        scope = window.scope
        keys = {(scope.type, each, scope.member_id) for each in (scope.id, *entity_ids)}
        spent = sum(
            committed.event.cost_nano_usd
            for committed in self.ledger.books.events
            if window.starts_at <= committed.event.started_at < window.ends_at
            and scope.model in ("", committed.event.model_group)
            and not keys.isdisjoint(scopes_of(committed.event))
        )
        limit, leased, carried, _ = self.open.get(window, (None, 0, 0, ()))
        shown = WindowSum(window=window, spent_nano_usd=spent, carried_nano_usd=carried, leased_nano_usd=leased)
        return msgspec.structs.replace(shown, limit_nano_usd=limit)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
