"""`/team/member_…`: add, change and remove members of a team."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.responses import Response

from tallystick.access.limits import Limits
from tallystick.access.members import TeamMembers
from tallystick.access.teams import MemberSpec
from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import PathID
from tallystick.admin.limits import usd
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.retries import until_unchanged
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.teams.former_ids import FormerIds
from tallystick.admin.teams.member_requests import (
    AddMembers,
    BulkAddMembers,
    NameMember,
    ResetMemberSpend,
    UpdateMember,
)
from tallystick.admin.teams.reader import TeamReader
from tallystick.admin.teams.requests import MemberBody
from tallystick.admin.teams.rights import TeamRights
from tallystick.control.objects import ControlObject, spec_as
from tallystick.errors import RequestError


class MemberRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._writer = services.writer
        self._present = services.present
        self._spend = Spend(services)
        self._members = TeamMembers(store=services.control, writer=services.writer, clock=services.clock)
        self._rights = TeamRights(services.control)
        self._reader = TeamReader(services, self._members)
        self._former_ids = FormerIds(services)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Team members"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/team/member_add")(self.add)
        router.post("/team/bulk_member_add")(self.bulk_add)
        router.post("/team/member_update")(self.update)
        router.post("/team/member_delete")(self.delete)
        router.post("/team/{team_id}/member/{user_id}/reset_spend")(self.reset_spend)
        return router

    async def add(self, caller: AnyCaller, body: AddMembers) -> Response:
        """Add a member, or several: all or none. Users who don't exist yet are made."""
        team = await self._found_by_writer(caller, body.team_id)
        asked = body.member if isinstance(body.member, list) else [body.member]
        limits = body.patched_limits(Limits())
        await self._former_ids.require_new_users(caller, (each.user_id or "" for each in asked))
        added, users = await self._members.add(
            team.object_id, [each.new_member(limits=limits) for each in asked], author=caller.author
        )
        answer = {
            **await self._reader.show(team),
            "updated_users": [{"user_id": user.object_id, "user_email": user.name or None} for user in users],
            "updated_team_memberships": await self._reader.show_memberships(team, added),
        }
        return json_answer(answer, headers=ignored_fields([*body.unknown_fields(), *_unknown_of_members(asked)]))

    async def bulk_add(self, caller: AnyCaller, body: BulkAddMembers) -> Response:
        """Add members, each by itself: one who can't be added does not keep the others out."""
        team = await self._found_by_writer(caller, body.team_id)
        limits = body.patched_limits(Limits())
        results = [await self._try_to_add(caller, team, each, limits) for each in body.members]
        good = sum(result["success"] for result in results)
        answer = {
            "team_id": team.object_id,
            "results": results,
            "total_requested": len(results),
            "successful_additions": good,
            "failed_additions": len(results) - good,
            "updated_team": await self._reader.show(team),
        }
        headers = ignored_fields([*body.unknown_fields(), *_unknown_of_members(body.members)])
        return json_answer(answer, headers=headers)

    async def update(self, caller: AnyCaller, body: UpdateMember) -> Response:
        """Change a member's role or limits: what is omitted stays, null clears."""
        team = await self._found_by_writer(caller, body.team_id)
        member = await self._found_member(team, body)
        _, after = await self._writer.update(member.ref, body.patched, author=caller.author)
        spec = spec_as(MemberSpec, after.spec)
        answer = {
            "team_id": team.object_id,
            "user_id": after.user_id,
            "user_email": body.user_email,
            "role": spec.role,
            "max_budget_in_team": usd(spec.limits.max_budget_nano_usd),
            "budget_duration": spec.limits.budget_duration or None,
            "budget_reset_at": self._present().reset_at(spec.limits.budget_duration),
            "tpm_limit": spec.limits.tpm_limit,
            "rpm_limit": spec.limits.rpm_limit,
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: NameMember) -> Response:
        """Take a member out of a team, and delete the keys that the user has in this team."""
        team = await self._found_by_writer(caller, body.team_id)
        await self._members.remove(
            team.object_id, user_id=body.user_id or "", user_email=body.user_email or "", author=caller.author
        )
        return json_answer(await self._reader.show(team), headers=ignored_fields(body.unknown_fields()))

    async def reset_spend(
        self, caller: AnyCaller, team_id: PathID, user_id: PathID, body: ResetMemberSpend | None = None
    ) -> Response:
        """Set what a member has spent in the team, to 0 unless `reset_to` says otherwise. The ledger stays as it is."""
        asked = body or ResetMemberSpend()
        team = await self._found_by_writer(caller, team_id)

        async def attempt() -> tuple[ControlObject, ObjectSpend]:
            member = await self._members.find(team_id, user_id=user_id, user_email="")
            spent = await self._spend.of_one(member)
            after = await self._spend.reset(member, asked.reset_to, who="member")
            if after == member:
                return member, spent
            (written,) = await self._writer.apply([(member, after)], author=caller.author, action="spend_reset")
            return written, spent

        after, spent = await until_unchanged(attempt)
        (shown,) = await self._reader.show_memberships(team, (after,))
        answer = {**shown, "previous_spend": usd(spent.nano_usd)}
        return json_answer(answer, headers=ignored_fields(asked.unknown_fields()))

    async def _found_by_writer(self, caller: Caller, team_id: str) -> ControlObject:
        team = await self._rights.found(team_id)
        await self._rights.require_writer(caller, team)
        return team

    async def _found_member(self, team: ControlObject, named: NameMember) -> ControlObject:
        return await self._members.find(team.object_id, user_id=named.user_id or "", user_email=named.user_email or "")

    async def _try_to_add(
        self, caller: Caller, team: ControlObject, asked: MemberBody, limits: Limits
    ) -> dict[str, Any]:  # Any: JSON.
        named = {"user_id": asked.user_id, "user_email": asked.user_email}
        try:
            await self._former_ids.require_new_users(caller, (asked.user_id or "",))
            (member,), _ = await self._members.add(
                team.object_id, [asked.new_member(limits=limits)], author=caller.author
            )
        except RequestError as error:
            return {**named, "success": False, "error": error.message}
        return {**named, "user_id": member.user_id, "success": True, "error": None}


def _unknown_of_members(members: Sequence[MemberBody]) -> list[str]:
    return [f"member.{name}" for each in members for name in each.unknown_fields()]
