"""The one way to change control objects: read, change, write with audit and feed, again when somebody was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from tallystick.control.objects import ControlObject, ObjectRef
from tallystick.control.store import Author, Change, ControlStore, NoneLeft, ObjectFilter
from tallystick.errors import ChangedMeanwhile, NotFound
from tallystick.runtime.clock import Clock

_TRIES_MAX: Final = 5
_PAGE: Final = 1_000


class ObjectWriter:
    """Writes control objects for admins; every method returns when this instance acts on what it wrote."""

    def __init__(
        self, store: ControlStore, *, clock: Clock, on_applied: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_applied = on_applied

    async def create(
        self, made: ControlObject, *, author: Author, action: str = "created", requires: Sequence[ObjectRef] = ()
    ) -> ControlObject:
        """Add an object; its times and its author are set here. Raises AlreadyExists, ChangedMeanwhile."""
        (after,) = await self.apply([(None, made)], author=author, action=action, requires=requires)
        return after

    async def update(
        self,
        ref: ObjectRef,
        patch: Callable[[ControlObject], ControlObject],
        *,
        author: Author,
        action: str = "updated",
        requires: Sequence[ObjectRef] = (),
    ) -> tuple[ControlObject, ControlObject]:
        """Replace an object by what `patch` makes of it; return it before and after. Raises NotFound.

        `patch` may be called again, when somebody else was faster. When it returns an equal object nothing is written.
        """
        for left in range(_TRIES_MAX - 1, -1, -1):
            before = await self._store.find(ref)
            if before is None:
                raise NotFound(f"{ref.kind} '{ref.object_id}' not found: it does not exist.")
            after = patch(before)
            if after == before:
                return before, before
            try:
                (written,) = await self.apply([(before, after)], author=author, action=action, requires=requires)
            except ChangedMeanwhile:
                if not left:
                    raise
            else:
                return before, written
        raise AssertionError("the last try returns or raises")

    async def delete(
        self, refs: Sequence[ObjectRef], *, author: Author, dependents: Sequence[NoneLeft] = ()
    ) -> tuple[ControlObject, ...]:
        """Delete all of the objects, and every object that `dependents` match, or nothing; return the former.

        Raises NotFound when one of `refs` does not exist.
        """
        for left in range(_TRIES_MAX - 1, -1, -1):
            found = await self._store.find_many(refs)
            missing = set(refs) - {each.ref for each in found}
            if missing:
                names = ", ".join(f"{ref.kind} '{ref.object_id}'" for ref in sorted(missing)[:10])
                raise NotFound(f"Not found: {names} does not exist. Nothing was deleted.")
            gone = {each.ref: each for each in found}
            for condition in dependents:
                gone |= {each.ref: each for each in await self._dependents(condition)}
            try:
                await self.apply(
                    [(each, None) for each in gone.values()], author=author, action="deleted", none_left=dependents
                )
            except ChangedMeanwhile:
                if not left:
                    raise
            else:
                return found
        raise AssertionError("the last try returns or raises")

    async def apply(
        self,
        pairs: Sequence[tuple[ControlObject | None, ControlObject | None]],
        *,
        author: Author,
        action: str,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
    ) -> tuple[ControlObject, ...]:
        """Write several objects, given before and after, all or nothing; return those that exist afterwards.

        Of several, the revisions are not told: read an object again before changing it further.
        """
        now = self._clock.now()
        by = author.user_id or author.key_hash
        changes: list[Change] = []
        for before, after in pairs:
            stamped = after
            if after is not None:
                made = {"created_at": now, "created_by": by} if before is None else {}
                stamped = msgspec.structs.replace(after, updated_at=now, updated_by=by, **made)
            changes.append(
                Change(
                    action=action,
                    before=before,
                    after=stamped,
                    shown_before=_shown(before),
                    shown_after=_shown(stamped),
                )
            )
        revision = await self._store.apply(changes, author=author, now=now, requires=requires, none_left=none_left)
        if self._on_applied is not None:
            await self._on_applied(revision)
        written = tuple(change.after for change in changes if change.after is not None)
        if len(changes) == 1:
            return tuple(msgspec.structs.replace(each, revision=revision) for each in written)
        return written

    async def _dependents(self, condition: NoneLeft) -> list[ControlObject]:
        everything = ObjectFilter(kind=condition.kind)
        where = msgspec.structs.replace(everything, **{f"{condition.relation}s": (condition.value,)})
        found: list[ControlObject] = []
        while True:
            page = await self._store.list_objects(where, offset=len(found), limit=_PAGE)
            found += page.objects
            if len(page.objects) < _PAGE:
                return found


def _shown(held: ControlObject | None) -> dict[str, Any] | None:  # Any: JSON.
    if held is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(held)  # Any: JSON.
    return shown
