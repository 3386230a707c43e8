"""Budgets in SQLite: each change is one transaction that holds the write lock from its first statement."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import apsw
import msgspec

from tallystick.access.budget_store import LeaseReply, LeaseRequest, LeaseState, WindowSum
from tallystick.access.grants import WANTED_SECONDS, Room, grants_of, notice_seconds, short_of
from tallystick.access.scopes import INVENTED_TYPES, LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.budget_rows import WIDTH, key_of, sum_of, window_of
from tallystick.stores.sqlite.budget_sums import spent_in
from tallystick.stores.sqlite.budget_windows import ids_of, make_asked, make_window
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import Row, fetch, immediate, snapshot

_SQL = load_queries("tallystick.stores.sqlite")
_TRIMMED_AT_ONCE: Final = 1_000
_BEFORE_ALL: Final = Window(scope=Scope(type=""), starts_at=LIFETIME_START, ends_at=LIFETIME_START)


class SqliteBudgetStore:
    """`BudgetStore`. Any number of processes may have one on the same file."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def lease(self, holder: str, requests: Sequence[LeaseRequest], *, seconds: float, share: int) -> LeaseReply:
        windows = {request.window for request in requests}
        assert len(windows) == len(requests), "a window is asked for once"
        now = self._database.clock.now()

        def work(connection: apsw.Connection) -> LeaseReply:
            with immediate(connection):
                return _lease(connection, holder, requests, now=now, seconds=seconds, share=share)

        return await self._database.write(work)

    async def renew(self, holder: str, *, seconds: float) -> tuple[LeaseState, ...]:
        now = self._database.clock.now()

        def work(connection: apsw.Connection) -> tuple[LeaseState, ...]:
            with immediate(connection):
                connection.execute(_SQL["renew_budget_leases"], (holder, _after(now, seconds)))
                mine = fetch(connection, _SQL["budget_windows_of_holder"], (holder,))
                return tuple(_state(connection, holder, window_of(key), now=now) for key in mine)

        return await self._database.write(work)

    async def wanted(self, holder: str) -> tuple[Window, ...]:
        now = microseconds(self._database.clock.now())

        def work(connection: apsw.Connection) -> tuple[Window, ...]:
            return tuple(window_of(key) for key in fetch(connection, _SQL["wanted_budget_windows"], (holder, now)))

        return await self._database.read(work)

    async def give_back(self, holder: str, amounts: Sequence[tuple[Window, int]]) -> tuple[LeaseState, ...]:
        now = self._database.clock.now()

        def work(connection: apsw.Connection) -> tuple[LeaseState, ...]:
            with immediate(connection):
                return tuple(_give_back(connection, holder, window, amount, now=now) for window, amount in amounts)

        return await self._database.write(work)

    async def release(self, holder: str) -> int:
        def work(connection: apsw.Connection) -> int:
            with immediate(connection):
                mine = fetch(connection, _SQL["budget_windows_of_holder"], (holder,))
                for key in mine:
                    ((amount, _, _),) = fetch(connection, _SQL["budget_lease"], (*key, holder))
                    connection.execute(_SQL["delete_budget_lease"], (*key, holder))
                    connection.execute(_SQL["change_budget_leased"], (*key, -amount))
                return len(mine)

        return await self._database.write(work)

    async def sums(self, windows: Sequence[tuple[Window, tuple[str, ...]]]) -> tuple[WindowSum, ...]:
        now = microseconds(self._database.clock.now())

        def work(connection: apsw.Connection) -> tuple[WindowSum, ...]:
            with snapshot(connection):
                return tuple(_sum(connection, window, entity_ids, now=now) for window, entity_ids in windows)

        return await self._database.read(work)

    async def open_windows(self, *, after: Window | None, limit: int) -> tuple[WindowSum, ...]:
        last = _BEFORE_ALL if after is None else after
        arguments = (*key_of(last), microseconds(self._database.clock.now()), limit)

        def work(connection: apsw.Connection) -> tuple[WindowSum, ...]:
            rows = fetch(connection, _SQL["open_budget_windows"], arguments)
            return tuple(sum_of(window_of(row[:WIDTH]), row[WIDTH:]) for row in rows)

        return await self._database.read(work)

    async def claim_alert(self, window: Window, *, level: int) -> bool:
        now = microseconds(self._database.clock.now())

        def work(connection: apsw.Connection) -> bool:
            with immediate(connection):
                make_window(connection, window, now=now)
                return bool(fetch(connection, _SQL["claim_budget_alert"], (*key_of(window), level)))

        return await self._database.write(work)

    async def trim(self, *, ended_days: float) -> int:
        now = self._database.clock.now()
        arguments = (microseconds(now - timedelta(days=ended_days)), microseconds(now), _TRIMMED_AT_ONCE)

        def work(connection: apsw.Connection) -> int:
            with immediate(connection):
                old = fetch(connection, _SQL["old_budget_windows"], arguments)
                connection.executemany(_SQL["delete_budget_leases_of_window"], old)
                connection.executemany(_SQL["delete_budget_window"], old)
                return len(old)

        trimmed = 0
        # In pieces, so that commits get their turn in between.
        while deleted := await self._database.write(work):
            trimmed += deleted
        return trimmed + await self._trim_idle(before=arguments[0], now=arguments[1])

    async def _trim_idle(self, *, before: int, now: int) -> int:
        """Delete windows without an end from which nobody has leased since. They are looked for without the lock."""
        wanted = {
            "types": msgspec.json.encode(INVENTED_TYPES).decode(),
            "starts_at": microseconds(LIFETIME_START),
            "ends_at": microseconds(LIFETIME_END),
            "before": before,
            "now": now,
            "limit": _TRIMMED_AT_ONCE,
        }
        trimmed = 0
        while True:
            found = await self._database.read(lambda connection: fetch(connection, _SQL["idle_budget_windows"], wanted))
            deleted = await self._database.write(functools.partial(_delete_idle, found=found, before=before, now=now))
            trimmed += deleted
            if not deleted:
                return trimmed


