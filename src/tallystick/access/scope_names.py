"""Who is meant by a scope: the names and ids that people know, read from the control objects."""

from __future__ import annotations

from typing import Final

from tallystick.access.budget_alert import ScopeNames
from tallystick.access.scopes import Scope
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import ControlStore

_USERS: Final = ("user", "personal", "team_member", "organization_member")


class ScopeDirectory:
    """Looks scopes up."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def names_of(self, scope: Scope, entity_ids: tuple[str, ...] = ()) -> ScopeNames:
        """Return what is known of a scope, in one read. Raises StoreUnavailable."""
        refs = _refs_of(scope, entity_ids)
        found = {each.kind: each for each in await self._store.find_many(refs)} if refs else {}
        key, user, team = found.get(Kind.KEY), found.get(Kind.USER), found.get(Kind.TEAM)
        organization_id = scope.id if scope.type in ("organization", "organization_member") else ""
        if scope.type == "key":
            return ScopeNames(
                key_hash=key.object_id if key else scope.id,
                key_alias=_name(key),
                user_id=key.user_id if key else "",
                team_id=key.team_id if key else "",
                organization_id=key.organization_id if key else "",
            )
        return ScopeNames(
            user_id=_user_of(scope),
            user_email=_name(user),
            team_id=scope.id if scope.type in ("team", "team_member") else "",
            team_alias=_name(team),
            organization_id=organization_id or (team.organization_id if team else ""),
        )


def _user_of(scope: Scope) -> str:
    if scope.type in ("user", "personal"):
        return scope.id
    return scope.member_id if scope.type in _USERS else ""


def _refs_of(scope: Scope, entity_ids: tuple[str, ...]) -> list[ObjectRef]:
    refs = []
    if scope.type == "key":
        refs = [ObjectRef(Kind.KEY, each) for each in dict.fromkeys((scope.id, *entity_ids))]
    elif scope.type in ("team", "team_member"):
        refs = [ObjectRef(Kind.TEAM, scope.id)]
    if scope.type in _USERS:
        refs.append(ObjectRef(Kind.USER, _user_of(scope)))
    return refs


def _name(held: ControlObject | None) -> str:
    return "" if held is None else held.name
