"""`/{user,team,organization,tag,customer}/daily/activity`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.pages import PageNumber, PageSize
from tallystick.admin.reports.activity import Activity
from tallystick.admin.reports.names import Names
from tallystick.admin.reports.scope import SpendScope
from tallystick.admin.reports.window import Window, window_of
from tallystick.admin.services import AdminServices
from tallystick.errors import BadRequest
from tallystick.ledger.store import ActivityFilter, EntityDayType, SumRow

ROWS_MAX: Final = 200_000
"""Rows of the cube behind one answer."""
_PARAMETERS: Final = ("start_date", "end_date", "page", "page_size", "model", "api_key")


class ActivityRoutes:
    """The endpoints. All are of whole days of UTC; a page is so many days, the newest first."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger = services.ledger_reader
        self._control = services.control
        self._clock = services.clock
        self._authenticator = services.authenticator
        self._scope = SpendScope(services.control)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Reports"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/user/daily/activity")(self.users)
        router.get("/user/daily/activity/aggregated")(self.users_at_once)
        router.get("/team/daily/activity")(self.teams)
        router.get("/team/daily/activity/aggregated")(self.teams_at_once)
        router.get("/organization/daily/activity")(self.organizations)
        router.get("/tag/daily/activity")(self.tags)
        router.get("/customer/daily/activity")(self.customers)
        router.get("/end_user/daily/activity")(self.end_users)
        return router

    async def users(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        user_id: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show a user's spend by day: one's own, or to admins anybody's."""
        window = window_of(start_date, end_date, clock=self._clock)
        filters = self._narrowed(self._scope.of_users(caller, user_id), api_key, model)
        return await self._answer(request, "user", filters, window, (page, page_size), ("user_id",))

    async def users_at_once(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        user_id: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
    ) -> Response:
        """Show the same of all days on one page."""
        window = window_of(start_date, end_date, clock=self._clock)
        filters = self._narrowed(self._scope.of_users(caller, user_id), api_key, model)
        return await self._answer(request, "user", filters, window, (1, window.days), ("user_id",))

    async def teams(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        team_ids: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show teams' spend by day. Members who are not admins of a team see their own part of it."""
        window = window_of(start_date, end_date, clock=self._clock)
        filters = self._narrowed(await self._scope.of_teams(caller, _ids(team_ids)), api_key, model)
        return await self._answer(request, "team", filters, window, (page, page_size), ("team_ids",))

    async def teams_at_once(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        team_ids: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
    ) -> Response:
        """Show the same of all days on one page."""
        window = window_of(start_date, end_date, clock=self._clock)
        filters = self._narrowed(await self._scope.of_teams(caller, _ids(team_ids)), api_key, model)
        return await self._answer(request, "team", filters, window, (1, window.days), ("team_ids",))

    async def organizations(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        organization_ids: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show organizations' spend by day, to their admins."""
        window = window_of(start_date, end_date, clock=self._clock)
        filters = self._narrowed(await self._scope.of_organizations(caller, _ids(organization_ids)), api_key, model)
        return await self._answer(request, "organization", filters, window, (page, page_size), ("organization_ids",))

    async def tags(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        tags: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show tags' spend by day. A call with several tags counts for each, so that sums over tags overlap."""
        window = window_of(start_date, end_date, clock=self._clock)
        wanted = _EntityFilter("tag", _ids(tags), _ids(model))
        return await self._answer_of_entities(request, wanted, api_key, window, (page, page_size), ("tags",))

    async def customers(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        customer_ids: QueryText = None,
        end_user_ids: QueryText = None,
        api_key: QueryText = None,
        model: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show end users' spend by day."""
        window = window_of(start_date, end_date, clock=self._clock)
        wanted = _EntityFilter("end_user", _ids(customer_ids or end_user_ids), _ids(model))
        known = ("customer_ids", "end_user_ids")
        return await self._answer_of_entities(request, wanted, api_key, window, (page, page_size), known)

    end_users = customers

    def _narrowed(
        self, filters: Iterable[ActivityFilter], api_key: str | None, model: str | None
    ) -> list[ActivityFilter]:
        """Leave of what may be seen what is asked for."""
        models = _ids(model)
        narrowed = []
        for each in filters:
            keys = each.key_hashes
            if api_key is not None:
                asked = self._authenticator.hash_of(api_key)
                keys = (asked,) if keys is None or asked in keys else ()
            narrowed.append(msgspec.structs.replace(each, key_hashes=keys, models=models))
        return narrowed

    async def _answer(
        self,
        request: Request,
        entity: str,
        filters: Sequence[ActivityFilter],
        window: Window,
        paging: tuple[int, int],
        known: tuple[str, ...],
    ) -> Response:
        days = window.page(*paging)
        rows: list[SumRow] = []
        for where in filters if days else ():
            assert days is not None, "there is a page"
            rows += require_whole(
                await self._ledger.activity(where=where, first=days.first, last=days.last, limit=ROWS_MAX)
            )
        return await self._shown(request, entity, rows, window, paging, known)

    async def _answer_of_entities(
        self,
        request: Request,
        wanted: _EntityFilter,
        api_key: str | None,
        window: Window,
        paging: tuple[int, int],
        known: tuple[str, ...],
    ) -> Response:
        if api_key is not None:
            raise BadRequest("Tags and end users are not summed by key: leave out 'api_key'.", param="api_key")
        days = window.page(*paging)
        rows: Sequence[SumRow] = ()
        if days is not None:
            rows = require_whole(
                await self._ledger.entity_activity(
                    entity_type=wanted.entity_type,
                    entity_ids=wanted.ids,
                    models=wanted.models,
                    first=days.first,
                    last=days.last,
                    limit=ROWS_MAX,
                )
            )
        return await self._shown(request, "entity_id", rows, window, paging, known)

    async def _shown(
        self,
        request: Request,
        entity: str,
        rows: Sequence[SumRow],
        window: Window,
        paging: tuple[int, int],
        known: tuple[str, ...],
    ) -> Response:
        page, page_size = paging
        activity = Activity(entity)
        await activity.add(rows)
        pages = window.pages(page_size)
        metadata: dict[str, Any] = {  # Any: JSON.
            **activity.totals(),
            "page": page,
            "total_pages": pages,
            "has_more": page < pages,
        }
        answer = {"results": await activity.show(await Names.of(self._control, rows)), "metadata": metadata}
        return json_answer(answer, headers=unknown_parameters(request, (*_PARAMETERS, *known)))


class _EntityFilter(msgspec.Struct, frozen=True):
    entity_type: EntityDayType
    ids: tuple[str, ...] | None
    models: tuple[str, ...] | None


def _ids(text: str | None) -> tuple[str, ...] | None:
    """Read a list, its items divided by commas."""
    return None if text is None else tuple(each.strip() for each in text.split(",") if each.strip())


def require_whole(rows: Sequence[SumRow]) -> Sequence[SumRow]:
    """Return rows that are all there are. Raises BadRequest rather than show a part as the whole."""
    if len(rows) >= ROWS_MAX:
        raise BadRequest(
            f"These days have more than {ROWS_MAX:,} sums: ask for fewer days with 'page_size' or 'start_date'.",
            param="page_size",
        )
    return rows
