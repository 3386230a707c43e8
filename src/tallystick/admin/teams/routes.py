"""`/team/…`: make, show, change, block and delete teams, and change their models."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.members import TeamMembers
from tallystick.access.team_rules import with_models, without_models
from tallystick.access.teams import TeamSpec
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import PathID, QueryText
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.teams.former_ids import FormerIds
from tallystick.admin.teams.organizations import organization_of_team
from tallystick.admin.teams.reader import TeamReader
from tallystick.admin.teams.requests import (
    DeleteTeams,
    NameTeam,
    NewTeam,
    PatchTeam,
    TeamModels,
    UpdateTeam,
)
from tallystick.admin.teams.rights import TeamRights, require_modest
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import NoneLeft
from tallystick.errors import BadRequest, ChangedMeanwhile, PermissionDenied
from tallystick.runtime.ids import new_event_id


class TeamRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._members = TeamMembers(store=services.control, writer=services.writer, clock=services.clock)
        self._rights = TeamRights(services.control)
        self._reader = TeamReader(services, self._members)
        self._former_ids = FormerIds(services)
        self._spend = Spend(services)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Teams"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/team/new")(self.new)
        router.get("/team/info")(self.info)
        router.post("/team/update")(self.update)
        router.patch("/team/{team_id}")(self.patch)
        router.post("/team/delete")(self.delete)
        router.post("/team/block")(self.block)
        router.post("/team/unblock")(self.unblock)
        router.post("/team/model/add")(self.add_models)
        router.post("/team/model/delete")(self.delete_models)
        return router

    async def new(self, caller: AnyCaller, body: NewTeam | None = None) -> Response:
        """Make a team, with its first members.

        An admin of an organization makes teams of that organization, and becomes an admin of each.
        """
        asked = body or NewTeam()
        await self._rights.require_owner(caller, asked.organization_id or "")
        await self._former_ids.require_new_team(caller, asked.team_id or "")
        now = self._clock.now()
        team_id = asked.team_id or new_event_id(now)
        team = asked.patched(ControlObject(kind=Kind.TEAM, object_id=team_id, created_at=now, updated_at=now))
        organization = await organization_of_team(self._store, team.organization_id)
        organization.require_allows(team)
        creator = "" if caller.is_proxy_admin else caller.principal.user_id
        first_members = asked.first_members(creator=creator)
        await self._former_ids.require_new_users(caller, (each.user_id for each in first_members))
        made = await self._members.create_team(team, first_members, author=caller.author)
        (created,) = [each for each in made if each.kind == Kind.TEAM]
        return json_answer(await self._reader.show(created), headers=ignored_fields(asked.unknown_fields()))

    async def info(self, request: Request, caller: AnyCaller, team_id: QueryText = None) -> Response:
        """Show a team with its keys and its memberships; without `team_id`, the team of the caller's key."""
        asked = team_id or caller.principal.team_id
        if not asked:
            raise BadRequest("Name the team in 'team_id'; this key belongs to none.", param="team_id")
        team = await self._rights.found(asked)
        await self._rights.require_reader(caller, team)
        return json_answer(await self._reader.show_info(team), headers=unknown_parameters(request, ("team_id",)))

    async def update(self, caller: AnyCaller, body: UpdateTeam) -> Response:
        """Change a team: what is omitted stays, null clears. Admins of the team may lower its limits, not raise them.

        With another `organization_id` the team moves there.
        """
        team = await self._change(caller, body.team_id, body, merges_metadata=False)
        answer = {"team_id": team.object_id, "data": await self._reader.show(team)}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def patch(self, caller: AnyCaller, team_id: PathID, body: PatchTeam) -> Response:
        """Change a team as /team/update does, and merge `metadata` into what is there: null deletes a key."""
        team = await self._change(caller, team_id, body, merges_metadata=True)
        return json_answer(await self._reader.show(team), headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: DeleteTeams) -> Response:
        """Delete teams with their keys, memberships and models: all of the teams, or none when one is not found."""
        team_ids = tuple(dict.fromkeys(body.team_ids))
        for team_id in team_ids:
            await self._rights.found_by_owner(caller, team_id)
        gone = await self._writer.delete(
            [ObjectRef(Kind.TEAM, team_id) for team_id in team_ids],
            author=caller.author,
            dependents=[
                NoneLeft(kind=kind, relation="team_id", value=team_id)
                for team_id in team_ids
                for kind in (Kind.KEY, Kind.TEAM_MEMBER, Kind.MODEL)
            ],
        )
        answer = {"deleted_teams": [team.object_id for team in gone]}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def block(self, caller: AnyCaller, body: NameTeam) -> Response:
        """Block a team: calls with its keys are refused until it is unblocked."""
        return await self._set_blocked(caller, body, blocked=True)

    async def unblock(self, caller: AnyCaller, body: NameTeam) -> Response:
        """Let a blocked team call again."""
        return await self._set_blocked(caller, body, blocked=False)

    async def add_models(self, caller: AnyCaller, body: TeamModels) -> Response:
        """Add models to the list of those that a team may call. A team that might call every one is bound by it."""
        return await self._change_models(caller, body, lambda held: with_models(held, tuple(body.models)))

    async def delete_models(self, caller: AnyCaller, body: TeamModels) -> Response:
        """Take models out of a team's list. When none is left, the team may call none."""
        return await self._change_models(caller, body, lambda held: without_models(held, tuple(body.models)))

    async def _change(
        self, caller: Caller, team_id: str, body: UpdateTeam | PatchTeam, *, merges_metadata: bool
    ) -> ControlObject:
        names_destination = "organization_id" in body.model_fields_set
        destination = (body.organization_id or "") if names_destination else None
        team = await self._found_for_update(caller, team_id)
        may_change_all = await self._rights.require_updater(caller, team, destination=destination)
        organization = await organization_of_team(
            self._store, team.organization_id if destination is None else destination
        )

        if body.spend is not None and not caller.is_proxy_admin:
            raise PermissionDenied("Only proxy admins may set what a team has spent.", param="spend")

        def patched(before: ControlObject) -> ControlObject:
            _require_unmoved(before, team)
            after = body.patched(before, merges_metadata=merges_metadata)
            if not may_change_all:
                require_modest(before, after)
            if _is_bounded_anew(before, after):
                organization.require_allows(after)
            return after

        patch = await self._spend.patch(team, patched, body.spend)
        _, after = await self._writer.update(team.ref, patch, author=caller.author, requires=organization.required)
        return after

    async def _found_for_update(self, caller: Caller, team_id: str) -> ControlObject:
        """Return the team. Raises NotFound to those who may see it or any, RouteDenied to others."""
        if caller.is_proxy_admin or await self._rights.administered(caller) or await caller.team_role(team_id):
            return await self._rights.found(team_id)
        return await self._rights.found_by_owner(caller, team_id)

    async def _set_blocked(self, caller: Caller, body: NameTeam, *, blocked: bool) -> Response:
        team = await self._rights.found_by_owner(caller, body.team_id)

        def patched(before: ControlObject) -> ControlObject:
            _require_unmoved(before, team)
            return msgspec.structs.replace(before, blocked=blocked)

        _, after = await self._writer.update(
            team.ref, patched, author=caller.author, action="blocked" if blocked else "unblocked"
        )
        return json_answer(await self._reader.show(after), headers=ignored_fields(body.unknown_fields()))

    async def _change_models(
        self, caller: Caller, body: TeamModels, change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> Response:
        team = await self._rights.found(body.team_id)
        organization = await organization_of_team(self._store, team.organization_id)

        def patched(before: ControlObject) -> ControlObject:
            _require_unmoved(before, team)
            spec = spec_as(TeamSpec, before.spec)
            changed = msgspec.structs.replace(spec, models=change(spec.models))
            after = msgspec.structs.replace(before, spec=spec_from(changed))
            if _is_bounded_anew(before, after):
                organization.require_allows(after)
            return after

        _, after = await self._writer.update(team.ref, patched, author=caller.author, requires=organization.required)
        return json_answer(await self._reader.show(after), headers=ignored_fields(body.unknown_fields()))


def _is_bounded_anew(before: ControlObject, after: ControlObject) -> bool:
    """Whether to ask the organization: not when a change touches nothing that it bounds, as when a team is renamed."""
    held, wanted = spec_as(TeamSpec, before.spec), spec_as(TeamSpec, after.spec)
    bounded = (before.organization_id, held.models, held.limits)
    return bounded != (after.organization_id, wanted.models, wanted.limits)


def _require_unmoved(before: ControlObject, decided_on: ControlObject) -> None:
    """What the caller may do was decided on this organization."""
    if before.organization_id != decided_on.organization_id:
        raise ChangedMeanwhile(f"Team '{before.object_id}' was moved to another organization at the same time.")
