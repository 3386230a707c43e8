"""`/team/permissions_…`: what plain members may do on the keys of their team."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.team_rules import MEMBER_PERMISSIONS
from tallystick.access.teams import TeamSpec
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import QueryText
from tallystick.admin.services import AdminServices
from tallystick.admin.teams.member_requests import BulkUpdatePermissions, UpdatePermissions
from tallystick.admin.teams.requests import member_permissions
from tallystick.admin.teams.rights import TeamRights
from tallystick.control.objects import ControlObject, spec_as, spec_from
from tallystick.errors import BadRequest

Permissions = tuple[str, ...]


class PermissionRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._writer = services.writer
        self._rights = TeamRights(services.control)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Team members"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/team/permissions_list")(self.list_permissions)
        router.post("/team/permissions_update")(self.update)
        router.post("/team/permissions_bulk_update")(self.bulk_update)
        return router

    async def list_permissions(self, request: Request, caller: AnyCaller, team_id: QueryText = None) -> Response:
        """Show what plain members of a team may do, and what could be allowed to them."""
        if not team_id:
            raise BadRequest("Name the team in 'team_id'.", param="team_id")
        team = await self._rights.found(team_id)
        if not caller.may_see_all:
            await self._rights.require_writer(caller, team)
        answer = {
            "team_id": team_id,
            "team_member_permissions": spec_as(TeamSpec, team.spec).member_permissions,
            "all_available_permissions": MEMBER_PERMISSIONS,
        }
        return json_answer(answer, headers=unknown_parameters(request, ("team_id",)))

    async def update(self, caller: AnyCaller, body: UpdatePermissions) -> Response:
        """Say what plain members of a team may do; what is not named is no longer allowed."""
        wanted = member_permissions(body.team_member_permissions)
        team = await self._rights.found(body.team_id)
        await self._rights.require_writer(caller, team)
        answer = {
            "team_id": team.object_id,
            "team_member_permissions": await self._set(caller, team, lambda _held: wanted),
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def bulk_update(self, caller: AnyCaller, body: BulkUpdatePermissions) -> Response:
        """Allow more to the plain members of several teams; what they may already do stays allowed."""
        if not body.team_ids:
            raise BadRequest("Name the teams in 'team_ids'.", param="team_ids")
        added = member_permissions(body.permissions)
        teams = [await self._rights.found(team_id) for team_id in dict.fromkeys(body.team_ids)]
        for team in teams:
            await self._set(caller, team, lambda held: tuple(dict.fromkeys((*held, *added))))
        answer = {
            "team_ids": [team.object_id for team in teams],
            "permissions": added,
            "teams_updated": len(teams),
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def _set(
        self, caller: Caller, team: ControlObject, change: Callable[[Permissions], Permissions]
    ) -> Permissions:
        def patched(before: ControlObject) -> ControlObject:
            spec = spec_as(TeamSpec, before.spec)
            changed = msgspec.structs.replace(spec, member_permissions=change(spec.member_permissions))
            return msgspec.structs.replace(before, spec=spec_from(changed))

        _, after = await self._writer.update(team.ref, patched, author=caller.author)
        return spec_as(TeamSpec, after.spec).member_permissions
