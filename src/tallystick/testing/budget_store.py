"""Budgets in plain Python, for tests: the same promises as the databases, on the books of a MemoryStore."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from tallystick.access.budget_store import LeaseReply, LeaseRequest, LeaseState, WindowSum
from tallystick.access.grants import WANTED_SECONDS, Room, carried_of, grants_of, notice_seconds, short_of
from tallystick.access.scopes import INVENTED_TYPES, LIFETIME_END, LIFETIME_START, Window
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.testing.budget_books import BudgetBooks, LeaseRow, WindowRow, spent_in
from tallystick.testing.store import MemoryStore


class MemoryBudgetStore:
    """`BudgetStore` beside a MemoryStore: commits there change windows here, and it is away when the other is."""

    def __init__(self, *, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.away = False
        """While true, every call raises StoreUnavailable, although the ledger answers."""
        self.calls: list[str] = []
        """The names of the port's methods that were called, in order."""

    async def lease(self, holder: str, requests: Sequence[LeaseRequest], *, seconds: float, share: int) -> LeaseReply:
        books = await self._begin("lease")
        windows = [request.window for request in requests]
        assert len(set(windows)) == len(windows), "a window is asked for once"
        for request in requests:
            self._make(request)
        now = self._clock.now()
        self._free_lapsed(windows, holder, notice=timedelta(seconds=notice_seconds(seconds)))
        rooms = [self._room(window) for window in windows]
        grants = grants_of(requests, rooms, share=share)
        for request, amount in zip(requests, grants or [0] * len(requests), strict=True):
            self._add(holder, request, amount)
            books.windows[request.window].limit_nano_usd = request.limit_nano_usd
            lease = books.leases.get((request.window, holder))
            if lease is not None:
                lease.expires_at, lease.is_noticed = now + timedelta(seconds=seconds), False
        if grants is None:
            for position in short_of(requests, rooms):
                self._mark_wanted(windows[position], holder)
        states = (self._state(request.window, holder, since_seq=request.since_seq) for request in requests)
        return LeaseReply(granted=grants is not None, states=tuple(states))

    async def renew(self, holder: str, *, seconds: float) -> tuple[LeaseState, ...]:
        books = await self._begin("renew")
        mine = sorted(window for window, each in books.leases if each == holder)
        for window in mine:
            lease = books.leases[window, holder]
            lease.expires_at, lease.is_noticed = self._clock.now() + timedelta(seconds=seconds), False
        return tuple(self._state(window, holder) for window in mine)

    async def wanted(self, holder: str) -> tuple[Window, ...]:
        books = await self._begin("wanted")
        mine = sorted(window for window, each in books.leases if each == holder)
        return tuple(window for window in mine if self._is_wanted_by_others(window, holder))

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        books = await self._begin("give_back")
        states = []
        for window, amount in amounts:
            lease = books.leases.get((window, holder))
            settled_seq = 0 if lease is None else lease.settled_seq
            if lease is not None:
                less = min(amount, lease.amount_nano_usd)
                lease.amount_nano_usd -= less
                books.windows[window].leased_nano_usd -= less
                if lease.amount_nano_usd == 0:
                    del books.leases[window, holder]
            states.append(self._state(window, holder, since_seq=settled_seq))
        return tuple(states)

    async def release(self, holder: str) -> int:
        books = await self._begin("release")
        return books.delete_leases(key for key in books.leases if key[1] == holder)

    async def sums(self, windows: Sequence[tuple[Window, tuple[str, ...]]]) -> tuple[WindowSum, ...]:
        books = await self._begin("sums")
        sums = []
        for window, entity_ids in windows:
            spent = self._spent(window, {*books.ids_of(window), *entity_ids})
            shown = self._shown(window) if window in books.windows else WindowSum(window=window, spent_nano_usd=0)
            if window not in books.windows or not books.ids_of(window).issuperset(entity_ids):
                shown = WindowSum(
                    window=window,
                    spent_nano_usd=spent,
                    carried_nano_usd=shown.carried_nano_usd,
                    leased_nano_usd=shown.leased_nano_usd,
                    limit_nano_usd=shown.limit_nano_usd,
                )
            sums.append(shown)
        return tuple(sums)

    async def open_windows(self, *, after: Window | None, limit: int) -> tuple[WindowSum, ...]:
        books = await self._begin("open_windows")
        now = self._clock.now()
        found = sorted(window for window in books.windows if window.ends_at > now)
        return tuple(self._shown(window) for window in found if after is None or window > after)[:limit]

    async def claim_alert(self, window: Window, *, level: int) -> bool:
        await self._begin("claim_alert")
        row = self._made(window)
        is_new = level > row.alerted_level
        row.alerted_level = max(level, row.alerted_level)
        return is_new

    async def trim(self, *, ended_days: float) -> int:
        books = await self._begin("trim")
        now = self._clock.now()
        before = now - timedelta(days=ended_days)
        old = {
            window for window, row in books.windows.items() if window.ends_at <= before or _is_idle(window, row, before)
        }
        books.delete_leases(key for key, lease in books.leases.items() if key[0] in old and lease.expires_at <= now)
        gone = old - {window for window, _ in books.leases}
        for window in gone:
            del books.windows[window]
        return len(gone)

    async def _begin(self, name: str) -> BudgetBooks:
        self.calls.append(name)
        await asyncio.sleep(0)  # As with a database, others run before the answer is there.
        if self.away or self._store.away:
            raise StoreUnavailable("The store was told to be away.")
        return self._store.books.budgets

    @property
    def _books(self) -> BudgetBooks:
        return self._store.books.budgets

    def _make(self, request: LeaseRequest) -> None:
        """Make the window and the aliases of a request where they are missing."""
        books, window = self._books, request.window
        assert window.starts_at < window.ends_at
        known = books.ids_of(window)
        if not known.issuperset(request.entity_ids):
            books.aliases.setdefault(window.scope[:2], set()).update(set(request.entity_ids) - {window.scope.id})
            for each, row in books.windows.items():
                if each.scope[:2] == window.scope[:2]:
                    row.spent_nano_usd = self._spent(each, books.ids_of(each))
        if window not in books.windows:
            self._made(window).carried_nano_usd = self._carried(request)

    def _made(self, window: Window) -> WindowRow:
        books = self._books
        if window not in books.windows:
            spent = self._spent(window, books.ids_of(window))
            books.windows[window] = WindowRow(spent_nano_usd=spent, leased_at=self._clock.now())
        return books.windows[window]

    def _carried(self, request: LeaseRequest) -> int:
        if request.previous is None:
            return 0
        row = self._books.windows.get(request.previous)
        if row is None:
            spent = self._spent(request.previous, self._books.ids_of(request.previous))
        else:
            spent = row.spent_nano_usd + row.carried_nano_usd
        return carried_of(request, spent)

    def _spent(self, window: Window, ids: set[str]) -> int:
        return spent_in((committed.event for committed in self._store.books.events), window, ids)

    def _free_lapsed(self, windows: Sequence[Window], holder: str, *, notice: timedelta) -> None:
        """Free what others hold past their time, and give those some more who are late for the first time."""
        books, now = self._books, self._clock.now()
        late = [
            key
            for key, lease in books.leases.items()
            if key[0] in windows and key[1] != holder and lease.expires_at <= now
        ]
        books.delete_leases(key for key in late if books.leases[key].is_noticed)
        for key in late:
            if key in books.leases:
                books.leases[key].expires_at, books.leases[key].is_noticed = now + notice, True

    def _add(self, holder: str, request: LeaseRequest, amount: int) -> None:
        """Add to a lease, which begins behind what the holder has committed already."""
        if amount == 0:
            return
        books = self._books
        books.windows[request.window].leased_nano_usd += amount
        books.windows[request.window].leased_at = self._clock.now()
        lease = books.leases.get((request.window, holder))
        if lease is None:
            books.leases[request.window, holder] = LeaseRow(
                amount_nano_usd=amount,
                since_seq=request.since_seq,
                settled_seq=request.since_seq,
                expires_at=self._clock.now(),
            )
        else:
            lease.amount_nano_usd += amount

    def _mark_wanted(self, window: Window, holder: str) -> None:
        """Say that `holder` lacks what others have; when several do, all of them hear of it."""
        books, now = self._books, self._clock.now()
        if not any(each == window and other != holder for each, other in books.leases):
            return
        row = books.windows[window]
        is_marked = row.wanted_until is not None and row.wanted_until > now
        row.wanted_by = "" if is_marked and row.wanted_by != holder else holder
        row.wanted_until = now + timedelta(seconds=WANTED_SECONDS)

    def _room(self, window: Window) -> Room:
        row = self._books.windows[window]
        return Room(
            spent_nano_usd=row.spent_nano_usd,
            carried_nano_usd=row.carried_nano_usd,
            leased_nano_usd=row.leased_nano_usd,
            is_wanted=row.wanted_until is not None and row.wanted_until > self._clock.now(),
        )

    def _is_wanted_by_others(self, window: Window, holder: str) -> bool:
        row = self._books.windows[window]
        return row.wanted_until is not None and row.wanted_until > self._clock.now() and row.wanted_by != holder

    def _state(self, window: Window, holder: str, *, since_seq: int = 0) -> LeaseState:
        books = self._books
        row, lease = books.windows.get(window), books.leases.get((window, holder))
        return LeaseState(
            window=window,
            spent_nano_usd=row.spent_nano_usd if row else 0,
            carried_nano_usd=row.carried_nano_usd if row else 0,
            leased_nano_usd=row.leased_nano_usd if row else 0,
            amount_nano_usd=lease.amount_nano_usd if lease else 0,
            settled_seq=max(lease.settled_seq if lease else since_seq, self._store.books.watermarks.get(holder, 0)),
            is_wanted=row is not None and self._is_wanted_by_others(window, holder),
        )

    def _shown(self, window: Window) -> WindowSum:
        row, now = self._books.windows[window], self._clock.now()
        lapsed = sum(
            lease.amount_nano_usd
            for (each, _), lease in self._books.leases.items()
            if each == window and lease.expires_at <= now
        )
        return WindowSum(
            window=window,
            spent_nano_usd=row.spent_nano_usd,
            carried_nano_usd=row.carried_nano_usd,
            leased_nano_usd=row.leased_nano_usd - lapsed,
            limit_nano_usd=row.limit_nano_usd,
        )


def _is_idle(window: Window, row: WindowRow, before: datetime) -> bool:
    """Whether a window without an end was last leased from before a moment, and may go."""
    is_for_ever = (window.starts_at, window.ends_at) == (LIFETIME_START, LIFETIME_END)
    return is_for_ever and window.scope.type in INVENTED_TYPES and row.leased_at is not None and row.leased_at <= before
