"""Control objects in plain Python, for tests: the promises of `ControlStore` and `SpecStore`, failures on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

import msgspec

from tallystick.control.objects import NAMED_ONCE, ControlObject, Kind, ObjectRef, member_id
from tallystick.control.rotation import StoredSpec
from tallystick.control.store import (
    AuditFilter,
    AuditPage,
    AuditRow,
    Author,
    Change,
    FeedEntry,
    Loaded,
    NoneLeft,
    ObjectFilter,
    ObjectPage,
    SortField,
)
from tallystick.errors import AlreadyExists, ChangedMeanwhile, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id
from tallystick.testing.clock import FakeClock


class MemoryControlStore:
    """`ControlStore` and `SpecStore`, forgotten at the end."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.away = False
        """While true, every call raises StoreUnavailable."""
        self._clock = clock or FakeClock()
        self._living: dict[ObjectRef, ControlObject] = {}
        self._ages: dict[ObjectRef, int] = {}
        self._deleted: list[tuple[int, ControlObject]] = []
        self._feed: list[FeedEntry] = []
        self._audit: list[AuditRow] = []
        self._changed = asyncio.Event()

    async def find(self, ref: ObjectRef) -> ControlObject | None:
        await self._begin()
        return self._living.get(ref)

    async def find_many(self, refs: Sequence[ObjectRef]) -> tuple[ControlObject, ...]:
        await self._begin()
        return tuple(self._living[ref] for ref in dict.fromkeys(refs) if ref in self._living)

    async def find_key(self, key_hash: str) -> tuple[ControlObject, ...]:
        await self._begin()
        key, retired = self._living.get(ObjectRef(Kind.KEY, key_hash)), None
        if key is None:
            retired = self._living.get(ObjectRef(Kind.RETIRED_KEY, key_hash))
            if retired is None or (retired.expires_at is not None and retired.expires_at <= self._clock.now()):
                return ()
            key = self._living.get(ObjectRef(Kind.KEY, retired.spec["key_hash"]))
            if key is None:
                return ()
        team = self._living.get(ObjectRef(Kind.TEAM, key.team_id))
        organization_id = (team.organization_id if team else "") or key.organization_id
        related = [
            key,
            team,
            self._living.get(ObjectRef(Kind.TEAM_MEMBER, member_id(key.team_id, key.user_id))),
            self._living.get(ObjectRef(Kind.USER, key.user_id)),
            self._living.get(ObjectRef(Kind.ORGANIZATION, organization_id)),
            self._living.get(ObjectRef(Kind.ORGANIZATION_MEMBER, member_id(organization_id, key.user_id))),
        ]
        budget_ids = dict.fromkeys(found.budget_id for found in related if found is not None)
        related += [self._living.get(ObjectRef(Kind.BUDGET, budget_id)) for budget_id in budget_ids]
        return tuple(found for found in (*related, retired) if found is not None)

    async def list_objects(
        self,
        where: ObjectFilter,
        *,
        sort_by: SortField = "created_at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 100,
    ) -> ObjectPage:
        await self._begin()
        living = [(self._ages[ref], held) for ref, held in self._living.items()]
        aged = [(age, held) for age, held in (self._deleted if where.deleted else living) if _matches(held, where)]
        aged.sort(key=lambda each: each[0], reverse=descending)
        found = sorted((held for _, held in aged), key=_sort_key(sort_by), reverse=descending)
        return ObjectPage(objects=tuple(found[offset : offset + limit]), total_count=len(found))

    async def load(self, kinds: Sequence[Kind]) -> Loaded:
        await self._begin()
        wanted = set(kinds)
        objects = tuple(held for held in self._living.values() if held.kind in wanted)
        return Loaded(revision=len(self._feed), objects=objects)

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
    ) -> int:
        await self._begin()
        living = dict(self._living)
        revision = len(self._feed)
        for ref in requires:
            if ref not in living:
                raise ChangedMeanwhile(f"The {ref.kind} '{ref.object_id}' does not exist any more.")
        deleted: list[tuple[int, ControlObject]] = []
        ordered = sorted(changes, key=lambda each: each.ref)
        for change in ordered:
            revision += 1
            self._require_as_before(living, change)
            if change.after is None:
                gone = living.pop(change.ref)
                by = author.user_id or author.key_hash
                gone = msgspec.structs.replace(gone, deleted_at=now, deleted_by=by, revision=revision)
                deleted.append((self._ages[change.ref], gone))
            else:
                living[change.ref] = msgspec.structs.replace(change.after, revision=revision)
        _require_different_names(living)
        for condition in none_left:
            if any(_violates(held, condition) for held in living.values()):
                raise ChangedMeanwhile(f"A {condition.kind} was added at the same time. Try again.")
        self._living, self._deleted = living, [*self._deleted, *deleted]
        for change in ordered:
            self._note(change, author=author, now=now)
        return len(self._feed)

    async def revision(self) -> int:
        await self._begin()
        return len(self._feed)

    async def changes_after(self, revision: int, *, limit: int) -> tuple[FeedEntry, ...]:
        await self._begin()
        return tuple(islice((entry for entry in self._feed if entry.revision > revision), limit))

    async def wait_for_change(self, *, timeout_seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def list_audit(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        await self._begin()
        found = [row for row in reversed(self._audit) if _matches_audit(row, where)]
        return AuditPage(rows=tuple(found[offset : offset + limit]), total_count=len(found))

    async def specs_after(self, object_no: int, *, limit: int) -> tuple[StoredSpec, ...]:
        await self._begin()
        rows = [(self._ages[ref], held) for ref, held in self._living.items()]
        rows.extend(self._deleted)
        above = sorted(((number, held) for number, held in rows if number > object_no), key=lambda row: row[0])
        return tuple(
            StoredSpec(object_no=number, ref=held.ref, revision=held.revision, spec=held.spec)
            for number, held in above[:limit]
        )

    async def replace_specs(self, specs: Sequence[StoredSpec]) -> frozenset[int]:
        await self._begin()
        replaced: set[int] = set()
        for new in specs:
            held = self._living.get(new.ref)
            if held is not None and (self._ages[new.ref], held.revision) == (new.object_no, new.revision):
                self._living[new.ref] = msgspec.structs.replace(held, spec=new.spec)
                replaced.add(new.object_no)
            for place, (number, gone) in enumerate(self._deleted):
                if (number, gone.revision) == (new.object_no, new.revision):
                    self._deleted[place] = (number, msgspec.structs.replace(gone, spec=new.spec))
                    replaced.add(new.object_no)
        return frozenset(replaced)

    async def _begin(self) -> None:
        await asyncio.sleep(0)  # As with a database, others run before the answer is there.
        if self.away:
            raise StoreUnavailable("The store was told to be away.")

    def _require_as_before(self, living: dict[ObjectRef, ControlObject], change: Change) -> None:
        held = living.get(change.ref)
        if change.before is None:
            was_key = change.ref.kind == Kind.KEY and any(gone.ref == change.ref for _, gone in self._deleted)
            if held is not None or was_key:
                raise AlreadyExists(f"The {change.ref.kind} '{change.ref.object_id}' exists already.")
        elif held is None or held.revision != change.before.revision:
            raise ChangedMeanwhile(f"The {change.ref.kind} '{change.ref.object_id}' was changed at the same time.")

    def _note(self, change: Change, *, author: Author, now: datetime) -> None:
        self._feed.append(FeedEntry(revision=len(self._feed) + 1, ref=change.ref))
        if change.before is None:
            self._ages[change.ref] = len(self._feed)
        self._audit.append(
            AuditRow(
                audit_id=new_event_id(now),
                changed_at=now,
                author=author,
                action=change.action,
                ref=change.ref,
                before=change.shown_before,
                after=change.shown_after,
            )
        )
        self._changed.set()


def _require_different_names(living: dict[ObjectRef, ControlObject]) -> None:
    names = Counter((held.kind, held.name) for held in living.values() if held.kind in NAMED_ONCE and held.name)
    for (kind, name), count in names.items():
        if count > 1:
            raise AlreadyExists(f"A {kind} with the name '{name}' exists already.")


def _violates(held: ControlObject, condition: NoneLeft) -> bool:
    return held.kind == condition.kind and getattr(held, condition.relation) == condition.value


def _matches(held: ControlObject, where: ObjectFilter) -> bool:
    needle = (where.search or "").lower()
    return (
        held.kind == where.kind
        and (where.object_ids is None or held.object_id in where.object_ids)
        and (where.names is None or held.name in where.names)
        and (where.organization_ids is None or held.organization_id in where.organization_ids)
        and (where.team_ids is None or held.team_id in where.team_ids)
        and (where.user_ids is None or held.user_id in where.user_ids)
        and (where.budget_ids is None or held.budget_id in where.budget_ids)
        and (where.created_by is None or held.created_by == where.created_by)
        and (needle in held.name.lower() or needle in held.object_id.lower())
        and _is_within(held, where)
    )


def _is_within(held: ControlObject, where: ObjectFilter) -> bool:
    scope = where.within
    return scope is None or (
        held.user_id in scope.user_ids
        or held.team_id in scope.team_ids
        or held.organization_id in scope.organization_ids
        or held.object_id in scope.object_ids
    )


def _sort_key(field: SortField) -> Callable[[ControlObject], tuple[bool, object]]:
    """Objects without the value come first in ascending order, as the least."""
    return lambda held: (getattr(held, field) is not None, getattr(held, field) or "")


def _matches_audit(row: AuditRow, where: AuditFilter) -> bool:
    return (
        where.audit_id in {None, row.audit_id}
        and where.kind in {None, row.ref.kind}
        and where.object_id in {None, row.ref.object_id}
        and where.action in {None, row.action}
        and where.changed_by in {None, row.author.user_id, row.author.changed_by}
        and where.key_hash in {None, row.author.key_hash}
        and (where.since is None or where.since <= row.changed_at)
        and (where.until is None or row.changed_at < where.until)
    )
