"""Customers and tags exist from the first call that names them: those of the ledger beside those that admins made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.ledger.store import LedgerReader

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When an object was made that nobody made."""
_SEEN_MAX: Final = 10_000


class SeenPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page, and how many there are in all."""

    objects: tuple[ControlObject, ...]
    total_count: int


class FirstSeen:
    """Objects of a kind, made by admins or known from the ledger. A deleted one is not known any more."""

    def __init__(self, kind: Kind, entity_type: str, store: ControlStore, ledger: LedgerReader) -> None:
        self._kind = kind
        self._entity_type = entity_type
        self._store = store
        self._ledger = ledger

    async def find(self, object_id: str) -> ControlObject | None:
        """Return an object, None for one that is deleted or was never seen."""
        held = await self._store.find(ObjectRef(self._kind, object_id))
        if held is not None or await self._deleted([object_id]):
            return held
        return await self.seen(object_id)

    async def find_many(self, object_ids: Sequence[str]) -> dict[str, ControlObject]:
        """Return those of the objects that there are, by their ids."""
        wanted = list(dict.fromkeys(object_ids))
        held = await self._store.find_many([ObjectRef(self._kind, each) for each in wanted])
        found = {each.object_id: each for each in held}
        missing = [each for each in wanted if each not in found]
        deleted = await self._deleted(missing)
        for object_id in missing:
            seen = None if object_id in deleted else await self.seen(object_id)
            if seen is not None:
                found[object_id] = seen
        return found

    async def seen(self, object_id: str) -> ControlObject | None:
        """Return what the ledger alone knows, also of a deleted one; None when no call named it."""
        total = await self._ledger.total(self._entity_type, object_id)
        return self.blank(object_id) if total.requests else None

    def blank(self, object_id: str) -> ControlObject:
        """Return an object about which nothing was said yet."""
        return ControlObject(kind=self._kind, object_id=object_id, created_at=NEVER, updated_at=NEVER)

    async def page(self, *, search: str | None = None, offset: int, limit: int) -> SeenPage:
        """Return one page: first what admins made, the newest first, then what the ledger knows, dearest first.

        Of the latter, the 10,000 dearest are looked at.
        """
        made = await self._store.list_objects(ObjectFilter(kind=self._kind, search=search), offset=offset, limit=limit)
        seen = await self._only_seen(search)
        start = max(0, offset - made.total_count)
        rest = seen[start : start + limit - len(made.objects)]
        return SeenPage(objects=(*made.objects, *rest), total_count=made.total_count + len(seen))

    async def _only_seen(self, search: str | None) -> list[ControlObject]:
        needle = (search or "").lower()
        rows = await self._ledger.totals(self._entity_type, limit=_SEEN_MAX)
        ids = [row.group["entity_id"] for row in rows if needle in row.group["entity_id"].lower()]
        held = await self._store.find_many([ObjectRef(self._kind, each) for each in ids])
        known = {each.object_id for each in held} | await self._deleted(ids)
        return [self.blank(each) for each in ids if each and each not in known]

    async def _deleted(self, object_ids: Sequence[str]) -> set[str]:
        if not object_ids:
            return set()
        where = ObjectFilter(kind=self._kind, object_ids=tuple(object_ids), deleted=True)
        page = await self._store.list_objects(where, limit=_SEEN_MAX)
        return {each.object_id for each in page.objects}
