"""`/global/…`: the sums that dashboards show, over days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.limits import usd
from tallystick.admin.reports.activity_routes import ROWS_MAX, require_whole
from tallystick.admin.reports.names import Names
from tallystick.admin.reports.rows import by_columns, report_rows
from tallystick.admin.reports.sum_routes import RowLimit, tag_sums
from tallystick.admin.reports.sums import Sums
from tallystick.admin.reports.window import Window, window_of
from tallystick.admin.services import AdminServices
from tallystick.control.objects import Kind
from tallystick.ledger.store import ActivityFilter, GroupBy, SumRow

_DATES: Final = ("start_date", "end_date")


class GlobalRoutes:
    """The endpoints. Without dates they show the last thirty days."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger = services.ledger_reader
        self._control = services.control
        self._clock = services.clock
        self._authenticator = services.authenticator

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Reports"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/global/spend")(self.spend)
        router.get("/global/spend/logs")(self.days)
        router.get("/global/spend/keys")(self.keys)
        router.get("/global/spend/teams")(self.teams)
        router.get("/global/spend/models")(self.models)
        router.get("/global/spend/provider")(self.providers)
        router.get("/global/spend/report")(self.report)
        router.get("/global/spend/tags")(self.tags)
        router.get("/global/spend/all_tag_names")(self.tag_names)
        router.get("/global/activity")(self.activity)
        router.get("/global/activity/model")(self.activity_of_models)
        router.get("/global/activity/exceptions")(self.failures)
        return router

    async def spend(self, request: Request, _caller: AnyCaller) -> Response:
        """Show what was spent in all, over all time."""
        row = await self._ledger.total("global", "")
        answer = {"spend": usd(row.cost_nano_usd), "max_budget": None}
        return json_answer(answer, headers=unknown_parameters(request, ()))

    async def days(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        api_key: QueryText = None,
    ) -> Response:
        """Show the spend of each day, of all or of one key."""
        key_hash = None if api_key is None else self._authenticator.hash_of(api_key)
        days = window_of(start_date, end_date, clock=self._clock)
        rows = await self._ledger.daily(
            group_by="day", first=days.first, last=days.last, limit=days.days, key_hash=key_hash
        )
        shown = [{"date": row.group["day"], "spend": usd(row.cost_nano_usd)} for row in rows]
        return json_answer(shown, headers=unknown_parameters(request, (*_DATES, "api_key")))

    async def keys(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        limit: RowLimit = 100,
    ) -> Response:
        """Show the keys that spent most."""
        rows = await self._by("key", window_of(start_date, end_date, clock=self._clock), limit)
        names = await Names.of_kind(self._control, Kind.KEY, (row.group["key"] for row in rows))
        shown = [
            {
                "api_key": row.group["key"],
                "key_alias": names.of_key(row.group["key"]),
                "key_name": names.masked_key(row.group["key"]),
                "total_spend": usd(row.cost_nano_usd),
            }
            for row in rows
        ]
        return json_answer(shown, headers=unknown_parameters(request, (*_DATES, "limit")))

    async def teams(
        self, request: Request, _caller: AnyCaller, *, start_date: QueryText = None, end_date: QueryText = None
    ) -> Response:
        """Show the spend of teams by day and in all."""
        rows = await self._activity(window_of(start_date, end_date, clock=self._clock))
        names = await Names.of_kind(self._control, Kind.TEAM, (row.group["team"] for row in rows))
        in_all = by_columns(rows, "team")
        days: dict[str, dict[str, Any]] = {}  # Any: JSON.
        for (day, team_id), sums in by_columns(rows, "day", "team").items():
            # Two teams may have one name, and a team may be called "date".
            line = days.setdefault(day, {"date": day})
            line[names.label_of_team(team_id)] = usd(sums.cost_nano_usd)
        dearest = sorted(in_all.items(), key=lambda item: -item[1].cost_nano_usd)
        answer = {
            "daily_spend": list(days.values()),
            "teams": [names.label_of_team(team_id) for (team_id,), _ in dearest],
            "total_spend_per_team": [
                {"team_id": names.label_of_team(team_id), "total_spend": usd(sums.cost_nano_usd)}
                for (team_id,), sums in dearest
            ],
        }
        return json_answer(answer, headers=unknown_parameters(request, _DATES))

    async def models(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        limit: RowLimit = 100,
    ) -> Response:
        """Show the models that cost most."""
        rows = await self._by("model", window_of(start_date, end_date, clock=self._clock), limit)
        shown = [{"model": row.group["model"], "total_spend": usd(row.cost_nano_usd)} for row in rows]
        return json_answer(shown, headers=unknown_parameters(request, (*_DATES, "limit")))

    async def providers(
        self, request: Request, _caller: AnyCaller, *, start_date: QueryText = None, end_date: QueryText = None
    ) -> Response:
        """Show the spend at each provider."""
        rows = await self._by("provider", window_of(start_date, end_date, clock=self._clock), 10_000)
        shown = [{"provider": row.group["provider"], "spend": usd(row.cost_nano_usd)} for row in rows]
        return json_answer(shown, headers=unknown_parameters(request, _DATES))

    async def report(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        group_by: Literal["team", "customer", "api_key"] = "team",
        api_key: QueryText = None,
        team_id: QueryText = None,
        internal_user_id: QueryText = None,
    ) -> Response:
        """Show each day with the spend of its teams, customers or keys, and of their models."""
        days = window_of(start_date, end_date, clock=self._clock)
        rows: Sequence[SumRow]
        if group_by == "customer":
            rows = await self._ledger.entity_activity(
                entity_type="end_user", entity_ids=None, models=None, first=days.first, last=days.last, limit=ROWS_MAX
            )
        else:
            where = ActivityFilter(
                key_hashes=None if api_key is None else (self._authenticator.hash_of(api_key),),
                team_ids=None if team_id is None else (team_id,),
                user_ids=None if internal_user_id is None else (internal_user_id,),
            )
            rows = await self._ledger.activity(where=where, first=days.first, last=days.last, limit=ROWS_MAX)
        names = await Names.of_kind(self._control, Kind.TEAM, (row.group.get("team", "") for row in rows))
        known = (*_DATES, "group_by", *(() if group_by == "customer" else ("api_key", "team_id", "internal_user_id")))
        shown = report_rows(require_whole(rows), group_by, names)
        return json_answer(shown, headers=unknown_parameters(request, known))

    async def tags(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        start_date: QueryText = None,
        end_date: QueryText = None,
        tags: QueryText = None,
    ) -> Response:
        """Show the spend of each tag. A call with several tags counts for each."""
        wanted = None if tags in {None, "all-tags"} else tuple((tags or "").split(","))
        sums = await tag_sums(self._ledger, start_date, end_date, clock=self._clock, tags=wanted)
        shown = [
            {"name": tag, "spend": usd(each.cost_nano_usd), "log_count": each.requests} for tag, each in sums.items()
        ]
        return json_answer({"spend_per_tag": shown}, headers=unknown_parameters(request, (*_DATES, "tags")))

    async def tag_names(self, request: Request, _caller: AnyCaller) -> Response:
        """List the tags under which anything was spent."""
        rows = await self._ledger.totals("tag", limit=10_000)
        answer = {"tag_names": [row.group["entity_id"] for row in rows]}
        return json_answer(answer, headers=unknown_parameters(request, ()))

    async def activity(
        self, request: Request, _caller: AnyCaller, *, start_date: QueryText = None, end_date: QueryText = None
    ) -> Response:
        """Show requests and tokens by day."""
        days = window_of(start_date, end_date, clock=self._clock)
        rows = await self._by("day", days, days.days)
        return json_answer(_activity_of(_sums_by_day(rows)), headers=unknown_parameters(request, _DATES))

    async def activity_of_models(
        self, request: Request, _caller: AnyCaller, *, start_date: QueryText = None, end_date: QueryText = None
    ) -> Response:
        """Show requests and tokens by model and day."""
        rows = await self._activity(window_of(start_date, end_date, clock=self._clock))
        models: dict[str, dict[str, Sums]] = {}
        for (model, day), sums in by_columns(rows, "model_group", "day").items():
            models.setdefault(model, {})[day] = sums
        shown = [{"model": model, **_activity_of(days)} for model, days in models.items()]
        return json_answer(shown, headers=unknown_parameters(request, _DATES))

    async def failures(
        self, request: Request, _caller: AnyCaller, *, start_date: QueryText = None, end_date: QueryText = None
    ) -> Response:
        """Show failed calls by day. Interrupted ones count as failed; their reasons are in `/spend/logs/v2`."""
        days = window_of(start_date, end_date, clock=self._clock)
        rows = await self._by("day", days, days.days)
        answer = {
            "daily_data": [{"date": row.group["day"], "failed_requests": row.failed_requests} for row in rows],
            "sum_failed_requests": sum(row.failed_requests for row in rows),
        }
        return json_answer(answer, headers=unknown_parameters(request, _DATES))

    async def _by(self, group_by: GroupBy, days: Window, limit: int) -> tuple[SumRow, ...]:
        return await self._ledger.daily(group_by=group_by, first=days.first, last=days.last, limit=limit)

    async def _activity(self, days: Window) -> Sequence[SumRow]:
        everything = ActivityFilter()
        return require_whole(
            await self._ledger.activity(where=everything, first=days.first, last=days.last, limit=ROWS_MAX)
        )


def _sums_by_day(rows: Iterable[SumRow]) -> dict[str, Sums]:
    return {day: sums for (day,), sums in by_columns(rows, "day").items()}


def _activity_of(days: dict[str, Sums]) -> dict[str, Any]:  # Any: JSON.
    return {
        "daily_data": [
            {"date": day, "api_requests": sums.requests, "total_tokens": sums.tokens} for day, sums in days.items()
        ],
        "sum_api_requests": sum(sums.requests for sums in days.values()),
        "sum_total_tokens": sum(sums.tokens for sums in days.values()),
    }
