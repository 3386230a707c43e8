"""What people call the keys, users, teams and organizations of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tallystick.access.keys import KeySpec
from tallystick.access.principal import MASTER_KEY_ALIAS, MASTER_KEY_HASH
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore
from tallystick.ledger.store import SumRow

NO_TEAM: Final = "Unassigned"
_KINDS: Final[Mapping[str, Kind]] = {
    "key": Kind.KEY,
    "user": Kind.USER,
    "team": Kind.TEAM,
    "organization": Kind.ORGANIZATION,
}


class Names:
    """The living objects of a report. Those that are gone have no name: their spend stays."""

    def __init__(self, found: Iterable[ControlObject] = ()) -> None:
        self._found = {each.ref: each for each in found}

    @classmethod
    async def of(cls, control: ControlStore, rows: Iterable[SumRow]) -> Names:
        """Find the names of everything in the groups of some rows, in one read."""
        wanted = {
            ObjectRef(kind, row.group[group]) for row in rows for group, kind in _KINDS.items() if row.group.get(group)
        }
        return cls(await control.find_many(sorted(wanted)) if wanted else ())

    @classmethod
    async def of_kind(cls, control: ControlStore, kind: Kind, ids: Iterable[str]) -> Names:
        """Find the names of some objects of one kind, in one read."""
        wanted = [ObjectRef(kind, object_id) for object_id in dict.fromkeys(ids) if object_id]
        return cls(await control.find_many(wanted) if wanted else ())

    def found(self, kind: Kind, object_id: str) -> ControlObject | None:
        return self._found.get(ObjectRef(kind, object_id))

    def of_key(self, key_hash: str) -> str:
        """Return a key's alias, '' when it has none."""
        if key_hash == MASTER_KEY_HASH:
            return MASTER_KEY_ALIAS
        return self._name(Kind.KEY, key_hash)

    def masked_key(self, key_hash: str) -> str:
        """Return what may be shown of the key itself, '' when it is gone."""
        held = self.found(Kind.KEY, key_hash)
        return "" if held is None else spec_as(KeySpec, held.spec).key_name

    def of_team(self, team_id: str) -> str:
        """Return a team's alias, else its id."""
        return self._name(Kind.TEAM, team_id) or team_id

    def label_of_team(self, team_id: str) -> str:
        """Return how a report calls a team; what belongs to none has a name too."""
        return self.of_team(team_id) or NO_TEAM

    def entity(self, group: str, object_id: str) -> dict[str, str]:
        """Return the names of an entity of an activity report, as its metadata has them."""
        match group:
            case "team":
                return {"team_alias": self.of_team(object_id)}
            case "organization":
                return {"organization_alias": self._name(Kind.ORGANIZATION, object_id) or object_id}
            case "user":
                return {"user_email": self._name(Kind.USER, object_id)}
            case _:
                return {}

    def _name(self, kind: Kind, object_id: str) -> str:
        held = self.found(kind, object_id)
        return "" if held is None else held.name
