"""`/spend/logs/v2` and its relatives: single calls, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from fastapi.security import HTTPBearer
from pydantic import AfterValidator
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.event_lookup import events_of_request
from tallystick.admin.fields import QueryText, storable_text
from tallystick.admin.limits import nano_usd
from tallystick.admin.moments import parse_moment
from tallystick.admin.pages import PageNumber, PageSize, total_pages
from tallystick.admin.reports.scope import SpendScope
from tallystick.admin.reports.window import window_of
from tallystick.admin.services import AdminServices
from tallystick.admin.spend_rows import spend_row
from tallystick.errors import BadRequest, NotFound, PermissionDenied
from tallystick.ledger.store import CommittedEvent, EventFilter

COUNTED_MAX: Final = 10_000
"""Where counting ends: `total` is at most this."""
_PAGING: Final = ("page", "page_size")
_FILTERS: Final = (
    "start_date",
    "end_date",
    "api_key",
    "user_id",
    "team_id",
    "request_id",
    "session_id",
    "model",
    "end_user",
    "status_filter",
    "min_spend",
    "max_spend",
)

_Dollars = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]
_RequestID = Annotated[str, Path(min_length=1, max_length=512), AfterValidator(storable_text)]


class LogRoutes:
    """The endpoints. Without dates they look at the last thirty days."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger = services.ledger_reader
        self._clock = services.clock
        self._scope = SpendScope(services.control)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Reports"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/spend/logs/v2")(self.page)
        router.get("/spend/logs/ui")(self.page_of_ui)
        router.get("/spend/logs/session/ui")(self.session)
        router.get("/spend/logs/ui/{request_id:path}")(self.one)
        return router

    async def page(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        api_key: QueryText = None,
        user_id: QueryText = None,
        team_id: QueryText = None,
        request_id: QueryText = None,
        session_id: QueryText = None,
        model: QueryText = None,
        end_user: QueryText = None,
        status_filter: Literal["success", "failure", ""] = "",
        min_spend: _Dollars = None,
        max_spend: _Dollars = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show calls, newest first, a page at a time. `api_key` is a hash; counting ends at 10,000."""
        wanted = EventFilter(
            key_hash=api_key,
            user_id=user_id,
            team_id=team_id,
            session_id=session_id,
            model=model,
            end_user_id=end_user,
            is_success=None if not status_filter else status_filter == "success",
            cost_at_least_nano_usd=None if min_spend is None else nano_usd(min_spend),
            cost_at_most_nano_usd=None if max_spend is None else nano_usd(max_spend),
        )
        where = self._in_time(await self._visible(caller, wanted), start_date, end_date, is_bound=request_id is None)
        if request_id is not None:
            found = await events_of_request(self._ledger, request_id, where)
            total, found = len(found), found[(page - 1) * page_size : page * page_size]
        else:
            total, found = await self._count_and_read(where, page, page_size)
        return _paged(request, found, total, (page, page_size), (*_FILTERS, *_PAGING))

    page_of_ui = page

    async def session(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        session_id: Annotated[str, Query(min_length=1, max_length=512), AfterValidator(storable_text)],
        start_date: QueryText = None,
        end_date: QueryText = None,
        page: PageNumber = 1,
        page_size: PageSize = 50,
    ) -> Response:
        """Show the calls of one session, newest first."""
        wanted = await self._visible(caller, EventFilter(session_id=session_id))
        where = self._in_time(wanted, start_date, end_date, is_bound=True)
        total, found = await self._count_and_read(where, page, page_size)
        known = ("session_id", "start_date", "end_date", *_PAGING)
        return _paged(request, found, total, (page, page_size), known)

    async def one(
        self, request: Request, caller: AnyCaller, request_id: _RequestID, *, start_date: QueryText = None
    ) -> Response:
        """Show one call, by the id of the provider's answer or of the event. Bodies are not kept, so they are empty."""
        parse_moment(start_date, param="start_date")  # An id says when: nothing to narrow.
        where = await self._visible(caller, EventFilter())
        found = await events_of_request(self._ledger, request_id, where)
        if not found:
            raise NotFound(f"Call not found: no call with the id '{request_id}' that you may see.", param="request_id")
        return json_answer(spend_row(found[0].event), headers=unknown_parameters(request, ("start_date",)))

    async def _visible(self, caller: Caller, wanted: EventFilter) -> EventFilter:
        """Narrow to what the caller may see: its user's calls, and all of a team that it sees as a whole."""
        if caller.may_see_all:
            return wanted
        if wanted.team_id and await self._scope.is_whole_team(caller, wanted.team_id):
            return wanted
        own = caller.principal
        if wanted.user_id not in {None, own.user_id}:
            raise PermissionDenied("This key is not allowed to see the calls of other users.", param="user_id")
        if own.user_id:
            return msgspec.structs.replace(wanted, user_id=own.user_id)
        if wanted.key_hash not in {None, own.key_hash}:
            raise PermissionDenied("This key is not allowed to see the calls of other keys.", param="api_key")
        return msgspec.structs.replace(wanted, key_hash=own.key_hash)

    def _in_time(
        self, wanted: EventFilter, start_date: str | None, end_date: str | None, *, is_bound: bool
    ) -> EventFilter:
        """Bound the time, so that no query walks through the whole ledger; an id leads to its events without that."""
        since = parse_moment(start_date, param="start_date")
        until = parse_moment(end_date, param="end_date", whole_day=True)
        if since is not None and until is not None and since > until:
            raise BadRequest("'start_date' must not be after 'end_date'.", param="start_date")
        if is_bound and since is None:
            since = window_of(None, end_date, clock=self._clock).since
        return msgspec.structs.replace(wanted, since=since, until=until)

    async def _count_and_read(
        self, where: EventFilter, page: int, page_size: int
    ) -> tuple[int, tuple[CommittedEvent, ...]]:
        total = await self._ledger.count_events(at_most=COUNTED_MAX, where=where)
        offset = (page - 1) * page_size
        if offset >= total:
            return total, ()
        return total, await self._ledger.latest_events(limit=page_size, offset=offset, where=where)


def _paged(
    request: Request, found: Iterable[CommittedEvent], total: int, paging: tuple[int, int], known: tuple[str, ...]
) -> Response:
    page, page_size = paging
    answer: dict[str, Any] = {  # Any: JSON.
        "data": [spend_row(committed.event) for committed in found],
        "total": total,
        "total_is_capped": total >= COUNTED_MAX,
        "page": page,
        "page_size": page_size,
        "total_pages": total_pages(total, page_size),
    }
    return json_answer(answer, headers=unknown_parameters(request, known))
