"""`/spend/logs` and `/ledger/events`: what the ledger says of single calls."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.event_lookup import events_of_request
from tallystick.admin.fields import QueryText
from tallystick.admin.moments import event_id_in, parse_moment
from tallystick.admin.services import AdminServices
from tallystick.admin.spend_rows import event_fields, spend_row
from tallystick.errors import BadRequest, PermissionDenied
from tallystick.ledger.store import EventFilter

TRUNCATED_HEADER: Final = "x-litellm-spend-logs-truncated"
_SPEND_PARAMETERS = ("request_id", "api_key", "user_id", "start_date", "end_date", "limit")
_EVENT_PARAMETERS = ("after", "limit", "event_id", "key_hash", "since", "until")


class LedgerRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger = services.ledger_reader
        self._authenticator = services.authenticator

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Ledger"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/spend/logs")(self.spend_logs)
        router.get("/ledger/events")(self.ledger_events)
        return router

    async def spend_logs(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        request_id: QueryText = None,
        api_key: QueryText = None,
        user_id: QueryText = None,
        start_date: QueryText = None,
        end_date: QueryText = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    ) -> Response:
        """Show calls, newest first, as rows in LiteLLM's shape.

        `request_id` is the id of the provider's answer or of the event; `api_key` a key or its hash; a date in
        `end_date` includes that day. Who is not an admin sees the calls of the own key.
        """
        where = EventFilter(
            key_hash=self._visible_key(caller, api_key),
            user_id=user_id,
            since=parse_moment(start_date, param="start_date"),
            until=parse_moment(end_date, param="end_date", whole_day=True),
        )
        headers = unknown_parameters(request, _SPEND_PARAMETERS)
        if request_id is not None:
            found = await events_of_request(self._ledger, request_id, where)
        else:
            found = await self._ledger.latest_events(limit=limit + 1, where=where)
        if len(found) > limit:
            headers[TRUNCATED_HEADER] = "true"
        return json_answer([spend_row(committed.event) for committed in found[:limit]], headers=headers)

    async def ledger_events(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        after: QueryText = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        event_id: QueryText = None,
        key_hash: QueryText = None,
        since: QueryText = None,
        until: QueryText = None,
    ) -> Response:
        """Follow the ledger in the order of commits: go on from `next`; every event appears exactly once."""
        where = EventFilter(
            event_id=None if event_id is None else _required_event_id(event_id),
            key_hash=None if key_hash is None else self._authenticator.hash_of(key_hash),
            since=parse_moment(since, param="since"),
            until=parse_moment(until, param="until"),
        )
        page = await self._ledger.events_after(after or "", limit=limit, where=where)
        return json_answer(
            {"events": [event_fields(committed) for committed in page.events], "next": page.next},
            headers=unknown_parameters(request, _EVENT_PARAMETERS),
        )

    def _visible_key(self, caller: Caller, api_key: str | None) -> str | None:
        """Return whose calls to show; None shows all."""
        asked = None if api_key is None else self._authenticator.hash_of(api_key)
        if caller.may_see_all:
            return asked
        if asked is not None and asked != caller.principal.key_hash:
            raise PermissionDenied("This key is not allowed to see the calls of other keys.", param="api_key")
        return caller.principal.key_hash


def _required_event_id(text: str) -> str:
    event_id = event_id_in(text)
    if event_id is None:
        raise BadRequest(
            f"'event_id' must be a UUIDv7, as in x-tallystick-event-id, not {text[:64]!r}.", param="event_id"
        )
    return event_id