def _delete_idle(connection: apsw.Connection, *, found: Sequence[Row], before: int, now: int) -> int:
    """Delete those of the windows that are still idle; return how many."""
    deleted = 0
    with immediate(connection):
        for key in found:
            if fetch(connection, _SQL["delete_idle_budget_window"], (*key, before, now)):
                connection.execute(_SQL["delete_budget_leases_of_window"], key)
                deleted += 1
    return deleted


class _Held(NamedTuple):
    """A window as it is under the lock."""

    room: Room
    wanted_by: str
    """Who lacks what others have leased; '' when several do, or nobody does."""


def _lease(
    connection: apsw.Connection,
    holder: str,
    requests: Sequence[LeaseRequest],
    *,
    now: datetime,
    seconds: float,
    share: int,
) -> LeaseReply:
    for request in requests:
        make_asked(connection, request, now=microseconds(now))
        _free_lapsed(connection, key_of(request.window), holder, now=now, notice=notice_seconds(seconds))
    rooms = [_held(connection, key_of(request.window), now=now).room for request in requests]
    grants = grants_of(requests, rooms, share=share)
    until = _after(now, seconds)
    for request, amount in zip(requests, grants or [0] * len(requests), strict=True):
        key = key_of(request.window)
        connection.execute(_SQL["note_budget_limit"], (*key, request.limit_nano_usd))
        if amount:
            connection.execute(_SQL["add_to_budget_lease"], (*key, holder, amount, request.since_seq, until))
            connection.execute(_SQL["add_budget_leased"], (*key, amount, microseconds(now)))
        else:
            connection.execute(_SQL["extend_budget_lease"], (*key, holder, until))
    if grants is None:
        for position in short_of(requests, rooms):
            _want(connection, key_of(requests[position].window), holder, now=now)
    states = [
        _state(connection, holder, request.window, now=now, settled_seq=request.since_seq) for request in requests
    ]
    return LeaseReply(granted=grants is not None, states=tuple(states))


