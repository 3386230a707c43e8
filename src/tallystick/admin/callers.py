"""Who calls the admin API: authenticated, and let through to the route by the table in `authorization`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from tallystick.access.presented import presented_key
from tallystick.access.principal import Principal
from tallystick.access.route_access import RouteKind, require_route
from tallystick.access.teams import MemberSpec
from tallystick.access.users import Role
from tallystick.admin.authorization import NO
from tallystick.admin.routes import READING_POSTS, RULES
from tallystick.admin.services import AdminServices
from tallystick.control.objects import Kind, ObjectRef, member_id, spec_as
from tallystick.control.store import Author, ControlStore
from tallystick.errors import RouteDenied

_CHANGED_BY = "litellm-changed-by"


class Caller:
    """A caller whose role may use the route; whether it may on the target is asked here."""

    def __init__(self, principal: Principal, *, author: Author, store: ControlStore) -> None:
        self.principal = principal
        self.author = author
        self._store = store

    @property
    def role(self) -> Role:
        return self.principal.role

    @property
    def is_proxy_admin(self) -> bool:
        return self.principal.role == Role.PROXY_ADMIN

    @property
    def may_see_all(self) -> bool:
        return self.principal.role in {Role.PROXY_ADMIN, Role.PROXY_ADMIN_VIEWER}

    async def team_role(self, team_id: str) -> str:
        """Return the caller's role in a team: `admin`, `user`, or '' when it is no member."""
        return await self._member_role(Kind.TEAM_MEMBER, team_id)

    async def organization_role(self, organization_id: str) -> str:
        """Return the caller's role in an organization, as in `org_admin`; '' when it is no member."""
        return await self._member_role(Kind.ORGANIZATION_MEMBER, organization_id)

    async def _member_role(self, kind: Kind, group_id: str) -> str:
        if not group_id or not self.principal.user_id:
            return ""
        member = await self._store.find(ObjectRef(kind, member_id(group_id, self.principal.user_id)))
        return "" if member is None else spec_as(MemberSpec, member.spec).role


async def _caller(request: Request) -> Caller:
    """Authenticate, and apply what the key itself may use, then the table.

    Raises AuthenticationFailed, RouteDenied, PermissionDenied, StoreUnavailable.
    """
    services = cast("AdminServices", request.app.state.services)
    token = presented_key(dict(request.scope["headers"]), first=services.key_header)
    principal = await services.authenticator.authenticate(token)
    path = request.scope["route"].path
    kind = RouteKind.READ if request.method == "GET" or path in READING_POSTS else RouteKind.WRITE
    require_route(principal, kind, request.scope["path"], path)
    rule = RULES.get((request.method, path))
    if rule is None or rule.of(principal.role) == NO:
        raise RouteDenied(
            f"Only proxy admin can be used to call this route; your role is '{principal.role}', and it is not allowed "
            f"to call {request.method} {path}."
        )
    author = Author(
        key_hash=principal.key_hash,
        user_id=principal.user_id,
        changed_by=request.headers.get(_CHANGED_BY, "")[:256],
    )
    return Caller(principal, author=author, store=services.control)


AnyCaller = Annotated[Caller, Depends(_caller)]
