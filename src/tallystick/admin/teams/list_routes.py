"""`/team/list` and its like: the teams that a caller may see."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.members import TeamMembers, everything
from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import QueryText
from tallystick.admin.pages import PageNumber, PageSize, SortOrder, sort_field, total_pages
from tallystick.admin.services import AdminServices
from tallystick.admin.teams.reader import TeamReader
from tallystick.admin.teams.rights import TeamRights
from tallystick.control.objects import Kind
from tallystick.control.store import ControlStore, ObjectFilter, Scope, SortField
from tallystick.errors import BadRequest, PermissionDenied, RouteDenied

_ALL_MAX: Final = 10_000
_SORT_NAMES: Final[dict[str, SortField]] = {"team_alias": "name", "team_id": "object_id"}
_PARAMETERS: Final = ("user_id", "organization_id", "team_id", "team_alias", "search", "status")
_PAGE_PARAMETERS: Final = (*_PARAMETERS, "page", "page_size", "sort_by", "sort_order")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which teams a list is asked for; None does not filter."""

    user_id: str | None
    organization_id: str | None
    team_id: str | None
    team_alias: str | None
    search: str | None
    deleted: bool


class TeamListRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        members = TeamMembers(store=services.control, writer=services.writer, clock=services.clock)
        self._reader = TeamReader(services, members)
        self._visible = VisibleTeams(services.control)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Teams"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/team/list")(self.list_all)
        router.get("/v2/team/list")(self.list_page)
        router.get("/team/available")(self.available)
        return router

    async def list_all(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        user_id: QueryText = None,
        organization_id: QueryText = None,
        team_id: QueryText = None,
        team_alias: QueryText = None,
        search: QueryText = None,
        status: QueryText = None,
    ) -> Response:
        """List teams, newest first, at most 10,000: all to admins, those of their organizations, the caller's own."""
        asked = Asked(
            user_id=user_id,
            organization_id=organization_id,
            team_id=team_id,
            team_alias=team_alias,
            search=search,
            deleted=_means_deleted(status),
        )
        where = await self._visible.filter_of(caller, asked)
        page = await self._store.list_objects(where, limit=_ALL_MAX)
        shown = await self._reader.show_all(page.objects, deleted=asked.deleted)
        return json_answer(shown, headers=unknown_parameters(request, _PARAMETERS))

    async def list_page(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        page: PageNumber = 1,
        page_size: PageSize = 10,
        user_id: QueryText = None,
        organization_id: QueryText = None,
        team_id: QueryText = None,
        team_alias: QueryText = None,
        search: QueryText = None,
        sort_by: QueryText = None,
        sort_order: SortOrder = None,
        status: QueryText = None,
    ) -> Response:
        """List teams page by page. `team_alias` and `search` are parts of the alias or the id; with `search`,
        `team_alias` is the whole alias. `status=deleted` lists deleted ones.
        """
        asked = Asked(
            user_id=user_id,
            organization_id=organization_id,
            team_id=team_id,
            team_alias=team_alias,
            search=search,
            deleted=_means_deleted(status),
        )
        found = await self._store.list_objects(
            await self._visible.filter_of(caller, asked),
            sort_by=sort_field(sort_by, _SORT_NAMES),
            descending=sort_order == "desc" or (sort_order is None and not sort_by),
            offset=(page - 1) * page_size,
            limit=page_size,
        )
        answer = {
            "teams": await self._reader.show_all(found.objects, deleted=asked.deleted),
            "total": found.total_count,
            "page": page,
            "page_size": page_size,
            "total_pages": total_pages(found.total_count, page_size),
        }
        return json_answer(answer, headers=unknown_parameters(request, _PAGE_PARAMETERS))

    async def available(self, request: Request, _caller: AnyCaller) -> Response:
        """List teams that users may join by themselves: none, members are added by admins."""
        return json_answer([], headers=unknown_parameters(request, ()))


class VisibleTeams:
    """Turns what is asked for into a filter that matches nothing the caller may not see."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._rights = TeamRights(store)

    async def filter_of(self, caller: Caller, asked: Asked) -> ObjectFilter:
        """Raises RouteDenied for another's teams, PermissionDenied for an organization that is not the caller's."""
        where = ObjectFilter(
            kind=Kind.TEAM,
            organization_ids=None if asked.organization_id is None else (asked.organization_id,),
            names=(asked.team_alias,) if asked.team_alias and asked.search else None,
            search=asked.search or asked.team_alias,
            object_ids=await self._wanted_ids(asked),
            deleted=asked.deleted,
        )
        if caller.may_see_all:
            return where
        administered = await self._rights.administered(caller)
        if asked.user_id not in {None, caller.principal.user_id} and not administered:
            raise RouteDenied("Only admins may list the teams of other users; leave 'user_id' out to see your own.")
        if asked.organization_id is not None and asked.organization_id not in administered:
            await self._require_organization_member(caller, asked.organization_id)
        own = await self._rights.own_teams(caller, deleted=asked.deleted)
        return msgspec.structs.replace(where, within=Scope(organization_ids=administered, object_ids=own))

    async def _require_organization_member(self, caller: Caller, organization_id: str) -> None:
        if caller.principal.organization_id == organization_id or await caller.organization_role(organization_id):
            return
        raise PermissionDenied(
            f"This key is not allowed to list the teams of organization '{organization_id}'.", param="organization_id"
        )

    async def _wanted_ids(self, asked: Asked) -> tuple[str, ...] | None:
        """Return the ids that the list is asked for, None for any."""
        ids = None if asked.team_id is None else {asked.team_id}
        if asked.user_id is not None:
            memberships = ObjectFilter(kind=Kind.TEAM_MEMBER, user_ids=(asked.user_id,), deleted=asked.deleted)
            of_user = {each.team_id for each in await everything(self._store, memberships)}
            ids = of_user if ids is None else ids & of_user
        return None if ids is None else tuple(sorted(ids))


def _means_deleted(status: str | None) -> bool:
    if status not in {None, "deleted"}:
        raise BadRequest("'status' must be 'deleted', or left out to list the teams that exist.", param="status")
    return status == "deleted"
