"""Who may see and change an organization."""

from __future__ import annotations

from collections.abc import Iterable

from tallystick.access.organizations import ORG_ADMIN
from tallystick.admin.callers import Caller
from tallystick.admin.organizations.requests import OWN_FIELDS
from tallystick.errors import PermissionDenied


async def require_organization_admin(caller: Caller, organization_id: str) -> None:
    """Raise PermissionDenied, whether the organization exists or not, for who is no admin of it."""
    if caller.is_proxy_admin or await caller.organization_role(organization_id) == ORG_ADMIN:
        return
    raise PermissionDenied(
        f"Not allowed: only proxy admins and admins of organization '{organization_id}' may do this.",
        param="organization_id",
    )


async def require_organization_member(caller: Caller, organization_ids: Iterable[str]) -> None:
    """Raise PermissionDenied, whether the organizations exist or not, for who may not see all of them."""
    if caller.may_see_all:
        return
    for organization_id in organization_ids:
        if not await caller.organization_role(organization_id):
            raise PermissionDenied(
                f"You do not have access to organization '{organization_id}': you are not a member of it.",
                param="organization_id",
            )


async def require_may_change(caller: Caller, organization_id: str, fields: Iterable[str]) -> None:
    """Raise PermissionDenied for who is no admin of it, and when its own admins change what limits it."""
    await require_organization_admin(caller, organization_id)
    denied = sorted(set(fields) - OWN_FIELDS)
    if denied and not caller.is_proxy_admin:
        raise PermissionDenied(
            f"Not allowed: '{denied[0]}' of an organization is set by proxy admins; its own admins may change its "
            "alias and its metadata.",
            param=denied[0],
        )