def _free_lapsed(connection: apsw.Connection, key: Row, holder: str, *, now: datetime, notice: float) -> None:
    others = (*key, holder, microseconds(now))
    lapsed = fetch(connection, _SQL["free_lapsed_leases"], others)
    if lapsed:
        connection.execute(_SQL["change_budget_leased"], (*key, -sum(row[0] for row in lapsed)))
    connection.execute(_SQL["notice_late_leases"], (*others, _after(now, notice)))


def _want(connection: apsw.Connection, key: Row, holder: str, *, now: datetime) -> None:
    scope_type, scope_id, member_id, model, starts_at, ends_at = key
    connection.execute(
        _SQL["want_budget_window"],
        {
            "scope_type": scope_type,
            "scope_id": scope_id,
            "member_id": member_id,
            "model": model,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "holder": holder,
            "now": microseconds(now),
            "until": _after(now, WANTED_SECONDS),
        },
    )


def _give_back(connection: apsw.Connection, holder: str, window: Window, amount: int, *, now: datetime) -> LeaseState:
    key = key_of(window)
    settled_seq = 0
    for leased, _, settled_seq in fetch(connection, _SQL["budget_lease"], (*key, holder)):
        less = min(amount, leased)
        if less == leased:
            connection.execute(_SQL["delete_budget_lease"], (*key, holder))
        else:
            connection.execute(_SQL["shrink_budget_lease"], (*key, holder, less, settled_seq))
        connection.execute(_SQL["change_budget_leased"], (*key, -less))
    return _state(connection, holder, window, now=now, settled_seq=settled_seq)


def _state(
    connection: apsw.Connection, holder: str, window: Window, *, now: datetime, settled_seq: int = 0
) -> LeaseState:
    """Return what is there. `settled_seq` is for a window of which the holder has no lease."""
    key = key_of(window)
    held = _held(connection, key, now=now)
    leases = fetch(connection, _SQL["budget_lease"], (*key, holder))
    amount, _, settled_seq = leases[0] if leases else (0, 0, settled_seq)
    watermarks = fetch(connection, _SQL["watermark"], (holder,))
    return LeaseState(
        window=window,
        spent_nano_usd=held.room.spent_nano_usd,
        carried_nano_usd=held.room.carried_nano_usd,
        leased_nano_usd=held.room.leased_nano_usd,
        amount_nano_usd=amount,
        settled_seq=max([settled_seq, *(row[0] for row in watermarks)]),
        is_wanted=held.room.is_wanted and held.wanted_by != holder,
    )


def _held(connection: apsw.Connection, key: Row, *, now: datetime) -> _Held:
    rows = fetch(connection, _SQL["budget_window"], key)
    spent, carried, leased, wanted_until, wanted_by = rows[0] if rows else (0, 0, 0, 0, "")
    room = Room(
        spent_nano_usd=spent,
        carried_nano_usd=carried,
        leased_nano_usd=leased,
        is_wanted=wanted_until > microseconds(now),
    )
    return _Held(room=room, wanted_by=wanted_by)


def _sum(connection: apsw.Connection, window: Window, entity_ids: Sequence[str], *, now: int) -> WindowSum:
    """Return what stands in a window; with ids that do not count in it yet, what would stand there if they did."""
    rows = fetch(connection, _SQL["budget_sum"], (*key_of(window), now))
    ids = ids_of(connection, window.scope)
    if rows and set(ids).issuperset(entity_ids):
        return sum_of(window, rows[0])
    spent = spent_in(connection, window, list(dict.fromkeys((*ids, *entity_ids))))
    return sum_of(window, (spent, *rows[0][1:]) if rows else (spent, 0, 0, None))


def _after(now: datetime, seconds: float) -> int:
    return microseconds(now + timedelta(seconds=seconds))
