"""Users with what belongs to them: spend, teams and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tallystick.admin.keys.views import listed_key
from tallystick.admin.objects import list_all
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.users.memberships import Memberships
from tallystick.admin.users.views import team_fields, user_fields
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import ObjectFilter


class ShownUsers:
    """Gathers the views of users."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._present = services.present
        self._spend = Spend(services)
        self._memberships = Memberships(services.control)

    async def views(self, users: Sequence[ControlObject]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return the views of several users, in the same order."""
        present = self._present()
        spends = await self._spend.of(users, present=present)
        teams = await self._memberships.team_ids(user.object_id for user in users)
        return [
            user_fields(user, spent=spend, team_ids=teams[user.object_id], present=present)
            for user, spend in zip(users, spends, strict=True)
        ]

    async def keys_of(self, user_id: str) -> list[dict[str, Any]]:  # Any: JSON.
        """Return a user's keys."""
        return await self.keys(await list_all(self._control, ObjectFilter(kind=Kind.KEY, user_ids=(user_id,))))

    async def keys(self, keys: Sequence[ControlObject]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return keys as lists show them."""
        present = self._present()
        spends = await self._spend.of(keys, present=present)
        return [listed_key(key, spent=spend, present=present) for key, spend in zip(keys, spends, strict=True)]

    async def teams(self, team_ids: Sequence[str]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return those of the teams that exist, in the same order."""
        found = await self._control.find_many([ObjectRef(Kind.TEAM, team_id) for team_id in team_ids])
        by_id = {team.object_id: team for team in found}
        teams = [by_id[team_id] for team_id in team_ids if team_id in by_id]
        present = self._present()
        spends = await self._spend.of(teams, present=present)
        return [team_fields(team, spent=spend, present=present) for team, spend in zip(teams, spends, strict=True)]

    async def key_count(self, user_id: str) -> int:
        """Return how many keys a user has."""
        return (await self._control.list_objects(ObjectFilter(kind=Kind.KEY, user_ids=(user_id,)), limit=1)).total_count
