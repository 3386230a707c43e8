"""`/user/info` and `/user/list`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.users import Role, UserSpec
from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import QueryText
from tallystick.admin.objects import list_all
from tallystick.admin.pages import PageNumber, SortOrder, sort_field, total_pages
from tallystick.admin.services import AdminServices
from tallystick.admin.users.shown import ShownUsers
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ObjectFilter, ObjectPage, SortField
from tallystick.errors import BadRequest, NotFound, PermissionDenied

_LIST_PARAMETERS: Final = (
    "role", "user_ids", "user_email", "team", "search", "page", "page_size", "sort_by", "sort_order",
)  # fmt: skip
_SORT_NAMES: Final[dict[str, SortField]] = {"user_id": "object_id", "user_email": "name"}


class UserReading:
    """The endpoints that read, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._shown = ShownUsers(services)

    def add_to(self, router: APIRouter) -> None:
        router.get("/user/info")(self.info)
        router.get("/v2/user/info")(self.bare_info)
        router.get("/user/list")(self.list_users)

    async def info(self, request: Request, caller: AnyCaller, user_id: QueryText = None) -> Response:
        """Show a user with keys and teams; without `user_id`, the caller's own."""
        headers = unknown_parameters(request, ("user_id",))
        if user_id is None and not caller.principal.user_id:
            return json_answer(await self._without_user(caller), headers=headers)
        asked = user_id or caller.principal.user_id
        user = await self._visible(caller, asked, is_asked=user_id is not None)
        info, team_ids = None, ()
        if user is not None:
            (info,) = await self._shown.views((user,))
            team_ids = info["teams"]
        answer = {
            "user_id": asked,
            "user_info": info,
            "keys": await self._shown.keys_of(asked),
            "teams": await self._shown.teams(team_ids),
        }
        return json_answer(answer, headers=headers)

    async def bare_info(self, request: Request, caller: AnyCaller, user_id: QueryText = None) -> Response:
        """Show a user alone; without `user_id`, the caller's own."""
        asked = user_id or caller.principal.user_id
        user = await self._visible(caller, asked, is_asked=True)
        assert user is not None, "who is asked for is there"
        (shown,) = await self._shown.views((user,))
        return json_answer(shown, headers=unknown_parameters(request, ("user_id",)))

    async def list_users(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        role: QueryText = None,
        user_ids: QueryText = None,
        user_email: QueryText = None,
        team: QueryText = None,
        search: QueryText = None,
        page: PageNumber = 1,
        page_size: Annotated[int, Query(ge=1, le=100)] = 25,
        sort_by: QueryText = None,
        sort_order: SortOrder = "desc",
    ) -> Response:
        """List users, newest first. `user_email` and `search` find parts; `user_ids` takes several, with commas."""
        where = ObjectFilter(kind=Kind.USER, search=search or user_email)
        if user_ids is not None:
            where = msgspec.structs.replace(where, object_ids=tuple(dict.fromkeys(user_ids.split(","))))
        if team is not None:
            where = await self._within_team(where, team)
        selection = _Selection(role=_role(role), user_email=(user_email or "").lower())
        found = await self._page(
            where, selection, sort_field(sort_by, _SORT_NAMES), sort_order != "asc", (page - 1) * page_size, page_size
        )
        users = await self._shown.views(found.objects)
        for user in users:
            user["key_count"] = await self._shown.key_count(user["user_id"])
        answer = {
            "users": users,
            "total": found.total_count,
            "page": page,
            "page_size": page_size,
            "total_pages": total_pages(found.total_count, page_size),
        }
        return json_answer(answer, headers=unknown_parameters(request, _LIST_PARAMETERS))

    async def _page(
        self,
        where: ObjectFilter,
        selection: _Selection,
        sort_by: SortField,
        descending: bool,
        offset: int,
        limit: int,
    ) -> ObjectPage:
        """Return a page. What no filter of the store can say is looked for among all that the others leave."""
        if selection.is_empty:
            return await self._control.list_objects(
                where, sort_by=sort_by, descending=descending, offset=offset, limit=limit
            )
        found = await list_all(self._control, where, sort_by=sort_by, descending=descending, keep=selection.has)
        return ObjectPage(objects=found[offset : offset + limit], total_count=len(found))

    async def _within_team(self, where: ObjectFilter, team_id: str) -> ObjectFilter:
        members = await list_all(self._control, ObjectFilter(kind=Kind.TEAM_MEMBER, team_ids=(team_id,)))
        ids = {member.user_id for member in members}
        if where.object_ids is not None:
            ids &= set(where.object_ids)
        return msgspec.structs.replace(where, object_ids=tuple(sorted(ids)))

    async def _visible(self, caller: Caller, user_id: str, *, is_asked: bool) -> ControlObject | None:
        """Return the user. A key may be of a user who is in no table: then its own info has none."""
        if not caller.may_see_all and user_id != caller.principal.user_id:
            raise PermissionDenied("You are not allowed to see other users.", param="user_id")
        user = await self._control.find(ObjectRef(Kind.USER, user_id))
        if user is None and is_asked:
            raise NotFound(f"User not found: '{user_id}' does not exist.", param="user_id")
        return user

    async def _without_user(self, caller: Caller) -> dict[str, Any]:  # Any: JSON.
        """Show what belongs to a key that has no user."""
        principal = caller.principal
        key = await self._control.find(ObjectRef(Kind.KEY, principal.key_hash))
        return {
            "user_id": None,
            "user_info": {"user_id": None, "user_role": principal.role, "teams": [], "models": []},
            "keys": await self._shown.keys((key,) if key else ()),
            "teams": await self._shown.teams((principal.team_id,) if principal.team_id else ()),
        }


class _Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What no filter of the store says."""

    role: Role | None
    user_email: str

    @property
    def is_empty(self) -> bool:
        return self.role is None and not self.user_email

    def has(self, user: ControlObject) -> bool:
        """Whether the user is selected."""
        is_named = self.user_email in user.name.lower()
        return is_named and (self.role is None or spec_as(UserSpec, user.spec).role == self.role)


def _role(text: str | None) -> Role | None:
    if text is None:
        return None
    for role in Role:
        if text == role:
            return role
    raise BadRequest(f"'role' must be one of {', '.join(Role)}, not {text[:40]!r}.", param="role")
