"""Reads teams together with what their answers show: members, spend, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tallystick.access.members import TeamMembers
from tallystick.access.teams import TeamSpec
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.teams.views import membership_fields, team_fields, team_key_fields
from tallystick.control.objects import ControlObject, Kind, spec_as
from tallystick.control.store import ObjectFilter

_KEYS_SHOWN_MAX: Final = 1_000


class TeamReader:
    """Shows teams."""

    def __init__(self, services: AdminServices, members: TeamMembers) -> None:
        self._store = services.control
        self._present = services.present
        self._members = members
        self._spend = Spend(services)

    async def show(self, team: ControlObject) -> dict[str, Any]:  # Any: JSON.
        """Return a team with its members and its spend."""
        (shown,) = await self.show_all((team,))
        return shown

    async def show_all(
        self, teams: Sequence[ControlObject], *, deleted: bool = False
    ) -> list[dict[str, Any]]:  # Any: JSON.
        """Return several, with one read each for all members, all emails and all sums."""
        members = await self._members.of_teams([team.object_id for team in teams], deleted=deleted)
        present = self._present()
        spent = await self._spend.of(teams, present=present)
        return [
            team_fields(team, members[team.object_id], spent=amount, present=present)
            for team, amount in zip(teams, spent, strict=True)
        ]

    async def show_memberships(
        self, team: ControlObject, members: Sequence[ControlObject]
    ) -> list[dict[str, Any]]:  # Any: JSON.
        """Return memberships of a team with their spend and the limits that hold for them."""
        spec, present = spec_as(TeamSpec, team.spec), self._present()
        spent = await self._spend.of(members, present=present)
        return [
            membership_fields(member, spec, spent=amount, present=present)
            for member, amount in zip(members, spent, strict=True)
        ]

    async def show_info(self, team: ControlObject) -> dict[str, Any]:  # Any: JSON.
        """Return all about a team: itself, its keys (the newest thousand) and its memberships."""
        members = (await self._members.of_teams((team.object_id,)))[team.object_id]
        page = await self._store.list_objects(
            ObjectFilter(kind=Kind.KEY, team_ids=(team.object_id,)), limit=_KEYS_SHOWN_MAX
        )
        present = self._present()
        spent_by_team, *spent_by_keys = await self._spend.of((team, *page.objects), present=present)
        return {
            "team_id": team.object_id,
            "team_info": team_fields(team, members, spent=spent_by_team, present=present),
            "keys": [
                team_key_fields(key, spent=amount, present=present)
                for key, amount in zip(page.objects, spent_by_keys, strict=True)
            ],
            "team_memberships": await self.show_memberships(team, [each.held for each in members]),
        }
