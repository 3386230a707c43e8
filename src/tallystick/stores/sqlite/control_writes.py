"""How changes of control objects are made in SQLite: in one transaction that holds the write lock from its start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import apsw

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import Author, Change, NoneLeft
from tallystick.runtime.ids import new_event_id
from tallystick.stores.changes import (
    ChangePlan,
    Held,
    Placed,
    grams_for,
    id_is_taken,
    in_order,
    json_text,
    name_is_taken,
    one_was_added,
    plan_changes,
    require_all,
)
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.control_rows import object_row
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")


class ControlWrite:
    """One `apply`: called with the writer's connection."""

    def __init__(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef],
        none_left: Sequence[NoneLeft],
    ) -> None:
        self._ordered = in_order(changes)
        self._author = author
        self._now = now
        self._requires = requires
        self._none_left = none_left

    def __call__(self, connection: apsw.Connection) -> int:
        """Make all changes or none; return the revision."""
        with immediate(connection):
            ((revision_before,),) = fetch(connection, _SQL["newest_revision"])
            held = self._held(connection)
            require_all(held, self._requires)
            plan = plan_changes(self._ordered, held)
            self._write(connection, plan, revision_before)
            self._require_none_left(connection)
            for placed in plan.all():
                self._note(connection, placed, revision_before)
            return int(revision_before) + len(self._ordered)

    def _held(self, connection: apsw.Connection) -> dict[ObjectRef, Held]:
        held: dict[ObjectRef, Held] = {}
        for ref in {*self._requires, *(change.ref for change in self._ordered)}:
            for object_no, revision in fetch(connection, _SQL["held_object"], (ref.kind.value, ref.object_id)):
                held[ref] = Held(object_no=object_no, revision=revision)
        return held

    def _write(self, connection: apsw.Connection, plan: ChangePlan, revision_before: int) -> None:
        """Write the rows. What gives a name up comes before what may take it."""
        deleted_at, deleted_by = microseconds(self._now), self._author.user_id or self._author.key_hash
        connection.executemany(
            _SQL["delete_object"],
            [(deleted_at, deleted_by, revision_before + placed.place, placed.object_no) for placed in plan.deleted],
        )
        connection.executemany(_SQL["free_name"], [(object_no,) for object_no in plan.freed_names()])
        _require_free(connection, plan)
        for placed in plan.updated:
            before, after = placed.change.before, _after(placed)
            row = object_row(after, revision=revision_before + placed.place)
            fetch(connection, _SQL["update_object"], (*row, placed.object_no))
            if before is not None and before.name != after.name:
                _file_for_search(connection, after, placed.object_no)
        for placed in plan.created:
            after = _after(placed)
            row = object_row(after, revision=revision_before + placed.place)
            ((object_no,),) = fetch(connection, _SQL["add_object"], row)
            _file_for_search(connection, after, object_no)

    def _require_none_left(self, connection: apsw.Connection) -> None:
        for condition in self._none_left:
            query = f"relation_left_{condition.relation}"
            if fetch(connection, _SQL[query], (condition.kind.value, condition.value)):
                raise one_was_added(condition.kind)

    def _note(self, connection: apsw.Connection, placed: Placed, revision_before: int) -> None:
        revision, at, change = revision_before + placed.place, microseconds(self._now), placed.change
        what = (change.ref.kind.value, change.ref.object_id)
        fetch(connection, _SQL["append_change"], (revision, *what, at))
        author = (self._author.key_hash, self._author.user_id, self._author.changed_by)
        shown = (json_text(change.shown_before), json_text(change.shown_after))
        fetch(
            connection,
            _SQL["add_audit_row"],
            (revision, new_event_id(self._now), at, *author, change.action, *what, *shown),
        )


def _require_free(connection: apsw.Connection, plan: ChangePlan) -> None:
    """Raise AlreadyExists when a hash or a name is taken."""
    for placed in plan.created:
        ref = placed.change.ref
        if ref.kind == Kind.KEY and fetch(connection, _SQL["key_hash_is_taken"], (ref.object_id,)):
            raise id_is_taken(ref)
    for (kind, name), ref in plan.wanted_names().items():
        if fetch(connection, _SQL["name_is_taken"], (str(kind), name, ref.object_id)):
            raise name_is_taken(kind, name)


def _file_for_search(connection: apsw.Connection, held: ControlObject, object_no: int) -> None:
    fetch(connection, _SQL["file_for_search"], (object_no, " ".join(grams_for(held))))


def _after(placed: Placed) -> ControlObject:
    assert placed.change.after is not None, "only a deletion leaves nothing"
    return placed.change.after
