"""Which keys a list shows: what was asked for, within what the caller may see."""

from __future__ import annotations

import msgspec

from tallystick.admin.callers import Caller
from tallystick.admin.keys.standings import Standings, own_keys
from tallystick.admin.objects import list_all
from tallystick.control.objects import Kind
from tallystick.control.store import ControlStore, ObjectFilter, Scope
from tallystick.errors import PermissionDenied

_CREATED_MAX = 1_000


class KeyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of keys was asked for; None does not filter."""

    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    key_hash: str | None = None
    key_alias: str | None = None
    search: str | None = None
    with_team_keys: bool = False
    """Others' keys in the caller's teams, too."""
    with_created: bool = False
    """Keys that the caller made for others, too."""
    deleted: bool = False


class KeyListing:
    """Turns queries into filters of the store."""

    def __init__(self, control: ControlStore, standings: Standings) -> None:
        self._control = control
        self._standings = standings

    async def filter_for(self, caller: Caller, query: KeyQuery) -> ObjectFilter:
        """Return the filter. Raises PermissionDenied when it asks for a user or team that the caller may not see."""
        where = ObjectFilter(
            kind=Kind.KEY,
            object_ids=_one(query.key_hash),
            names=_one(query.key_alias),
            user_ids=_one(query.user_id),
            team_ids=_one(query.team_id),
            search=query.search,
            deleted=query.deleted,
        )
        if caller.may_see_all:
            return await self._within_organization(where, query.organization_id)
        where = msgspec.structs.replace(where, organization_ids=_one(query.organization_id))
        return msgspec.structs.replace(where, within=await self._visible(caller, query))

    async def aliases(self, where: ObjectFilter, *, containing: str) -> list[str]:
        """Return the aliases of the keys that match and have one."""
        needle = containing.lower()
        narrowed = msgspec.structs.replace(where, search=containing or None)
        found = await list_all(
            self._control, narrowed, sort_by="name", keep=lambda key: bool(key.name) and needle in key.name.lower()
        )
        return [key.name for key in found]

    async def _visible(self, caller: Caller, query: KeyQuery) -> Scope:
        user_id = caller.principal.user_id
        team_ids: tuple[str, ...] = ()
        if query.user_id is not None and query.user_id != user_id and not query.with_team_keys:
            raise PermissionDenied("You are not allowed to list the keys of other users.", param="user_id")
        if query.with_team_keys or query.team_id is not None:
            team_ids = await self._standings.team_ids(caller)
        if query.team_id is not None and query.team_id not in team_ids:
            raise PermissionDenied(
                f"You are not allowed to list the keys of team '{query.team_id}': you are no member.", param="team_id"
            )
        own = own_keys(caller)
        created = await self._created_by(caller) if query.with_created else ()
        return Scope(
            user_ids=own.user_ids,
            team_ids=team_ids if query.with_team_keys else await self._administered(caller, query.team_id),
            object_ids=(*own.object_ids, *created),
        )

    async def _administered(self, caller: Caller, team_id: str | None) -> tuple[str, ...]:
        """Of a team that is asked for by its id, admins see all keys."""
        return (team_id,) if team_id and await caller.team_role(team_id) == "admin" else ()

    async def _created_by(self, caller: Caller) -> tuple[str, ...]:
        author = caller.author.user_id or caller.author.key_hash
        where = ObjectFilter(kind=Kind.KEY, created_by=author)
        page = await self._control.list_objects(where, limit=_CREATED_MAX)
        return tuple(key.object_id for key in page.objects)

    async def _within_organization(self, where: ObjectFilter, organization_id: str | None) -> ObjectFilter:
        """An organization's keys are those that name it, and those of its teams."""
        if organization_id is None:
            return where
        teams = await list_all(self._control, ObjectFilter(kind=Kind.TEAM, organization_ids=(organization_id,)))
        scope = Scope(organization_ids=(organization_id,), team_ids=tuple(team.object_id for team in teams))
        return msgspec.structs.replace(where, within=scope)


def _one(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)
