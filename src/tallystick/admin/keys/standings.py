"""How a caller stands to the keys and teams that a request is about."""

from __future__ import annotations

import msgspec

from tallystick.access.key_rules import KeyAction, Standing, allows, require_allowed
from tallystick.access.teams import TEAM_MEMBER, MemberSpec, TeamSpec
from tallystick.admin.callers import Caller
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as
from tallystick.control.store import ControlStore, ObjectFilter, Scope

_MEMBERSHIPS_MAX = 1_000


class Standings:
    """Reads memberships and teams for the table of `access.key_rules`."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control

    async def to_key(self, caller: Caller, key: ControlObject) -> Standing:
        """Return how the caller stands to a key."""
        is_owner = _owns(caller, key)
        if not key.team_id or (is_owner and not caller.principal.user_id):
            # A service account has no role in its team: to itself, and what it made, it stands as to keys without one.
            return Standing(is_owner=is_owner)
        return msgspec.structs.replace(await self.to_team(caller, key.team_id), is_owner=is_owner)

    async def to_team(self, caller: Caller, team_id: str) -> Standing:
        """Return how the caller stands to the keys of a team."""
        user_id = caller.principal.user_id
        member_ref = ObjectRef(Kind.TEAM_MEMBER, member_id(team_id, user_id))
        found = await self._control.find_many((ObjectRef(Kind.TEAM, team_id), member_ref))
        by_kind = {each.kind: each for each in found}
        team, member = by_kind.get(Kind.TEAM), by_kind.get(Kind.TEAM_MEMBER)
        role = ""
        if user_id and member is not None:
            role = spec_as(MemberSpec, member.spec).role
        elif not user_id and team_id == caller.principal.team_id:
            role = TEAM_MEMBER  # A service account: a key of the team without a user.
        permissions = spec_as(TeamSpec, team.spec).member_permissions if team else ()
        return Standing(team_id=team_id, team_role=role, permissions=permissions)

    async def require(self, action: KeyAction, caller: Caller, key: ControlObject) -> Standing:
        """Raise PermissionDenied or TeamPermissionMissing unless the caller may do this with the key."""
        standing = await self.to_key(caller, key)
        if not caller.is_proxy_admin:
            require_allowed(action, standing)
        return standing

    async def may_see(self, caller: Caller, key: ControlObject) -> bool:
        """Whether the caller may see the key."""
        return caller.may_see_all or allows(KeyAction.INFO, await self.to_key(caller, key))

    async def team_ids(self, caller: Caller) -> tuple[str, ...]:
        """Return the teams of which the caller is a member."""
        if not caller.principal.user_id:
            return (caller.principal.team_id,) if caller.principal.team_id else ()
        where = ObjectFilter(kind=Kind.TEAM_MEMBER, user_ids=(caller.principal.user_id,))
        page = await self._control.list_objects(where, limit=_MEMBERSHIPS_MAX)
        return tuple(member.team_id for member in page.objects)


def own_keys(caller: Caller) -> Scope:
    """Return the scope of the caller's own keys."""
    user_id = caller.principal.user_id
    return Scope(user_ids=(user_id,) if user_id else (), object_ids=(caller.principal.key_hash,))


def _owns(caller: Caller, key: ControlObject) -> bool:
    principal = caller.principal
    if key.object_id == principal.key_hash:
        return True
    if principal.user_id:
        return key.user_id == principal.user_id
    return not key.user_id and key.created_by == principal.key_hash
