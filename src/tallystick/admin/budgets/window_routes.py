"""`/budget/windows` and `/provider/budgets`: what is left now."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.scopes import SCOPE_TYPES
from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.budgets.open_windows import OpenWindows
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.limits import usd
from tallystick.admin.pages import PageNumber, total_pages
from tallystick.admin.services import AdminServices
from tallystick.errors import BadRequest

_PARAMETERS: Final = ("type", "over", "page", "size")
_SHARE_MAX: Final = 1_000_000


class BudgetWindowRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._present = services.present
        self._budgets = services.budgets
        self._provider_budgets = services.provider_budgets
        self._windows = OpenWindows(services)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Budgets"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/budget/windows")(self.windows)
        router.get("/provider/budgets")(self.providers)
        return router

    async def windows(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        type: QueryText = None,  # noqa: A002 - the parameter's name.
        over: Annotated[float, Query(ge=0, le=_SHARE_MAX, allow_inf_nan=False)] = 0.0,
        page: PageNumber = 1,
        size: Annotated[int, Query(ge=1, le=1_000)] = 50,
    ) -> Response:
        """List the windows of budgets that run now and were spent from, the fullest first.

        `type` is a type of scope, `over` the least share of the limit that is spent: 0.8 is 80 %.
        """
        if type is not None and type not in SCOPE_TYPES:
            raise BadRequest(f"'type' must be one of {', '.join(SCOPE_TYPES)}, not {type[:40]!r}.", param="type")
        found = await self._windows.page(scope_type=type, over=over, offset=(page - 1) * size, limit=size)
        answer = {
            "windows": found.windows,
            "total_count": found.total_count,
            "current_page": page,
            "total_pages": total_pages(found.total_count, size),
            "is_cut": found.is_cut,
        }
        return json_answer(answer, headers=unknown_parameters(request, _PARAMETERS))

    async def providers(self, request: Request, _caller: AnyCaller) -> Response:
        """Show the budgets of providers, with what is spent of each in the window that runs now."""
        present = self._present()
        asked = {
            name: (present.window_of(budget.scope, budget.duration), budget)
            for name, budget in self._provider_budgets.items()
        }
        windows = tuple((window, ()) for window, _ in asked.values())
        sums = {each.window: each for each in await self._budgets.sums(windows)} if windows else {}
        providers = {
            name: {
                "budget_limit": usd(budget.limit_nano_usd),
                "time_period": budget.duration or None,
                "spend": usd(sums[window].spent_nano_usd + sums[window].carried_nano_usd),
                "budget_reset_at": present.reset_at(budget.duration),
            }
            for name, (window, budget) in asked.items()
        }
        return json_answer({"providers": providers}, headers=unknown_parameters(request, ()))
