"""`/spend/keys`, `/spend/users`, `/spend/tags`: who spent most, over all time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.users import UserSpec
from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.limits import usd
from tallystick.admin.reports.activity_routes import ROWS_MAX, require_whole
from tallystick.admin.reports.names import Names
from tallystick.admin.reports.sums import Sums
from tallystick.admin.reports.window import window_of
from tallystick.admin.services import AdminServices
from tallystick.control.objects import Kind, spec_as
from tallystick.ledger.store import LedgerReader
from tallystick.runtime.clock import Clock

RowLimit = Annotated[int, Query(ge=1, le=10_000)]
_LIMIT: Final = 1_000


class SumRoutes:
    """The endpoints."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger = services.ledger_reader
        self._control = services.control
        self._clock = services.clock

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Reports"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/spend/keys")(self.keys)
        router.get("/spend/users")(self.users)
        router.get("/spend/tags")(self.tags)
        return router

    async def keys(self, request: Request, _caller: AnyCaller, *, limit: RowLimit = _LIMIT) -> Response:
        """Show the keys that spent most, as the ledger has them, the dearest first."""
        rows = await self._ledger.totals("key", limit=limit)
        names = await Names.of_kind(self._control, Kind.KEY, (row.group["entity_id"] for row in rows))
        shown = []
        for row in rows:
            key_hash = row.group["entity_id"]
            held = names.found(Kind.KEY, key_hash)
            shown.append(
                {
                    "token": key_hash,
                    "key_name": names.masked_key(key_hash),
                    "key_alias": names.of_key(key_hash),
                    "user_id": held.user_id or None if held else None,
                    "team_id": held.team_id or None if held else None,
                    "spend": usd(row.cost_nano_usd),
                }
            )
        return json_answer(shown, headers=unknown_parameters(request, ("limit",)))

    async def users(
        self, request: Request, _caller: AnyCaller, *, user_id: QueryText = None, limit: RowLimit = _LIMIT
    ) -> Response:
        """Show the users who spent most, or one of them."""
        if user_id is None:
            rows = await self._ledger.totals("user", limit=limit)
        else:
            rows = (await self._ledger.total("user", user_id),)
        names = await Names.of_kind(self._control, Kind.USER, (row.group["entity_id"] for row in rows))
        shown = []
        for row in rows:
            held = names.found(Kind.USER, row.group["entity_id"])
            spec = spec_as(UserSpec, held.spec) if held else UserSpec()
            shown.append(
                {
                    "user_id": row.group["entity_id"],
                    "user_email": (held.name or None) if held else None,
                    "user_role": spec.role if held else None,
                    "max_budget": usd(spec.limits.max_budget_nano_usd),
                    "spend": usd(row.cost_nano_usd),
                }
            )
        return json_answer(shown, headers=unknown_parameters(request, ("user_id", "limit")))

    async def tags(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
    ) -> Response:
        """Show tags with their spend, the dearest first: of all time, or of some days."""
        if start_date is None and end_date is None:
            rows = await self._ledger.totals("tag", limit=_LIMIT)
            counted = [(row.group["entity_id"], row.requests, row.cost_nano_usd) for row in rows]
        else:
            sums = await tag_sums(self._ledger, start_date, end_date, clock=self._clock)
            counted = [(tag, each.requests, each.cost_nano_usd) for tag, each in sums.items()]
        shown: Iterable[dict[str, Any]] = (  # Any: JSON.
            {"individual_request_tag": tag, "log_count": requests, "total_spend": usd(cost)}
            for tag, requests, cost in counted
        )
        return json_answer(list(shown), headers=unknown_parameters(request, ("start_date", "end_date")))


async def tag_sums(
    ledger: LedgerReader,
    start_date: str | None,
    end_date: str | None,
    *,
    clock: Clock,
    tags: tuple[str, ...] | None = None,
) -> dict[str, Sums]:
    """Return the sums of each tag over some days, the dearest first."""
    days = window_of(start_date, end_date, clock=clock)
    rows = await ledger.entity_activity(
        entity_type="tag", entity_ids=tags, models=None, first=days.first, last=days.last, limit=ROWS_MAX
    )
    sums: dict[str, Sums] = {}
    for row in require_whole(rows):
        sums.setdefault(row.group["entity_id"], Sums()).add(row)
    return dict(sorted(sums.items(), key=lambda item: (-item[1].cost_nano_usd, item[0])))
