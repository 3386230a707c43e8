"""`/routes` and the lists of callbacks: what there is."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.data_plane import data_plane_paths
from tallystick.admin.routes import RULES

_CALLBACK_LISTS: Final = (
    "litellm.callbacks",
    "litellm.input_callback",
    "litellm.success_callback",
    "litellm.failure_callback",
    "litellm._async_input_callback",
    "litellm._async_success_callback",
    "litellm._async_failure_callback",
)


class FactRoutes:
    """The endpoints. No callback is configured, so that their lists are empty."""

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Facts"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/routes")(self.routes)
        router.get("/callbacks/list")(self.callbacks)
        router.get("/active/callbacks")(self.active_callbacks)
        return router

    async def routes(self, request: Request, _caller: AnyCaller) -> Response:
        """List every path with its methods."""
        methods: dict[str, list[str]] = {}
        for path, operations in data_plane_paths().items():
            methods[path] = [method.upper() for method in operations]
        for method, path in RULES:
            methods.setdefault(path.replace(":path}", "}"), []).append(method)
        shown = [{"path": path, "methods": each, "name": path, "endpoint": None} for path, each in methods.items()]
        return json_answer({"routes": shown}, headers=unknown_parameters(request, ()))

    async def callbacks(self, request: Request, _caller: AnyCaller) -> Response:
        """List the callbacks of the configuration."""
        answer: dict[str, list[str]] = {"success": [], "failure": [], "success_and_failure": []}
        return json_answer(answer, headers=unknown_parameters(request, ()))

    async def active_callbacks(self, request: Request, _caller: AnyCaller) -> Response:
        """List the callbacks that are in force."""
        lists: dict[str, list[str]] = {name: [] for name in _CALLBACK_LISTS}
        answer = {"alerting": None, **lists, "num_callbacks": 0, "num_alerting": 0}
        return json_answer(answer, headers=unknown_parameters(request, ()))
