"""How changes of control objects are made on PostgreSQL: one transaction, a handful of statements for any number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import asyncpg

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import Author, Change, NoneLeft
from tallystick.errors import AlreadyExists, ChangedMeanwhile
from tallystick.runtime.ids import new_event_id
from tallystick.stores.changes import (
    ChangePlan,
    Held,
    Placed,
    grams_for,
    id_is_taken,
    in_order,
    json_text,
    lock_runs,
    name_is_taken,
    one_was_added,
    plan_changes,
    require_all,
)
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.control_rows import columns_of_objects, columns_of_refs
from tallystick.stores.postgres.database import PostgresDatabase


class ControlWriter:
    """Makes changes. Rows are locked in key order, then written; the head of the feed is taken last."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef],
        none_left: Sequence[NoneLeft],
    ) -> int:
        """Make all changes or none; return the revision."""
        ordered = in_order(changes)
        async with self._database.transaction() as connection:
            with _conflicts_are_ours():
                held = await self._lock(connection, [change.ref for change in ordered], requires)
                require_all(held, requires)
                plan = plan_changes(ordered, held)
                numbers = await self._write(connection, plan, author=author, now=now)
                await self._require_none_left(connection, none_left)
                if not ordered:
                    return int(await connection.fetchval(self._queries["newest_revision"]))
                return await self._finish(connection, plan.all(), numbers, author=author, now=now)

    async def _lock(
        self, connection: Connection, changed: Sequence[ObjectRef], required: Sequence[ObjectRef]
    ) -> dict[ObjectRef, Held]:
        held: dict[ObjectRef, Held] = {}
        for is_changed, refs in lock_runs(changed, required):
            name = "lock_changed_objects" if is_changed else "lock_required_objects"
            for row in await connection.fetch(self._queries[name], *columns_of_refs(refs)):
                ref = ObjectRef(Kind(row["kind"]), row["object_id"])
                held[ref] = Held(object_no=row["object_no"], revision=row["revision"])
        return held

    async def _write(
        self, connection: Connection, plan: ChangePlan, *, author: Author, now: datetime
    ) -> dict[ObjectRef, int]:
        """Write the rows; return their numbers. What gives a name or a place up comes before what may take it."""
        numbers = {placed.change.ref: placed.object_no for placed in (*plan.updated, *plan.deleted)}
        if plan.deleted:
            gone = [placed.object_no for placed in plan.deleted]
            await connection.execute(self._queries["delete_objects"], gone, now, author.user_id or author.key_hash)
        await self._require_free(connection, plan)
        if plan.updated:
            columns = columns_of_objects(_after(plan.updated))
            await connection.execute(
                self._queries["update_objects"], *columns, [placed.object_no for placed in plan.updated]
            )
        if plan.created:
            for row in await connection.fetch(self._queries["add_objects"], *columns_of_objects(_after(plan.created))):
                numbers[ObjectRef(Kind(row["kind"]), row["object_id"])] = row["object_no"]
        await self._file_for_search(connection, plan, numbers)
        return numbers

    async def _require_free(self, connection: Connection, plan: ChangePlan) -> None:
        """Raise AlreadyExists, naming it, when a hash or a name is taken. What slips is caught by the indexes."""
        hashes = [placed.change.ref.object_id for placed in plan.created if placed.change.ref.kind == Kind.KEY]
        if hashes:
            taken = await connection.fetchval(self._queries["taken_key_hashes"], hashes)
            if taken is not None:
                raise id_is_taken(ObjectRef(Kind.KEY, taken))
        freed = plan.freed_names()
        if freed and len(plan.updated) + len(plan.created) > 1:
            await connection.execute(self._queries["free_names"], freed)
        names = plan.wanted_names()
        if names:
            kinds, wanted = zip(*names, strict=True)
            ids = [ref.object_id for ref in names.values()]
            row = await connection.fetchrow(self._queries["taken_names"], kinds, wanted, ids)
            if row is not None:
                raise name_is_taken(row["kind"], row["name"])

    async def _file_for_search(self, connection: Connection, plan: ChangePlan, numbers: dict[ObjectRef, int]) -> None:
        filed = _after(plan.created) + [
            placed.change.after
            for placed in plan.updated
            if placed.change.after is not None
            and placed.change.before is not None
            and placed.change.after.name != placed.change.before.name
        ]
        if filed:
            await connection.execute(
                self._queries["file_for_search"],
                [numbers[held.ref] for held in filed],
                [" ".join(grams_for(held)) for held in filed],
            )

    async def _require_none_left(self, connection: Connection, conditions: Sequence[NoneLeft]) -> None:
        if conditions:
            kind = await connection.fetchval(
                self._queries["relations_left"],
                [condition.kind for condition in conditions],
                [condition.relation for condition in conditions],
                [condition.value for condition in conditions],
            )
            if kind is not None:
                raise one_was_added(kind)

    async def _finish(
        self,
        connection: Connection,
        placed: Sequence[Placed],
        numbers: dict[ObjectRef, int],
        *,
        author: Author,
        now: datetime,
    ) -> int:
        changes = [each.change for each in placed]
        return int(
            await connection.fetchval(
                self._queries["finish_changes"],
                len(changes),
                now,
                author.key_hash,
                author.user_id,
                author.changed_by,
                [numbers[change.ref] for change in changes],
                *columns_of_refs([change.ref for change in changes]),
                [new_event_id(now) for _ in changes],
                [change.action for change in changes],
                [json_text(change.shown_before) for change in changes],
                [json_text(change.shown_after) for change in changes],
            )
        )


def _after(placed: Sequence[Placed]) -> list[ControlObject]:
    return [each.change.after for each in placed if each.change.after is not None]


@contextmanager
def _conflicts_are_ours() -> Iterator[None]:
    """Say what a conflict means that only the database could see, because somebody wrote at the same moment."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        what = "name" if error.constraint_name == "control_objects_by_unique_name" else "id"
        raise AlreadyExists(f"An object with the same {what} was added at the same time.") from error
    except asyncpg.TransactionRollbackError as error:
        raise ChangedMeanwhile from error  # A deadlock: whoever goes on was faster.
