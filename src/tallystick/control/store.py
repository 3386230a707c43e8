"""The port through which control objects are read and written, with their audit and their change feed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from tallystick.control.objects import ControlObject, Kind, ObjectRef

SortField = Literal["created_at", "updated_at", "name", "object_id", "expires_at"]
Relation = Literal["organization_id", "team_id", "user_id", "budget_id"]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A union: the object belongs to one of these users, teams or organizations, or is one of these objects."""

    user_ids: tuple[str, ...] = ()
    team_ids: tuple[str, ...] = ()
    organization_ids: tuple[str, ...] = ()
    object_ids: tuple[str, ...] = ()


class ObjectFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects to list. None does not filter, () matches nothing, '' in a tuple matches objects without one."""

    kind: Kind
    object_ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    organization_ids: tuple[str, ...] | None = None
    team_ids: tuple[str, ...] | None = None
    user_ids: tuple[str, ...] | None = None
    budget_ids: tuple[str, ...] | None = None
    created_by: str | None = None
    within: Scope | None = None
    search: str | None = None
    """A part of the name or of the id, whatever the case of its letters."""
    deleted: bool = False
    """True: those that were deleted, and only those."""


class ObjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of objects, and how many there are in all."""

    objects: tuple[ControlObject, ...]
    total_count: int


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a change."""

    key_hash: str
    user_id: str = ""
    changed_by: str = ""
    """What the caller says of itself in the header `litellm-changed-by`."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One object before and after. `before` None makes it, `after` None deletes it (its row stays, as deleted).

    `shown_before` and `shown_after` are what the audit keeps, with secrets masked.
    """

    action: str
    """A verb in the past: created, updated, deleted, blocked, unblocked, regenerated …"""
    before: ControlObject | None
    after: ControlObject | None
    shown_before: dict[str, Any] | None = None  # Any: JSON.
    shown_after: dict[str, Any] | None = None  # Any: JSON.

    @property
    def ref(self) -> ObjectRef:
        changed = self.after or self.before
        assert changed is not None, "a change has an object"
        return changed.ref


class NoneLeft(msgspec.Struct, frozen=True, kw_only=True):
    """A condition: when the changes are made, no living object of this kind has this relation."""

    kind: Kind
    relation: Relation
    value: str


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An object that changed, at a revision of the change feed."""

    revision: int
    ref: ObjectRef


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Living objects as they were at one revision."""

    revision: int
    objects: tuple[ControlObject, ...]


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object; secrets are masked."""

    audit_id: str
    changed_at: datetime
    author: Author
    action: str
    ref: ObjectRef
    before: dict[str, Any] | None  # Any: JSON.
    after: dict[str, Any] | None  # Any: JSON.


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which audit rows to list; None does not filter."""

    audit_id: str | None = None
    kind: str | None = None
    object_id: str | None = None
    action: str | None = None
    changed_by: str | None = None
    """Matches the author's user id and what the author said of itself."""
    key_hash: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of audit rows, newest first, and how many there are in all."""

    rows: tuple[AuditRow, ...]
    total_count: int


class ControlStore(Protocol):
    """Control objects. All methods raise StoreUnavailable when the database is away."""

    async def find(self, ref: ObjectRef) -> ControlObject | None:
        """Return a living object, or None."""

    async def find_many(self, refs: Sequence[ObjectRef]) -> tuple[ControlObject, ...]:
        """Return those of the objects that live, in no order."""

    async def find_key(self, key_hash: str) -> tuple[ControlObject, ...]:
        """Return a key and what it stands for, in one read: key, team, team member, user, organization (the team's
        where the key has a team that is of one, else the key's own), organization member and the budgets to which
        these refer, those that live, in this order; budgets among themselves in none.

        A hash that was retired by a regeneration and has not expired yet leads to the key that took its place; the
        retired key is then returned last. () when neither is there.
        """

    async def list_objects(
        self,
        where: ObjectFilter,
        *,
        sort_by: SortField = "created_at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 100,
    ) -> ObjectPage:
        """Return one page, as of one moment. Ties are ordered by age, so that pages don't overlap."""

    async def load(self, kinds: Sequence[Kind]) -> Loaded:
        """Return every living object of these kinds and the revision at which this was so, as of one moment."""

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        author: Author,
        now: datetime,
        requires: Sequence[ObjectRef] = (),
        none_left: Sequence[NoneLeft] = (),
    ) -> int:
        """Make all changes or none, in one transaction with their audit rows and feed rows; return the revision.

        `requires` live and stay while the transaction runs. Rows are locked in the order of kind and id.
        Raises AlreadyExists when a new object's id or unique name is taken (a key's hash stays taken for ever; names
        are compared as they are after all changes, so that a new object may take the name of one that goes),
        ChangedMeanwhile when an object is no longer at the revision of its `before`, a required one does not live, or
        `none_left` does not hold; RowRefused.
        """

    async def revision(self) -> int:
        """Return the newest revision of the change feed, 0 when it is empty."""

    async def changes_after(self, revision: int, *, limit: int) -> tuple[FeedEntry, ...]:
        """Return the changes above `revision` in ascending order. Feed order is commit order: none appears late."""

    async def wait_for_change(self, *, timeout_seconds: float) -> None:
        """Return when the database tells of a change, or after the timeout: a hint, never the only way to hear of it.

        Engines or connections that can't tell (SQLite, PgBouncer in transaction mode) wait for the timeout.
        """

    async def list_audit(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return one page of the audit, newest first."""
