"""Whose spend a caller may see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.access.members import everything
from tallystick.access.teams import TEAM_ADMIN, MemberSpec, TeamSpec
from tallystick.admin.callers import Caller
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import NotFound, PermissionDenied
from tallystick.ledger.store import ActivityFilter

_PERMISSION: Final = "/team/daily/activity"
_ORGANIZATION_ADMIN: Final = "org_admin"


class SpendScope:
    """Answers which rows of the cube a caller may see. Each answer is a list: what matches any of them is shown."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control

    def of_users(self, caller: Caller, user_id: str | None) -> list[ActivityFilter]:
        """One user's, by default the caller's own; everybody's for who sees everything. Raises PermissionDenied."""
        if caller.may_see_all:
            return [ActivityFilter(user_ids=None if user_id is None else (user_id,))]
        own = caller.principal.user_id
        if user_id is not None and user_id != own:
            raise PermissionDenied("This key is not allowed to see the spend of other users.", param="user_id")
        # A key of nobody sees itself, not all that is nobody's.
        return [ActivityFilter(user_ids=(own,)) if own else ActivityFilter(key_hashes=(caller.principal.key_hash,))]

    async def of_teams(self, caller: Caller, team_ids: Sequence[str] | None) -> list[ActivityFilter]:
        """Those teams', by default all of the caller's: the whole for their admins, to members their own part.

        Raises NotFound for a team that is not the caller's.
        """
        if caller.may_see_all:
            return [ActivityFilter(team_ids=None if team_ids is None else tuple(team_ids))]
        own_key, own_team = caller.principal.key_hash, caller.principal.team_id
        whole, partly = await self._memberships(caller)
        mine = {*whole, *partly, *([own_team] if own_team else [])}
        for team_id in team_ids or ():
            if team_id not in mine:
                raise NotFound(f"Team not found: '{team_id}' does not exist, or is not yours.", param="team_ids")
        wanted = mine if team_ids is None else set(team_ids)
        filters = [
            ActivityFilter(team_ids=tuple(sorted(wanted & whole))),
            ActivityFilter(team_ids=tuple(sorted(wanted & partly)), user_ids=(caller.principal.user_id,)),
        ]
        if own_team in wanted - whole - partly:
            filters.append(ActivityFilter(team_ids=(own_team,), key_hashes=(own_key,)))
        return [each for each in filters if each.team_ids]

    async def of_organizations(self, caller: Caller, organization_ids: Sequence[str] | None) -> list[ActivityFilter]:
        """Those organizations', by default all of which the caller is an admin. Raises NotFound."""
        if caller.may_see_all:
            return [ActivityFilter(organization_ids=None if organization_ids is None else tuple(organization_ids))]
        mine = {
            each.organization_id
            for each in await self._rows_of(caller, Kind.ORGANIZATION_MEMBER)
            if spec_as(MemberSpec, each.spec).role == _ORGANIZATION_ADMIN
        }
        for organization_id in organization_ids or ():
            if organization_id not in mine:
                raise NotFound(
                    f"Organization not found: '{organization_id}' does not exist, or you are not its admin.",
                    param="organization_ids",
                )
        wanted = mine if organization_ids is None else set(organization_ids)
        return [ActivityFilter(organization_ids=tuple(sorted(wanted)))] if wanted else []

    async def is_whole_team(self, caller: Caller, team_id: str) -> bool:
        """Whether the caller sees all that a team spends."""
        return caller.may_see_all or team_id in (await self._memberships(caller))[0]

    async def _memberships(self, caller: Caller) -> tuple[set[str], set[str]]:
        """Return the teams that the caller sees as a whole, and those of which it sees its own part."""
        members = await self._rows_of(caller, Kind.TEAM_MEMBER)
        found = await self._control.find_many([ObjectRef(Kind.TEAM, each.team_id) for each in members])
        open_to_members = {
            each.object_id for each in found if _PERMISSION in spec_as(TeamSpec, each.spec).member_permissions
        }
        teams = {each.team_id for each in members}
        whole = {each.team_id for each in members if spec_as(MemberSpec, each.spec).role == TEAM_ADMIN}
        whole |= open_to_members
        return whole, teams - whole

    async def _rows_of(self, caller: Caller, kind: Kind) -> list[ControlObject]:
        if not caller.principal.user_id:
            return []
        return list(await everything(self._control, ObjectFilter(kind=kind, user_ids=(caller.principal.user_id,))))
