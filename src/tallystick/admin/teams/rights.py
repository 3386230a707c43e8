"""Who may do what with a team, when the table of routes leaves it to the target."""

from __future__ import annotations

from typing import Final

from tallystick.access.members import everything
from tallystick.access.team_rules import is_loosened
from tallystick.access.teams import TEAM_ADMIN, MemberSpec, TeamSpec
from tallystick.admin.callers import Caller
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import NotFound, PermissionDenied, RouteDenied

ORGANIZATION_ADMIN: Final = "org_admin"
# What an admin of the team itself may change of it; what bounds the team is its organization's.
_FREE_FOR_TEAM_ADMINS: Final = frozenset({"tags", "metadata", "member_limits", "member_permissions", "limits"})


class TeamRights:
    """Answers for one caller and one team; what is not allowed is raised."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def found(self, team_id: str) -> ControlObject:
        """Return a team. Raises NotFound."""
        team = await self._store.find(ObjectRef(Kind.TEAM, team_id))
        if team is None:
            raise NotFound(
                f"Team not found: team '{team_id}' does not exist (it doesn't exist in db).", param="team_id"
            )
        return team

    async def found_by_owner(self, caller: Caller, team_id: str) -> ControlObject:
        """Return a team that the caller owns. Raises RouteDenied; NotFound to those who own any team."""
        try:
            team = await self.found(team_id)
        except NotFound:
            if caller.is_proxy_admin or await self.administered(caller):
                raise
            raise _not_owner() from None
        await self.require_owner(caller, team.organization_id)
        return team

    async def is_organization_admin(self, caller: Caller, organization_id: str) -> bool:
        return bool(organization_id) and await caller.organization_role(organization_id) == ORGANIZATION_ADMIN

    async def administered(self, caller: Caller) -> tuple[str, ...]:
        """Return the organizations of which the caller is an admin."""
        return tuple(
            each.organization_id
            for each in await self._memberships(caller, Kind.ORGANIZATION_MEMBER)
            if spec_as(MemberSpec, each.spec).role == ORGANIZATION_ADMIN
        )

    async def own_teams(self, caller: Caller, *, deleted: bool = False) -> tuple[str, ...]:
        """Return the teams that the caller is a member of; a key without a user belongs to its own team."""
        if not caller.principal.user_id:
            return (caller.principal.team_id,) if caller.principal.team_id else ()
        return tuple(each.team_id for each in await self._memberships(caller, Kind.TEAM_MEMBER, deleted=deleted))

    async def require_owner(self, caller: Caller, organization_id: str) -> None:
        """Proxy admins, and admins of the organization. Raises RouteDenied."""
        if not caller.is_proxy_admin and not await self.is_organization_admin(caller, organization_id):
            raise _not_owner()

    async def require_writer(self, caller: Caller, team: ControlObject) -> None:
        """Owners, and admins of the team. Raises PermissionDenied."""
        if caller.is_proxy_admin or await self.is_organization_admin(caller, team.organization_id):
            return
        if await caller.team_role(team.object_id) != TEAM_ADMIN:
            raise PermissionDenied(
                f"Call not allowed. You are not an admin of team '{team.object_id}', nor of its organization.",
                param="team_id",
            )

    async def require_reader(self, caller: Caller, team: ControlObject) -> None:
        """Who sees everything, admins of the organization, members, and keys of the team. Raises PermissionDenied."""
        if caller.may_see_all or caller.principal.team_id == team.object_id:
            return
        if await caller.team_role(team.object_id) or await self.is_organization_admin(caller, team.organization_id):
            return
        raise PermissionDenied(
            f"This key is not authorized to access this team's info: you are not a member of '{team.object_id}'.",
            param="team_id",
        )

    async def require_updater(self, caller: Caller, team: ControlObject, *, destination: str | None) -> bool:
        """Return whether every field may be changed; False for admins of the team, see `require_modest`.

        `destination` is the organization that the request names, None when it names none: who names one must be an
        admin of it, and of the one where the team is. Raises RouteDenied, PermissionDenied.
        """
        if caller.is_proxy_admin:
            return True
        if destination is not None:
            await self.require_owner(caller, destination)
        if await self.is_organization_admin(caller, team.organization_id):
            return True
        if destination is None and await caller.team_role(team.object_id) == TEAM_ADMIN:
            return False
        if destination is None and not await self.administered(caller):
            raise _not_owner()
        raise PermissionDenied(f"You do not have access to this team: '{team.object_id}'.", param="team_id")

    async def _memberships(self, caller: Caller, kind: Kind, *, deleted: bool = False) -> list[ControlObject]:
        if not caller.principal.user_id:
            return []
        where = ObjectFilter(kind=kind, user_ids=(caller.principal.user_id,), deleted=deleted)
        return await everything(self._store, where)


def require_modest(before: ControlObject, after: ControlObject) -> None:
    """Refuse what an admin of the team may not do to it: raise its limits, or change by what it is bounded."""
    held, wanted = spec_as(TeamSpec, before.spec), spec_as(TeamSpec, after.spec)
    if is_loosened(held.limits, wanted.limits):
        raise PermissionDenied(
            "Team admins may lower the limits of their team, not raise max_budget or others, nor change windows. Ask "
            "an admin of the organization or the proxy.",
            param="max_budget",
        )
    changed = [
        field
        for field in TeamSpec.__struct_fields__
        if field not in _FREE_FOR_TEAM_ADMINS and getattr(held, field) != getattr(wanted, field)
    ]
    if changed or before.blocked != after.blocked:
        raise PermissionDenied(
            f"Team admins may not change '{changed[0] if changed else 'blocked'}' of their team. Ask an admin of the "
            "organization or the proxy."
        )


def _not_owner() -> RouteDenied:
    return RouteDenied("Only proxy admins and admins of the team's organization may do this to a team.")
