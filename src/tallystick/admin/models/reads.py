"""What is served, as callers see it: `/model/info`, `/v2/model/info`, `/model_group/info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import QueryText
from tallystick.admin.models.views import JSON, group_row, served_model, unserved_model
from tallystick.admin.pages import PageNumber, SortOrder, total_pages
from tallystick.admin.services import AdminServices
from tallystick.calls.model_choice import callable_models
from tallystick.control.deployment import Deployment
from tallystick.control.objects import Kind
from tallystick.errors import BadRequest, NotFound

_PAGED: Final = ("model", "modelId", "teamId", "search", "page", "size", "sortBy", "sortOrder")
_SORTED_BY: Final[Mapping[str, str]] = {
    "model_name": "model_name",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "costs": "input_cost_per_token",
    "status": "db_model",
}


class ModelReads:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._snapshots = services.snapshots

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Models"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/model/info")(self.info)
        router.get("/v1/model/info", operation_id="model_info_v1")(self.info)
        router.get("/v2/model/info")(self.paged_info)
        router.get("/model_group/info")(self.group_info)
        return router

    async def info(self, request: Request, caller: AnyCaller, *, litellm_model_id: QueryText = None) -> Response:
        """Show the deployments that the key may use; admins see those of every team, and what is not served."""
        rows = self._visible(caller)
        if litellm_model_id is not None:
            rows = [row for row in rows if row["model_info"]["id"] == litellm_model_id]
            if not rows:
                raise NotFound(f"Model id = {litellm_model_id} not found: it does not exist.", param="litellm_model_id")
        return json_answer({"data": rows}, headers=unknown_parameters(request, ["litellm_model_id"]))

    async def paged_info(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        model: QueryText = None,
        model_id: Annotated[str | None, Query(alias="modelId", max_length=512)] = None,
        team_id: Annotated[str | None, Query(alias="teamId", max_length=512)] = None,
        search: QueryText = None,
        page: PageNumber = 1,
        size: Annotated[int, Query(ge=1, le=1_000)] = 50,
        sort_by: Annotated[str | None, Query(alias="sortBy", max_length=64)] = None,
        sort_order: Annotated[SortOrder, Query(alias="sortOrder")] = None,
    ) -> Response:
        """Show the same page by page. `search` is a part of the model group's or the upstream model's name."""
        wanted = (search or "").lower()
        rows = [
            row
            for row in self._visible(caller)
            if (not model or row["model_name"] == model)
            and (not model_id or row["model_info"]["id"] == model_id)
            and (not team_id or row["model_info"]["team_id"] == team_id)
            and (wanted in row["model_name"].lower() or wanted in str(row["litellm_params"].get("model", "")).lower())
        ]
        if sort_by:
            rows = _sorted(rows, sort_by, is_descending=sort_order == "desc")
        return json_answer(
            {
                "data": rows[(page - 1) * size : page * size],
                "total_count": len(rows),
                "current_page": page,
                "total_pages": total_pages(len(rows), size),
                "size": size,
            },
            headers=unknown_parameters(request, _PAGED),
        )

    async def group_info(self, request: Request, caller: AnyCaller, *, model_group: QueryText = None) -> Response:
        """Show the model groups that the key may use, and what they offer."""
        public = self._snapshots.current.settings.public_model_groups
        rows = [
            group_row(name, members, is_public=name in public)
            for name, members in self._groups_of(caller).items()
            if model_group is None or name == model_group
        ]
        return json_answer({"data": rows}, headers=unknown_parameters(request, ["model_group"]))

    def _groups_of(self, caller: Caller) -> dict[str, tuple[Deployment, ...]]:
        snapshot = self._snapshots.current
        names = set(callable_models(caller.principal, snapshot))
        groups = snapshot.groups_seen_by(caller.principal.team_id)
        return {name: members for name, members in groups.items() if name in names or caller.may_see_all}

    def _visible(self, caller: Caller) -> list[JSON]:
        snapshot = self._snapshots.current
        rows = {held.object_id: held for held in self._snapshots.objects(Kind.MODEL)}
        if not caller.may_see_all:
            return [
                served_model(each, rows.get(each.deployment_id), name=name)
                for name, members in self._groups_of(caller).items()
                for each in members
            ]
        served = snapshot.deployments()
        reasons = {each.object_id: each.reason for each in snapshot.left_out if each.kind == Kind.MODEL}
        unserved = [held for held in rows.values() if held.object_id not in served]
        return [
            *(served_model(each, rows.get(each.deployment_id)) for each in served.values()),
            *(unserved_model(held, reasons.get(held.object_id)) for held in unserved),
        ]


def _sorted(rows: list[JSON], sort_by: str, *, is_descending: bool) -> list[JSON]:
    field = _SORTED_BY.get(sort_by)
    if field is None:
        raise BadRequest(f"'sortBy' must be one of {', '.join(_SORTED_BY)}, not {sort_by[:40]!r}.", param="sortBy")

    def value(row: JSON) -> Any:  # Any: JSON.
        return row["model_name"] if field == "model_name" else row["model_info"].get(field)

    with_value = [row for row in rows if value(row) is not None]
    without = [row for row in rows if value(row) is None]
    return [*sorted(with_value, key=value, reverse=is_descending), *without]
