"""Changing and deleting users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.access.users import Role
from tallystick.admin.callers import Caller
from tallystick.admin.retries import until_unchanged
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.users.creation import require_free_email, users_with_email
from tallystick.admin.users.memberships import Memberships, WantedMemberships
from tallystick.admin.users.requests import UpdateUser
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import NoneLeft
from tallystick.errors import BadRequest, NotFound, PermissionDenied

_OWN_FIELDS: Final = frozenset({"user_id", "user_alias"})
"""What users may change of themselves."""
_ROLES: Final = tuple(Role)


class UserChanges:
    """Changes users for callers."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._spend = Spend(services)
        self._memberships = Memberships(services.control)

    async def update(self, caller: Caller, body: UpdateUser) -> ControlObject:
        """Change a user and return the row. Raises NotFound, BadRequest, AlreadyExists, PermissionDenied."""
        body.require_no_password()

        async def attempt() -> ControlObject:
            before = await self._target(caller, body)
            _require_allowed(caller, before, body)
            after = body.patched(before, roles=_ROLES)
            if after.name != before.name:
                await require_free_email(self._control, after.name, user_id=after.object_id)
            if body.spend is not None:
                after = await self._spend.with_spend(after, body.spend)
            wanted = WantedMemberships()
            if body.given("teams"):
                now = self._clock.now()
                wanted = await self._memberships.changed(after.object_id, body.wanted_teams(), now=now)
            if after == before and not wanted.pairs:
                return before
            pairs = [(before, after), *wanted.pairs]
            written = await self._writer.apply(pairs, author=caller.author, action="updated", requires=wanted.requires)
            return next(each for each in written if each.ref == after.ref)

        return await until_unchanged(attempt)

    async def delete(self, caller: Caller, user_ids: Sequence[str]) -> int:
        """Delete users with their keys and memberships, all of them or none; return how many. Raises NotFound."""
        refs = [ObjectRef(Kind.USER, user_id) for user_id in dict.fromkeys(user_ids)]
        dependents = [
            NoneLeft(kind=kind, relation="user_id", value=ref.object_id)
            for ref in refs
            for kind in (Kind.KEY, Kind.TEAM_MEMBER, Kind.ORGANIZATION_MEMBER)
        ]
        return len(await self._writer.delete(refs, author=caller.author, dependents=dependents))

    async def _target(self, caller: Caller, body: UpdateUser) -> ControlObject:
        if body.user_id is not None:
            found = await self._control.find(ObjectRef(Kind.USER, body.user_id))
            if found is None:
                if not caller.may_see_all and body.user_id != caller.principal.user_id:
                    raise _denied()
                raise NotFound(f"User not found: '{body.user_id}' does not exist.", param="user_id")
            return found
        if not body.user_email:
            raise BadRequest("Name the user to update in 'user_id' or 'user_email'.", param="user_id")
        if not caller.is_proxy_admin:
            raise _denied()
        users = await users_with_email(self._control, body.user_email)
        if not users:
            raise NotFound(f"User not found: nobody has the email '{body.user_email}'.", param="user_email")
        if len(users) > 1:
            raise BadRequest(f"Multiple users found with the email '{body.user_email}'.", param="user_email")
        return users[0]


def _require_allowed(caller: Caller, user: ControlObject, body: UpdateUser) -> None:
    if caller.is_proxy_admin:
        return
    if user.object_id != caller.principal.user_id:
        raise _denied()
    refused = sorted(body.model_fields_set - _OWN_FIELDS)
    if refused:
        raise PermissionDenied(
            f"You are not allowed to change your own '{refused[0][:64]}': only a proxy admin may.",
            param=refused[0][:64],
        )


def _denied() -> PermissionDenied:
    return PermissionDenied("You are not allowed to change other users: only proxy admins may.", param="user_id")
