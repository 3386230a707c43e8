"""Control objects for tests: the rows that admins would have written, and a store whose reads can be held."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.control.store import Author, Change
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.testing.control_store import MemoryControlStore

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AUTHOR = Author(key_hash="the-author")


def held(kind: Kind, object_id: str, **fields: Any) -> ControlObject:
    """A row as it stands before it is written."""
    return ControlObject(kind=kind, object_id=object_id, created_at=NOW, updated_at=NOW, **fields)


def team_member(team_id: str, user_id: str, **spec: Any) -> ControlObject:
    return held(
        Kind.TEAM_MEMBER,
        member_id(team_id, user_id),
        team_id=team_id,
        user_id=user_id,
        spec={"role": "user", **spec},
    )


class GatedControlStore(MemoryControlStore):
    """A store whose look-ups of keys can be held between reading the rows and returning them."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.finds: list[str] = []
        self.gate: asyncio.Event | None = None
        self.reading = 0
        self.reading_peak = 0

    async def put(self, *wanted: ControlObject) -> int:
        """Write these rows, whatever is there."""
        return await self.apply([await self._change(each) for each in wanted], author=AUTHOR, now=NOW)

    async def remove(self, *refs: ObjectRef) -> int:
        gone = await self.find_many(refs)
        changes = [Change(action="deleted", before=each, after=None) for each in gone]
        return await self.apply(changes, author=AUTHOR, now=NOW)

    async def find_key(self, key_hash: str) -> tuple[ControlObject, ...]:
        self.finds.append(key_hash)
        found = await super().find_key(key_hash)
        if self.gate is not None:
            self.reading += 1
            self.reading_peak = max(self.reading_peak, self.reading)
            try:
                await self.gate.wait()
            finally:
                self.reading -= 1
            if self.away:
                raise StoreUnavailable
        return found

    def restore(self, *, entries: int) -> None:
        """Forget everything but the first entries of the feed, as a backup that is played back does."""
        del self._feed[entries:]

    async def _change(self, wanted: ControlObject) -> Change:
        before = await self.find(wanted.ref)
        return Change(action="created" if before is None else "updated", before=before, after=wanted)


def refs(*objects: ControlObject) -> Sequence[ObjectRef]:
    return tuple(each.ref for each in objects)
