"""What a key refers to: its team, budget and organization must exist, and allow what it is given."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.access.key_rules import is_guaranteed, require_within_team
from tallystick.access.keys import KeySpec
from tallystick.access.teams import TeamSpec
from tallystick.admin.objects import list_all
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import BadRequest

_RELATIONS: Final = (
    (Kind.TEAM, "team_id", "Team"),
    (Kind.ORGANIZATION, "organization_id", "Organization"),
    (Kind.BUDGET, "budget_id", "Budget"),
)


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """What must still hold when a key is written."""

    requires: tuple[ObjectRef, ...]
    """They must still exist."""
    touched: tuple[ControlObject, ...] = ()
    """They must still be as they were."""
    team: ControlObject | None = None
    budget: ControlObject | None = None


class RelatedObjects:
    """Checks a key against what it names."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control

    async def check(self, after: ControlObject, *, before: ControlObject | None = None) -> Related:
        """Raise BadRequest when the key names what does not exist, or takes more than its team has.

        What the key named before is not asked for again: it may have been deleted since.
        """
        wanted = [
            (ObjectRef(kind, getattr(after, column)), column, word)
            for kind, column, word in _RELATIONS
            if getattr(after, column)
        ]
        found = {each.ref: each for each in await self._control.find_many([ref for ref, _, _ in wanted])}
        requires = []
        for ref, column, word in wanted:
            if before is not None and getattr(before, column) == ref.object_id:
                continue
            if ref not in found:
                raise BadRequest(f"{word} not found: {column} '{ref.object_id}' does not exist.", param=column)
            requires.append(ref)
        team = found.get(ObjectRef(Kind.TEAM, after.team_id))
        _require_one_organization(after, team)
        await self._require_free_alias(after, before)
        return Related(
            requires=tuple(requires),
            touched=await self._guaranteed(after, before, team),
            team=team,
            budget=found.get(ObjectRef(Kind.BUDGET, after.budget_id)),
        )

    async def budget_of(self, key: ControlObject) -> ControlObject | None:
        """Return the shared budget of a key."""
        return await self._control.find(ObjectRef(Kind.BUDGET, key.budget_id)) if key.budget_id else None

    async def _guaranteed(
        self, after: ControlObject, before: ControlObject | None, team: ControlObject | None
    ) -> tuple[ControlObject, ...]:
        """Check what is set aside from the team's limits. The team is touched, so that two keys made at the same
        time can't both take what is left.
        """
        spec = spec_as(KeySpec, after.spec)
        if team is None or not (is_guaranteed(spec, "tpm_limit") or is_guaranteed(spec, "rpm_limit")):
            return ()
        keys = await list_all(self._control, ObjectFilter(kind=Kind.KEY, team_ids=(team.object_id,)))
        own_ids = {after.object_id, before.object_id if before else ""}
        others = [spec_as(KeySpec, key.spec) for key in keys if key.object_id not in own_ids]
        require_within_team(spec, spec_as(TeamSpec, team.spec).limits, others)
        return (team,)

    async def _require_free_alias(self, after: ControlObject, before: ControlObject | None) -> None:
        if not after.name or (before is not None and before.name == after.name):
            return
        where = ObjectFilter(kind=Kind.KEY, names=(after.name,))
        if (await self._control.list_objects(where, limit=1)).objects:
            raise BadRequest(
                f"Key with alias '{after.name}' already exists; an alias belongs to one key.", param="key_alias"
            )


def _require_one_organization(key: ControlObject, team: ControlObject | None) -> None:
    if team is None or not key.organization_id or not team.organization_id:
        return
    if key.organization_id != team.organization_id:
        raise BadRequest(
            f"'organization_id' is '{key.organization_id}', but team '{team.object_id}' belongs to "
            f"'{team.organization_id}'. Leave it out for a key of that team.",
            param="organization_id",
        )
