"""`/organization/member_…`: who belongs to an organization, and in which role."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.responses import Response

from tallystick.access.changing import retried
from tallystick.access.limits import Limits
from tallystick.access.member_users import FoundUser, existing_user_id, find_or_make_user
from tallystick.access.teams import MemberSpec
from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller
from tallystick.admin.organizations.access import require_organization_admin
from tallystick.admin.organizations.requests import AddMembers, NameMember, UpdateMember, member_limits
from tallystick.admin.organizations.views import OrganizationViews
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as, spec_from
from tallystick.control.store import Author
from tallystick.errors import AlreadyExists, BadRequest, NotFound


class OrganizationMemberRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._views = OrganizationViews(services)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Organizations"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/organization/member_add")(self.add)
        router.patch("/organization/member_update")(self.update)
        router.delete("/organization/member_delete")(self.delete)
        return router

    async def add(self, caller: AnyCaller, body: AddMembers) -> Response:
        """Add members, all or none. A user who is not known yet is made."""
        await require_organization_admin(caller, body.organization_id)

        async def attempt() -> tuple[list[FoundUser], list[ControlObject]]:
            return await self._add(body, author=caller.author)

        users, memberships = await retried(attempt)
        answer = {
            "organization_id": body.organization_id,
            "updated_users": [{"user_id": each.user.object_id, "user_email": each.user.name or None} for each in users],
            "updated_organization_memberships": await self._shown(memberships),
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def update(self, caller: AnyCaller, body: UpdateMember) -> Response:
        """Change a member's role or budget: what is omitted stays."""
        ref = await self._named(caller, body)

        def patch(before: ControlObject) -> ControlObject:
            spec = body.patched(spec_as(MemberSpec, before.spec))
            return msgspec.structs.replace(before, spec=spec_from(spec))

        try:
            _, after = await self._writer.update(ref, patch, author=caller.author)
        except NotFound as error:
            raise _no_member(body) from error
        (shown,) = await self._shown([after])
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: NameMember) -> Response:
        """Take a user out of an organization. The user, and its keys, stay."""
        ref = await self._named(caller, body)
        try:
            gone = await self._writer.delete([ref], author=caller.author)
        except NotFound as error:
            raise _no_member(body) from error
        (shown,) = await self._shown(gone)
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def _add(self, body: AddMembers, *, author: Author) -> tuple[list[FoundUser], list[ControlObject]]:
        organization = ObjectRef(Kind.ORGANIZATION, body.organization_id)
        if await self._store.find(organization) is None:
            raise NotFound(
                f"Organization '{body.organization_id}' not found: it does not exist.", param="organization_id"
            )
        now = self._clock.now()
        users: dict[str, FoundUser] = {}
        memberships: list[ControlObject] = []
        for asked in body.member:
            found = await find_or_make_user(
                self._store, user_id=asked.user_id or "", user_email=asked.user_email or "", now=now
            )
            user_id = found.user.object_id
            if user_id in users:
                raise BadRequest(f"User '{user_id}' is named twice.", param="member")
            users[user_id] = found
            limits = member_limits(body.max_budget_in_organization, Limits())
            membership = ControlObject(
                kind=Kind.ORGANIZATION_MEMBER,
                object_id=member_id(body.organization_id, user_id),
                organization_id=body.organization_id,
                user_id=user_id,
                spec=spec_from(MemberSpec(role=asked.role, limits=limits)),
                created_at=now,
                updated_at=now,
            )
            memberships.append(membership)
        await self._require_absent(memberships)
        made = [each.user for each in users.values() if each.is_new]
        try:
            written = await self._writer.apply(
                [(None, each) for each in (*made, *memberships)],
                author=author,
                action="created",
                requires=[organization, *(each.user.ref for each in users.values() if not each.is_new)],
            )
        except AlreadyExists as error:
            raise BadRequest(f"One of the users was added at the same time: {error.message}", param="member") from error
        return list(users.values()), [each for each in written if each.kind == Kind.ORGANIZATION_MEMBER]

    async def _require_absent(self, memberships: list[ControlObject]) -> None:
        for held in await self._store.find_many([each.ref for each in memberships]):
            raise BadRequest(
                f"User '{held.user_id}' is already a member of organization '{held.organization_id}'. Change its role "
                "with /organization/member_update.",
                param="member",
            )

    async def _named(self, caller: AnyCaller, body: NameMember) -> ObjectRef:
        await require_organization_admin(caller, body.organization_id)
        user_id = await existing_user_id(self._store, user_id=body.user_id or "", user_email=body.user_email or "")
        return ObjectRef(Kind.ORGANIZATION_MEMBER, member_id(body.organization_id, user_id))

    async def _shown(self, memberships: list[ControlObject] | tuple[ControlObject, ...]) -> list[object]:
        return [*await self._views.show_members(memberships)]


def _no_member(body: NameMember) -> NotFound:
    return NotFound(
        f"Member not found: '{body.user_id or body.user_email}' is no member of organization "
        f"'{body.organization_id}', or that does not exist.",
        param="user_id",
    )
