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
        self._spend = Spend(services.ledger_reader)

    async def show(self, team: ControlObject) -> dict[str, Any]:  # Any: JSON.
        """Return a team with its members and its spend."""
        (shown,) = await self.show_all((team,))
        return shown

    async def show_all(
        self, teams: Sequence[ControlObject], *, deleted: bool = False
    ) -> list[dict[str, Any]]:  # Any: JSON.
        """Return several, with one read each for all members, all emails and all sums."""
        members = await self._members.of_teams([team.object_id for team in teams], deleted=deleted)
        spent = await self._spend.of(teams)
        now = self._present()
        return [
            team_fields(team, members[team.object_id], spend_nano_usd=amount, now=now)
            for team, amount in zip(teams, spent, strict=True)
        ]

    async def show_memberships(
        self, team: ControlObject, members: Sequence[ControlObject]
    ) -> list[dict[str, Any]]:  # Any: JSON.
        """Return memberships of a team with their spend and the limits that hold for them."""
        spec, now = spec_as(TeamSpec, team.spec), self._present()
        spent = await self._spend.of(members)
        return [
            membership_fields(member, spec, spend_nano_usd=amount, now=now)
            for member, amount in zip(members, spent, strict=True)
        ]

    async def show_info(self, team: ControlObject) -> dict[str, Any]:  # Any: JSON.
        """Return all about a team: itself, its keys (the newest thousand) and its memberships."""
        members = (await self._members.of_teams((team.object_id,)))[team.object_id]
        page = await self._store.list_objects(
            ObjectFilter(kind=Kind.KEY, team_ids=(team.object_id,)), limit=_KEYS_SHOWN_MAX
        )
        spent_by_team, *spent_by_keys = await self._spend.of((team, *page.objects))
        now = self._present()
        return {
            "team_id": team.object_id,
            "team_info": team_fields(team, members, spend_nano_usd=spent_by_team, now=now),
            "keys": [
                team_key_fields(key, spend_nano_usd=amount, now=now)
                for key, amount in zip(page.objects, spent_by_keys, strict=True)
            ],
            "team_memberships": await self.show_memberships(team, [each.held for each in members]),
        }

    async def spend_of(self, member: ControlObject) -> int:
        """Return what a member has spent in the team, in nano-USD."""
        return await self._spend.of_one(member)
