"""All accounts of this instance: found by window when a call is admitted, and by scope when an event is settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from tallystick.access.leasing.account import Account
from tallystick.access.scopes import Window

ScopeKey = tuple[str, str, str]
"""Scope type, id and member id, as an event names them (`ledger.budget_scopes`)."""


class Accounts:
    """A registry. It holds the accounts in use; those that nobody needs any more are dropped."""

    def __init__(self) -> None:
        self._by_window: dict[Window, Account] = {}
        self._by_scope: dict[ScopeKey, list[Account]] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(tuple(self._by_window.values()))

    def __len__(self) -> int:
        return len(self._by_window)

    def find(self, window: Window) -> Account | None:
        return self._by_window.get(window)

    def open(self, window: Window, *, since_seq: int, entity_ids: tuple[str, ...], now: float) -> Account:
        """Return the account of a window, made when there is none.

        An id that is new to it has to become known to the store, so what it has leased counts only after it asked.
        """
        account = self._by_window.get(window)
        if account is None:
            account = Account(window, since_seq=since_seq, entity_ids=frozenset(entity_ids), now=now)
            self._by_window[window] = account
            for scope_id in (window.scope.id, *account.entity_ids):
                self._register(account, scope_id)
        elif not account.entity_ids.issuperset(entity_ids):
            for scope_id in set(entity_ids) - account.entity_ids:
                self._register(account, scope_id)
            account.entity_ids |= frozenset(entity_ids)
            account.trusted_until = 0.0
        return account

    def settle(
        self,
        scopes: Iterable[ScopeKey],
        *,
        model_group: str,
        started_at: datetime,
        seq: int,
        cost_nano_usd: int,
        now: float,
    ) -> None:
        """Count an event in every account that it belongs to, whether its call held money there or not."""
        by_scope = self._by_scope
        for scope in scopes:
            for account in by_scope.get(scope, ()):
                window = account.window
                if window.scope.model in ("", model_group) and window.starts_at <= started_at < window.ends_at:
                    account.settle(seq, cost_nano_usd, now)

    def drop(self, account: Account) -> None:
        """Forget an account that is not used."""
        assert account.is_unused
        account.is_closed = True
        del self._by_window[account.window]
        for scope_id in (account.window.scope.id, *account.entity_ids):
            key = (account.window.scope.type, scope_id, account.window.scope.member_id)
            held = self._by_scope[key]
            held.remove(account)
            if not held:
                del self._by_scope[key]

    def _register(self, account: Account, scope_id: str) -> None:
        scope = account.window.scope
        self._by_scope.setdefault((scope.type, scope_id, scope.member_id), []).append(account)
