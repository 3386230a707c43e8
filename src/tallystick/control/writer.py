"""The one way to write control objects: secrets sealed, times and authors noted, the audit masked, the feed heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from tallystick.control.objects import ControlObject, ObjectRef
from tallystick.control.sealer import Sealer
from tallystick.control.secret_fields import masked
from tallystick.control.store import Author, Change, ControlStore, NoneLeft, ObjectFilter
from tallystick.errors import ChangedMeanwhile, NotFound, ReadOnlyMode
from tallystick.runtime.clock import Clock

Patch = Callable[[ControlObject], ControlObject]
"""From an object, with its secrets sealed, to what it should be. May be called again with a newer one."""
Pair = tuple[ControlObject | None, ControlObject | None]
"""An object before and after: the first is None where it is made, the second where it is deleted."""
Plan = Callable[[], Awaitable[Sequence[Change]]]
"""Reads what it needs and decides; called again when what it read was changed meanwhile."""
OnApplied = Callable[[int], Awaitable[None]]

ATTEMPTS_MAX: Final = 5
_PAGE: Final = 1_000
_BOOKKEEPING: Final = ("revision", "created_at", "created_by", "updated_at", "updated_by")


async def _nothing(_revision: int) -> None:
    return


class ObjectWriter:
    """Writes to a `ControlStore`. `on_applied` hears the revision of each write before the write returns.

    Objects that are read and given back may have sealed secrets in their specs, new secrets are given as they are, and
    `****` stands for the one that is there. With `read_only` every write raises ReadOnlyMode.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        sealer: Sealer,
        clock: Clock,
        on_applied: OnApplied = _nothing,
        read_only: bool = False,
    ) -> None:
        self.sealer = sealer
        self._store = store
        self._clock = clock
        self._on_applied = on_applied
        self._read_only = read_only

    async def create(
        self,
        new: ControlObject,
        *,
        author: Author,
        action: str = "created",
        requires: Sequence[ObjectRef] = (),
    ) -> ControlObject:
        """Make an object and return it as it was written. Raises AlreadyExists, BadRequest, ChangedMeanwhile."""
        change = Change(action=action, before=None, after=new)
        (written,) = await self.write([change], author=author, requires=requires)
        assert written.after is not None, "what is made is there"
        return written.after

    async def update(
        self,
        ref: ObjectRef,
        patch: Patch,
        *,
        author: Author,
        action: str = "updated",
        requires: Sequence[ObjectRef] = (),
    ) -> tuple[ControlObject, ControlObject]:
        """Change an object; return it before and after. Where the patch changes nothing, nothing is written.

        Raises NotFound, AlreadyExists, BadRequest, and ChangedMeanwhile when others were faster each time.
        """

        async def plan() -> Sequence[Change]:
            before = await self._store.find(ref)
            if before is None:
                raise missing(ref)
            return [Change(action=action, before=before, after=patch(before))]

        (change,) = await self.write_planned(plan, author=author, requires=requires, keeps_unchanged=True)
        assert change.before is not None, "an update has a before"
        assert change.after is not None, "an update has an after"
        return change.before, change.after

    async def delete(
        self,
        refs: Sequence[ObjectRef],
        *,
        author: Author,
        action: str = "deleted",
        dependents: Sequence[NoneLeft] = (),
        requires: Sequence[ObjectRef] = (),
    ) -> tuple[ControlObject, ...]:
        """Delete all of these objects, with every object that `dependents` match, or none; return the former.

        Raises NotFound, which names those that do not live.
        """
        wanted = tuple(dict.fromkeys(refs))
        gone: tuple[ControlObject, ...] = ()

        async def plan() -> Sequence[Change]:
            nonlocal gone
            found = {each.ref: each for each in await self._store.find_many(wanted)}
            absent = [ref for ref in wanted if ref not in found]
            if absent:
                raise missing(*absent)
            gone = tuple(found[ref] for ref in wanted)
            all_gone = dict(found)
            for condition in dependents:
                all_gone |= {each.ref: each for each in await self._matching(condition)}
            return [Change(action=action, before=each, after=None) for each in all_gone.values()]

        await self.write_planned(plan, author=author, requires=requires, none_left=dependents)
        return gone

    async def apply(
        self,
        pairs: Sequence[Pair],
        *,
        author: Author,
        action: str,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
        touched: Sequence[ControlObject] = (),
    ) -> tuple[ControlObject, ...]:
        """Write several objects, all or none, once; return those that exist afterwards.

        Of several, the revisions are not told: read an object again before changing it further. `touched` is what was
        decided by: written again as it is, so that of two writes that were decided by the same state one fails.
        """
        changes = [Change(action=action, before=before, after=after) for before, after in pairs]
        written = await self.write(
            changes,
            author=author,
            requires=requires,
            none_left=none_left,
            keeps_unchanged=True,
            touched=touched,
        )
        return tuple(change.after for change in written if change.after is not None)

    async def write_planned(
        self,
        plan: Plan,
        *,
        author: Author,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
        keeps_unchanged: bool = False,
    ) -> tuple[Change, ...]:
        """Write what `plan` says; when it was overtaken, let it read and decide again, a few times.

        Returns the changes as they were written, in the plan's order. Changes that change nothing are left out of the
        write; they are returned with `keeps_unchanged`.
        """
        attempt = 1
        while True:
            try:
                changes = await plan()
                return await self.write(
                    changes, author=author, requires=requires, none_left=none_left, keeps_unchanged=keeps_unchanged
                )
            except ChangedMeanwhile:
                if attempt == ATTEMPTS_MAX:
                    raise
                attempt += 1

    async def write(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
        keeps_unchanged: bool = False,
        touched: Sequence[ControlObject] = (),
    ) -> tuple[Change, ...]:
        """Write all changes or none, once; return them as `write_planned` does. `touched` is as in `apply`.

        Of a single change, `after` has its new revision; of several, read again before the next change.
        """
        if self._read_only:
            raise ReadOnlyMode
        prepared = [_as_it_was(self._prepared(change, author)) for change in changes]
        to_write = [change for change in prepared if not _is_unchanged(change)]
        if to_write:
            to_write += [self._prepared(Change(action="touched", before=each, after=each), author) for each in touched]
            # What is written is under the first key: a rotation that runs now may have passed this object already.
            to_write = [self._shown(self._under_first_key(change)) for change in to_write]
            revision = await self._store.apply(
                to_write, author=author, now=self._clock.now(), requires=requires, none_left=none_left
            )
            if len(to_write) == 1:
                to_write = [_at_revision(to_write[0], revision)]
            await self._on_applied(revision)
        written = {change.ref: change for change in to_write}
        kept = [written.get(change.ref, change) for change in prepared]
        return tuple(change for change in kept if keeps_unchanged or change.ref in written)

    async def _matching(self, condition: NoneLeft) -> list[ControlObject]:
        everything = ObjectFilter(kind=condition.kind)
        where = msgspec.structs.replace(everything, **{f"{condition.relation}s": (condition.value,)})
        found: list[ControlObject] = []
        while True:
            page = await self._store.list_objects(where, offset=len(found), limit=_PAGE)
            found += page.objects
            if len(page.objects) < _PAGE:
                return found

    def _prepared(self, change: Change, author: Author) -> Change:
        """Seal what is to be written, and note who writes it."""
        if change.after is None:
            return change
        before, after = change.before, change.after
        spec = self.sealer.seal(after.kind, after.object_id, after.spec, before=before.spec if before else None)
        by, now = author.user_id or author.key_hash, self._clock.now()
        origin = before or msgspec.structs.replace(after, created_at=now, created_by=after.created_by or by, revision=0)
        after = msgspec.structs.replace(
            after,
            spec=spec,
            revision=origin.revision,
            created_at=origin.created_at,
            created_by=origin.created_by,
            updated_at=now,
            updated_by=by,
        )
        return msgspec.structs.replace(change, after=after)

    def _under_first_key(self, change: Change) -> Change:
        if change.after is None:
            return change
        after = change.after
        spec = self.sealer.reseal(after.kind, after.object_id, after.spec)
        return msgspec.structs.replace(change, after=msgspec.structs.replace(after, spec=spec))

    def _shown(self, change: Change) -> Change:
        before, after = change.before, change.after
        return msgspec.structs.replace(
            change,
            shown_before=shown(before) if before is not None else None,
            shown_after=shown(after) if after is not None else None,
        )


