"""Control objects in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import apsw

from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.control.store import (
    AuditFilter,
    AuditPage,
    Author,
    Change,
    FeedEntry,
    Loaded,
    NoneLeft,
    ObjectFilter,
    ObjectPage,
    SortField,
)
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.control_lists import AuditPageRead, ObjectPageRead, json_list
from tallystick.stores.sqlite.control_rows import object_of
from tallystick.stores.sqlite.control_writes import ControlWrite
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import Row, fetch, snapshot

_SQL = load_queries("tallystick.stores.sqlite")


class SqliteControlStore:
    """`ControlStore`."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def find(self, ref: ObjectRef) -> ControlObject | None:
        return await self._database.read(lambda connection: _first(connection, ref))

    async def find_many(self, refs: Sequence[ObjectRef]) -> tuple[ControlObject, ...]:
        wanted = json_list([(ref.kind.value, ref.object_id) for ref in refs])

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["find_objects"], (wanted,))

        return tuple(object_of(row) for row in await self._database.read(work))

    async def find_key(self, key_hash: str) -> tuple[ControlObject, ...]:
        now = microseconds(self._database.clock.now())

        def work(connection: apsw.Connection) -> tuple[ControlObject, ...]:
            with snapshot(connection):
                return _key_and_relations(connection, key_hash, now=now)

        return await self._database.read(work)

    async def list_objects(
        self,
        where: ObjectFilter,
        *,
        sort_by: SortField = "created_at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 100,
    ) -> ObjectPage:
        read = ObjectPageRead(where, sort_by=sort_by, descending=descending, offset=offset, limit=limit)
        return await self._database.read(read)

    async def load(self, kinds: Sequence[Kind]) -> Loaded:
        def work(connection: apsw.Connection) -> Loaded:
            with snapshot(connection):
                ((revision,),) = fetch(connection, _SQL["newest_revision"])
                rows = fetch(connection, _SQL["load_objects"], (json_list(kinds),))
            return Loaded(revision=revision, objects=tuple(object_of(row) for row in rows))

        return await self._database.read(work)

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
    ) -> int:
        write = ControlWrite(changes, author=author, now=now, requires=requires, none_left=none_left)
        return await self._database.write(write)

    async def revision(self) -> int:
        def work(connection: apsw.Connection) -> int:
            ((revision,),) = fetch(connection, _SQL["newest_revision"])
            return int(revision)

        return await self._database.read(work)

    async def changes_after(self, revision: int, *, limit: int) -> tuple[FeedEntry, ...]:
        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["changes_after"], (revision, json_list(list(Kind)), limit))

        rows = await self._database.read(work)
        return tuple(FeedEntry(revision=row[0], ref=ObjectRef(Kind(row[1]), row[2])) for row in rows)

    async def wait_for_change(self, *, timeout_seconds: float) -> None:
        """Wait: a file does not tell."""
        await self._database.clock.sleep(timeout_seconds)

    async def list_audit(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        return await self._database.read(AuditPageRead(where, offset=offset, limit=limit))


def _first(connection: apsw.Connection, ref: ObjectRef) -> ControlObject | None:
    rows = fetch(connection, _SQL["find_object"], (ref.kind.value, ref.object_id))
    return object_of(rows[0]) if rows else None


def _key_and_relations(connection: apsw.Connection, key_hash: str, *, now: int) -> tuple[ControlObject, ...]:
    key, retired = _first(connection, ObjectRef(Kind.KEY, key_hash)), None
    if key is None:
        rows = fetch(connection, _SQL["find_retired_key"], (key_hash, now))
        if not rows:
            return ()
        retired, successor = object_of(rows[0]), rows[0][-1]
        key = _first(connection, ObjectRef(Kind.KEY, successor))
        if key is None:
            return ()
    team = _first(connection, ObjectRef(Kind.TEAM, key.team_id))
    organization_id = (team.organization_id if team else "") or key.organization_id
    related = (
        ObjectRef(Kind.TEAM_MEMBER, member_id(key.team_id, key.user_id)),
        ObjectRef(Kind.USER, key.user_id),
        ObjectRef(Kind.ORGANIZATION, organization_id),
        ObjectRef(Kind.ORGANIZATION_MEMBER, member_id(organization_id, key.user_id)),
    )
    found = [key, team, *(_first(connection, ref) for ref in related)]
    budget_ids = dict.fromkeys(held.budget_id for held in found if held is not None and held.budget_id)
    found += [_first(connection, ObjectRef(Kind.BUDGET, budget_id)) for budget_id in budget_ids]
    return tuple(held for held in (*found, retired) if held is not None)
