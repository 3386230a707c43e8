"""All routes about teams."""

from __future__ import annotations

from fastapi import APIRouter

from tallystick.admin.services import AdminServices
from tallystick.admin.teams.list_routes import TeamListRoutes
from tallystick.admin.teams.member_routes import MemberRoutes
from tallystick.admin.teams.permission_routes import PermissionRoutes
from tallystick.admin.teams.routes import TeamRoutes


def team_router(services: AdminServices) -> APIRouter:
    """Return the routes. Fixed paths come before those with an id in them."""
    router = APIRouter()
    for routes in (TeamListRoutes(services), MemberRoutes(services), PermissionRoutes(services), TeamRoutes(services)):
        router.include_router(routes.router())
    return router