def shown(held: ControlObject) -> dict[str, Any]:  # Any: JSON.
    """Return an object as the audit keeps it: columns and spec, secrets masked."""
    safe = msgspec.structs.replace(held, spec=masked(held.kind, held.object_id, held.spec))
    columns: dict[str, Any] = msgspec.to_builtins(safe)  # Any: JSON.
    del columns["revision"]  # The new one is not known before the change is made.
    return columns


def missing(*refs: ObjectRef) -> NotFound:
    """Return the error that says which objects do not exist."""
    named = ", ".join(f"'{ref.object_id}'" for ref in refs[:10])
    kind = refs[0].kind.replace("_", " ").capitalize()
    return NotFound(f"{kind} not found: {named} does not exist.")


def _as_it_was(change: Change) -> Change:
    """Undo a change of nothing but the time."""
    before, after = change.before, change.after
    if before is None or after is None:
        return change
    times = {name: getattr(before, name) for name in _BOOKKEEPING}
    is_same = msgspec.structs.replace(after, **times) == before
    return msgspec.structs.replace(change, after=before) if is_same else change


def _is_unchanged(change: Change) -> bool:
    return change.before is not None and change.after is change.before


def _at_revision(change: Change, revision: int) -> Change:
    if change.after is None:
        return change
    return msgspec.structs.replace(change, after=msgspec.structs.replace(change.after, revision=revision))
