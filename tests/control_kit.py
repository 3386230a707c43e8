"""Control objects and changes of them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.control.store import Author, Change, ControlStore, NoneLeft

START = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
ADMIN = Author(key_hash="admin-hash", user_id="admin")


def make_object(kind: Kind, object_id: str, **fields: Any) -> ControlObject:
    values: dict[str, Any] = {"created_at": START, "updated_at": START, "created_by": "admin", "updated_by": "admin"}
    return ControlObject(kind=kind, object_id=object_id, **(values | fields))


def make_key(object_id: str, **fields: Any) -> ControlObject:
    return make_object(Kind.KEY, object_id, **fields)


def make_team(object_id: str, **fields: Any) -> ControlObject:
    return make_object(Kind.TEAM, object_id, **fields)


def make_member(team_id: str, user_id: str, **fields: Any) -> ControlObject:
    object_id = member_id(team_id, user_id)
    return make_object(Kind.TEAM_MEMBER, object_id, team_id=team_id, user_id=user_id, **fields)


def creation(held: ControlObject, **fields: Any) -> Change:
    return Change(**({"action": "created", "before": None, "after": held, "shown_after": held.spec} | fields))


def update(before: ControlObject, **fields: Any) -> Change:
    after = msgspec.structs.replace(before, **fields)
    return Change(action="updated", before=before, after=after, shown_before=before.spec, shown_after=after.spec)


def deletion(before: ControlObject) -> Change:
    return Change(action="deleted", before=before, after=None, shown_before=before.spec)


async def apply(
    store: ControlStore,
    *changes: Change,
    author: Author = ADMIN,
    now: datetime = START,
    requires: Sequence[ObjectRef] = (),
    none_left: Sequence[NoneLeft] = (),
) -> int:
    return await store.apply(changes, author=author, now=now, requires=requires, none_left=none_left)


async def add(store: ControlStore, *objects: ControlObject, **options: Any) -> list[ControlObject]:
    """Make objects in one go, and return them as the store has them, in the same order."""
    await apply(store, *(creation(held) for held in objects), **options)
    return [await found(store, held.ref) for held in objects]


async def found(store: ControlStore, ref: ObjectRef) -> ControlObject:
    held = await store.find(ref)
    assert held is not None, ref
    return held
