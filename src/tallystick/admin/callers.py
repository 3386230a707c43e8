"""Who calls the admin API, and whether they may."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from tallystick.access.presented import presented_key
from tallystick.access.principal import Principal
from tallystick.admin.services import AdminServices
from tallystick.errors import PermissionDenied


async def require_key(request: Request) -> Principal:
    """Return the caller. Raises AuthenticationFailed, StoreUnavailable."""
    services = cast("AdminServices", request.app.state.services)
    token = presented_key(dict(request.scope["headers"]), first=services.key_header)
    return await services.authenticator.authenticate(token)


async def require_admin(request: Request) -> Principal:
    """Return the caller, who is an admin. Raises PermissionDenied for others."""
    caller = await require_key(request)
    if not caller.is_admin:
        raise PermissionDenied(
            f"Only a proxy admin may do this: the key is not allowed to call this route, {request.url.path[:200]}."
        )
    return caller


Caller = Annotated[Principal, Depends(require_key)]
Admin = Annotated[Principal, Depends(require_admin)]
