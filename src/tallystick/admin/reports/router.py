"""The routes of all reports."""

from __future__ import annotations

from fastapi import APIRouter

from tallystick.admin.reports.activity_routes import ActivityRoutes
from tallystick.admin.reports.cost_routes import CostRoutes
from tallystick.admin.reports.global_routes import GlobalRoutes
from tallystick.admin.reports.log_routes import LogRoutes
from tallystick.admin.reports.sum_routes import SumRoutes
from tallystick.admin.services import AdminServices


def report_router(services: AdminServices) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    for routes in (
        ActivityRoutes(services),
        LogRoutes(services),
        SumRoutes(services),
        GlobalRoutes(services),
        CostRoutes(services),
    ):
        router.include_router(routes.router())
    return router
