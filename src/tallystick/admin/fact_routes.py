"""`/routes` and the lists of callbacks: what there is."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.data_plane import data_plane_paths
from tallystick.admin.routes import RULES
from tallystick.admin.services import AdminServices
from tallystick.calls.callbacks.lists import CallbackLists, Named


class FactRoutes:
    """The endpoints."""

    def __init__(self, services: AdminServices) -> None:
        self._callbacks = services.callbacks
        self._request_timeout = services.request_timeout_seconds

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
        """List the callbacks that are in force, by what they are told of."""
        return json_answer(callbacks_by_type(self._callbacks), headers=unknown_parameters(request, ()))

    async def active_callbacks(self, request: Request, _caller: AnyCaller) -> Response:
        """List the callbacks that are in force, as the configuration names them."""
        given = self._callbacks
        lists = {
            "litellm.callbacks": _names(given.both),
            "litellm.input_callback": _names(given.begin),
            "litellm.failure_callback": _names(given.failure),
            "litellm.success_callback": _names(given.success),
            "litellm._async_success_callback": [],
            "litellm._async_failure_callback": [],
            "litellm._async_input_callback": [],
        }
        every = [name for names in lists.values() for name in names]
        answer = {
            "alerting": None,
            **lists,
            "all_litellm_callbacks": every,
            "num_callbacks": len(every),
            "num_alerting": 0,
            "litellm.request_timeout": self._request_timeout,
        }
        return json_answer(answer, headers=unknown_parameters(request, ()))


def callbacks_by_type(lists: CallbackLists) -> dict[str, list[str]]:
    """Return LiteLLM's three lists: a callback that stands among those for success and for failure is told of both."""
    success = {shown_name(each.callback) for each in lists.success}
    failure = {shown_name(each.callback) for each in lists.failure}
    both = {shown_name(each.callback) for each in lists.both} | (success & failure)
    return {
        "success": sorted(success - both),
        "failure": sorted(failure - both),
        "success_and_failure": sorted(both),
    }


def shown_name(callback: object) -> str:
    """Return what LiteLLM calls a callback: a function's name, else that of the object's class."""
    return getattr(callback, "__name__", None) or type(callback).__name__


def _names(members: tuple[Named, ...]) -> list[str]:
    return [each.name for each in members]
