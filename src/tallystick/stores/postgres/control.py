"""Control objects on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tallystick.control.objects import ControlObject, Kind, ObjectRef
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
from tallystick.stores.postgres.audit_log import AuditLog, AuditReader
from tallystick.stores.postgres.control_lists import ControlLists
from tallystick.stores.postgres.control_rows import columns_of_refs, object_of
from tallystick.stores.postgres.control_writes import ControlWriter
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.listener import ChangeListener
from tallystick.stores.postgres.texts import holdable


class PostgresControlStore:
    """Implements ControlStore. The audit is read from `audit_log`, or from the same database."""

    def __init__(self, *, database: PostgresDatabase, audit_log: AuditReader | None = None) -> None:
        self._database = database
        self._queries = database.queries
        self._writer = ControlWriter(database=database)
        self._lists = ControlLists(database=database)
        self._audit = audit_log or AuditLog(database=database)
        self._listener = ChangeListener(database=database)

    async def find(self, ref: ObjectRef) -> ControlObject | None:
        """Return a living object, or None."""
        if not holdable(ref.object_id):
            return None
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["find_object"], ref.kind, ref.object_id)
        return None if row is None else object_of(row)

    async def find_many(self, refs: Sequence[ObjectRef]) -> tuple[ControlObject, ...]:
        """Return those of the objects that live, in no order."""
        wanted = [ref for ref in dict.fromkeys(refs) if holdable(ref.object_id)]
        if not wanted:
            return ()
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["find_objects"], *columns_of_refs(wanted))
        return tuple(object_of(row) for row in rows)

    async def find_key(self, key_hash: str) -> tuple[ControlObject, ...]:
        """Return a key and what it stands for, the key first, a retired hash of it last."""
        if not holdable(key_hash):
            return ()
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["find_key_and_relations"], key_hash, self._database.clock.now())
        return tuple(object_of(row) for row in rows)

    async def list_objects(
        self,
        where: ObjectFilter,
        *,
        sort_by: SortField = "created_at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 100,
    ) -> ObjectPage:
        """Return one page, as of one moment."""
        return await self._lists.page(where, sort_by=sort_by, descending=descending, offset=offset, limit=limit)

    async def load(self, kinds: Sequence[Kind]) -> Loaded:
        """Return every living object of these kinds and the revision at which this was so."""
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            revision = await connection.fetchval(self._queries["newest_revision"])
            rows = await connection.fetch(self._queries["load_objects"], list(kinds))
        return Loaded(revision=revision, objects=tuple(object_of(row) for row in rows))

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
    ) -> int:
        """Make all changes or none, with their audit and their feed; return the revision."""
        return await self._writer.apply(changes, author=author, now=now, requires=requires, none_left=none_left)

    async def revision(self) -> int:
        """Return the newest revision of the change feed, 0 when it is empty."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(self._queries["newest_revision"]))

    async def changes_after(self, revision: int, *, limit: int) -> tuple[FeedEntry, ...]:
        """Return the changes above `revision` in ascending order, of the kinds that this release knows."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["changes_after"], revision, limit, list(Kind))
        return tuple(
            FeedEntry(revision=row["revision"], ref=ObjectRef(Kind(row["kind"]), row["object_id"])) for row in rows
        )

    async def wait_for_change(self, *, timeout_seconds: float) -> None:
        """Return when the database tells of a change, or after the timeout."""
        await self._listener.wait(timeout_seconds=timeout_seconds)

    async def list_audit(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return one page of the audit, newest first."""
        return await self._audit.page(where, offset=offset, limit=limit)
