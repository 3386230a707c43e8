"""What every engine's `ControlStore.apply` shares: the changes in the order of their rows, and how it refuses them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import msgspec

from tallystick.control.objects import NAMED_ONCE, ControlObject, Kind, ObjectRef
from tallystick.control.store import Change
from tallystick.errors import AlreadyExists, ChangedMeanwhile, RowRefused
from tallystick.stores.grams import grams_of


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A change and its place among those that are made together: 1, 2, 3 …, in the order of kind and id."""

    place: int
    change: Change
    object_no: int = 0
    """The row; 0 for one that is yet to be made."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A living row, as it is found under its lock."""

    object_no: int
    revision: int


class ChangePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Changes, each object at most once."""

    created: tuple[Placed, ...]
    updated: tuple[Placed, ...]
    deleted: tuple[Placed, ...]

    def all(self) -> list[Placed]:
        return sorted((*self.created, *self.updated, *self.deleted), key=lambda placed: placed.place)

    def wanted_names(self) -> dict[tuple[str, str], ObjectRef]:
        """Return the names that must be free when what is deleted is gone, by kind and name."""
        names: dict[tuple[str, str], ObjectRef] = {}
        for placed in (*self.created, *self.updated):
            after = placed.change.after
            assert after is not None, "only a deletion leaves nothing"
            if takes_name(placed.change):
                if (after.kind, after.name) in names:
                    raise name_is_taken(after.kind, after.name)
                names[after.kind, after.name] = after.ref
        return names

    def freed_names(self) -> list[int]:
        """Return the rows that give a unique name up. They do so before anyone takes one."""
        return [placed.object_no for placed in self.updated if gives_name_up(placed.change)]


def gives_name_up(change: Change) -> bool:
    """Whether the object had a name, of those that no two have, and lives on without it."""
    before, after = change.before, change.after
    if before is None or after is None or after.kind not in NAMED_ONCE:
        return False
    return before.name not in {"", after.name}


def takes_name(change: Change) -> bool:
    """Whether the object gets a name, of those that no two have."""
    before, after = change.before, change.after
    if after is None or after.kind not in NAMED_ONCE or not after.name:
        return False
    return before is None or before.name != after.name


def in_order(changes: Sequence[Change]) -> list[Change]:
    """Return the changes in the order of kind and id. Raises ChangedMeanwhile, AlreadyExists for an object twice."""
    ordered = sorted(changes, key=lambda change: change.ref)
    for change in ordered:
        assert change.before is None or change.after is None or change.before.ref == change.after.ref, "ids are fixed"
    for one, other in pairwise(ordered):
        if one.ref == other.ref:
            raise id_is_taken(other.ref) if other.before is None else changed_meanwhile(other.ref)
    return ordered


def plan_changes(ordered: Sequence[Change], held: Mapping[ObjectRef, Held]) -> ChangePlan:
    """Compare the changes with the rows as they are under their locks. Raises ChangedMeanwhile, AlreadyExists."""
    created: list[Placed] = []
    updated: list[Placed] = []
    deleted: list[Placed] = []
    for place, change in enumerate(ordered, start=1):
        row = held.get(change.ref)
        if change.before is None:
            if row is not None:
                raise id_is_taken(change.ref)
            created.append(Placed(place=place, change=change))
            continue
        if row is None or row.revision != change.before.revision:
            raise changed_meanwhile(change.ref)
        (deleted if change.after is None else updated).append(
            Placed(place=place, change=change, object_no=row.object_no)
        )
    return ChangePlan(created=tuple(created), updated=tuple(updated), deleted=tuple(deleted))


def lock_runs(
    changed: Collection[ObjectRef], required: Collection[ObjectRef]
) -> Iterator[tuple[bool, list[ObjectRef]]]:
    """Yield the rows to lock in the one order that all writers keep, in runs of one lock; True: it is to be changed."""
    changing = set(changed)
    for is_changed, run in groupby(sorted(changing | set(required)), key=lambda ref: ref in changing):
        yield is_changed, list(run)


def require_all(held: Collection[ObjectRef], required: Collection[ObjectRef]) -> None:
    """Raise ChangedMeanwhile when a required object does not live."""
    for ref in required:
        if ref not in held:
            raise ChangedMeanwhile(f"The {spoken(ref.kind)} '{ref.object_id}' does not exist any more.")


def grams_for(held: ControlObject) -> list[str]:
    """Return the words under which an object is filed for searches."""
    return grams_of(held.kind, (held.name.lower(), held.object_id.lower()))


def json_text(value: dict[str, Any] | None) -> str | None:  # Any: JSON.
    """Return JSON as a text. Raises RowRefused for what JSON can't say."""
    try:
        return None if value is None else msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise RowRefused(f"This can't be written as JSON: {error}") from error


def id_is_taken(ref: ObjectRef) -> AlreadyExists:
    return AlreadyExists(f"The {spoken(ref.kind)} '{ref.object_id}' exists already.")


def name_is_taken(kind: str, name: str) -> AlreadyExists:
    return AlreadyExists(f"A {spoken(kind)} with the name '{name}' exists already.")


def changed_meanwhile(ref: ObjectRef) -> ChangedMeanwhile:
    return ChangedMeanwhile(f"The {spoken(ref.kind)} '{ref.object_id}' was changed at the same time. Try again.")


def one_was_added(kind: str) -> ChangedMeanwhile:
    return ChangedMeanwhile(f"A {spoken(kind)} was added at the same time. Try again.")


def spoken(kind: Kind | str) -> str:
    """Return the word for a kind in a sentence."""
    return str(kind).replace("_", " ")
