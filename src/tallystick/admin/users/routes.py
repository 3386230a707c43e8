"""`/user/…`: make, change, show, list and delete internal users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import shown_text
from tallystick.admin.keys.views import listed_key
from tallystick.admin.objects import list_all
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import begun_spend
from tallystick.admin.users.changes import UserChanges
from tallystick.admin.users.creation import MadeUser, UserCreation
from tallystick.admin.users.reading import UserReading
from tallystick.admin.users.requests import USERS_MAX, BulkUpdateUsers, DeleteUsers, NewUser, UpdateUser
from tallystick.admin.users.shown import ShownUsers
from tallystick.admin.users.views import user_fields
from tallystick.control.objects import Kind
from tallystick.control.store import ObjectFilter
from tallystick.errors import BadRequest, RequestError


def user_router(services: AdminServices) -> APIRouter:
    """Return all routes of users."""
    router = APIRouter(tags=["Users"], dependencies=[Depends(HTTPBearer(auto_error=False))])
    UserReading(services).add_to(router)
    UserRoutes(services).add_to(router)
    return router


class UserRoutes:
    """The endpoints that write, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._present = services.present
        self._creation = UserCreation(services)
        self._changes = UserChanges(services)
        self._shown = ShownUsers(services)

    def add_to(self, router: APIRouter) -> None:
        router.post("/user/new")(self.new)
        router.post("/user/update")(self.update)
        router.post("/user/bulk_update")(self.bulk_update)
        router.post("/user/delete")(self.delete)

    async def new(self, caller: AnyCaller, body: NewUser | None = None) -> Response:
        """Make a user, and a first key unless `auto_create_key` is false. Only this answer shows the key."""
        asked = body or NewUser()
        made = await self._creation.create(caller, asked)
        answer = self._made(made)
        answer["organizations"] = asked.organizations or []
        answer["duration"] = asked.duration
        return json_answer(answer, headers=ignored_fields(asked.unknown_fields()))

    async def update(self, caller: AnyCaller, body: UpdateUser) -> Response:
        """Change a user: what is omitted stays, null clears. Users may change their own alias."""
        shown = await self._updated(caller, body)
        answer = {**shown, "data": shown}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def bulk_update(self, caller: AnyCaller, body: BulkUpdateUsers) -> Response:
        """Change up to 500 users, each for itself; the answer says which succeeded."""
        items = await self._items(body)
        results: list[dict[str, Any]] = []  # Any: JSON.
        for fields in items:
            name = {field: shown_text(fields.get(field)) for field in ("user_id", "user_email")}
            try:
                shown = await self._updated(caller, _read_update(fields))
            except RequestError as error:
                results.append({**name, "success": False, "error": shown_text(error.message), "updated_user": None})
            else:
                results.append({**name, "success": True, "error": None, "updated_user": shown})
        done = sum(result["success"] for result in results)
        answer = {
            "results": results,
            "total_requested": len(items),
            "successful_updates": done,
            "failed_updates": len(items) - done,
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: DeleteUsers) -> Response:
        """Delete users with their keys and memberships: all of them or, when one is not found, none."""
        count = await self._changes.delete(caller, body.user_ids)
        answer = {"deleted_users": count, "user_ids": body.user_ids}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def _items(self, body: BulkUpdateUsers) -> list[dict[str, Any]]:  # Any: JSON.
        if not body.all_users:
            items = body.users or []
            if not 1 <= len(items) <= USERS_MAX:
                raise BadRequest(f"'users' must name 1 to {USERS_MAX} users, not {len(items)}.", param="users")
            return items
        if not body.user_updates:
            raise BadRequest("'user_updates' must say what to change of all users.", param="user_updates")
        users = await list_all(self._control, ObjectFilter(kind=Kind.USER), at_most=USERS_MAX + 1)
        if len(users) > USERS_MAX:
            raise BadRequest(f"There are more than {USERS_MAX} users: name them in 'users'.", param="all_users")
        return [{**body.user_updates, "user_id": user.object_id} for user in users]

    async def _updated(self, caller: Caller, body: UpdateUser) -> dict[str, Any]:  # Any: JSON.
        row = await self._changes.update(caller, body)
        (shown,) = await self._shown.views((row,))
        return shown

    def _made(self, made: MadeUser) -> dict[str, Any]:  # Any: JSON.
        present = self._present()
        shown: dict[str, Any] = {"key": None, "token": None, "key_name": None, "expires": None}
        if made.key is not None:
            shown = {**listed_key(made.key.row, spent=made.key.spent, present=present), "key": made.key.plain}
        spent = begun_spend(made.row)
        return {**shown, **user_fields(made.row, spent=spent, team_ids=made.team_ids, present=present)}


def _read_update(fields: Mapping[str, Any]) -> UpdateUser:  # Any: JSON.
    try:
        return UpdateUser.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        raise BadRequest(f"'{place}' is not right: {first['msg']}.", param=place) from error
