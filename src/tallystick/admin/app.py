"""Build the admin API: one FastAPI application, which the gateway asks for every path that it does not know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tallystick.admin.access_groups.routes import AccessGroupRoutes
from tallystick.admin.access_groups.unified import UnifiedAccessGroupRoutes
from tallystick.admin.answers import install_error_handlers
from tallystick.admin.audit.routes import AuditRoutes
from tallystick.admin.budgets.routes import BudgetRoutes
from tallystick.admin.budgets.window_routes import BudgetWindowRoutes
from tallystick.admin.cache_routes import CacheRoutes
from tallystick.admin.credentials.routes import CredentialRoutes
from tallystick.admin.customers.routes import CustomerRoutes
from tallystick.admin.data_plane import data_plane_paths
from tallystick.admin.docs_page import CONTENT_SECURITY_POLICY, render_docs_page
from tallystick.admin.fact_routes import FactRoutes
from tallystick.admin.keys.routes import key_router
from tallystick.admin.ledger_routes import LedgerRoutes
from tallystick.admin.models.connection_route import ConnectionRoute
from tallystick.admin.models.reads import ModelReads
from tallystick.admin.models.routes import ModelRoutes
from tallystick.admin.organizations.member_routes import OrganizationMemberRoutes
from tallystick.admin.organizations.routes import OrganizationRoutes
from tallystick.admin.pass_through.routes import PassThroughRoutes
from tallystick.admin.reports.router import report_router
from tallystick.admin.services import AdminServices
from tallystick.admin.settings.routes import SettingRoutes
from tallystick.admin.tags.routes import TagRoutes
from tallystick.admin.teams.router import team_router
from tallystick.admin.users.routes import user_router


def create_admin_app(services: AdminServices) -> FastAPI:
    """Return the application. Errors of every kind, unknown paths too, are answered in OpenAI's envelope."""
    app = FastAPI(
        title="Tallystick",
        summary="An OpenAI-compatible gateway whose ledger is exact.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.state.services = services
    app.include_router(key_router(services))
    app.include_router(team_router(services))
    app.include_router(user_router(services))
    app.include_router(report_router(services))
    for routes in (
        ModelRoutes(services),
        ModelReads(services),
        ConnectionRoute(services),
        CredentialRoutes(services),
        AccessGroupRoutes(services),
        UnifiedAccessGroupRoutes(services),
        SettingRoutes(services),
        PassThroughRoutes(services),
        OrganizationRoutes(services),
        OrganizationMemberRoutes(services),
        BudgetRoutes(services),
        BudgetWindowRoutes(services),
        CustomerRoutes(services),
        TagRoutes(services),
        AuditRoutes(services),
        LedgerRoutes(services),
        CacheRoutes(services),
        FactRoutes(services),
    ):
        app.include_router(routes.router())
    install_error_handlers(
        app, metrics=services.metrics, new_id=services.new_id, body_bytes_max=services.body_bytes_max
    )
    own_openapi = app.openapi

    def openapi() -> dict[str, Any]:  # Any: an OpenAPI document, as FastAPI types it.
        """Describe the calls too, which are served beside this application."""
        document = own_openapi()
        document["paths"] = {**data_plane_paths(), **document["paths"]}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document.

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = render_docs_page(app.openapi(), base_url=str(request.base_url).rstrip("/"))
        return HTMLResponse(page, headers={"content-security-policy": CONTENT_SECURITY_POLICY})

    return app
