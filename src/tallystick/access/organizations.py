"""What belongs to an organization and goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.control.listing import list_all
from tallystick.control.objects import Kind
from tallystick.control.store import ControlStore, NoneLeft, ObjectFilter

ORG_ADMIN: Final = "org_admin"

_OF_ORGANIZATION: Final = (Kind.ORGANIZATION_MEMBER, Kind.TEAM, Kind.KEY)
_OF_TEAM: Final = (Kind.TEAM_MEMBER, Kind.KEY, Kind.MODEL)


async def belongings(store: ControlStore, organization_ids: Sequence[str]) -> list[NoneLeft]:
    """Return the conditions under which nothing is left of organizations: no members, no teams with all of theirs,
    no keys, no models that only their teams may use.
    """
    teams = await list_all(store, ObjectFilter(kind=Kind.TEAM, organization_ids=tuple(organization_ids)))
    return [
        *(
            NoneLeft(kind=kind, relation="organization_id", value=organization_id)
            for organization_id in organization_ids
            for kind in _OF_ORGANIZATION
        ),
        *(NoneLeft(kind=kind, relation="team_id", value=team.object_id) for team in teams for kind in _OF_TEAM),
    ]
