"""What entities have spent: the ledger's sums, corrected by what admins have set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tallystick.access.keys import KeySpec
from tallystick.control.objects import ControlObject, Kind, spec_as
from tallystick.ledger.store import EntityRef, LedgerReader

_TYPES: Final[Mapping[Kind, str]] = {
    Kind.KEY: "key",
    Kind.USER: "user",
    Kind.TEAM: "team",
    Kind.ORGANIZATION: "organization",
    Kind.CUSTOMER: "end_user",
    Kind.TAG: "tag",
}


class Spend:
    """Sums the ledger for control objects."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger

    async def of(self, objects: Sequence[ControlObject]) -> list[int]:
        """Return what each has spent in nano-USD, in the same order, in one read."""
        entities = {entity for each in objects for entity in _entities_of(each)}
        sums = await self._ledger.spend_of(tuple(entities))
        return [sum(sums[entity] for entity in _entities_of(each)) + _adjustment_of(each) for each in objects]

    async def of_one(self, held: ControlObject) -> int:
        """Return what it has spent in nano-USD."""
        (spent,) = await self.of((held,))
        return spent


def _entities_of(held: ControlObject) -> tuple[EntityRef, ...]:
    if held.kind == Kind.KEY:
        hashes = (held.object_id, *spec_as(KeySpec, held.spec).prior_hashes)
        return tuple(("key", key_hash, "") for key_hash in hashes)
    if held.kind == Kind.TEAM_MEMBER:
        return (("team_member", held.team_id, held.user_id),)
    entity_type = _TYPES.get(held.kind)
    return () if entity_type is None else ((entity_type, held.object_id, ""),)


def _adjustment_of(held: ControlObject) -> int:
    return int(held.spec.get("spend_adjustment_nano_usd", 0))
