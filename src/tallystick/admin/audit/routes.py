"""`/audit`: who changed what, when, and from what to what."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import json_answer, unknown_parameters
from tallystick.admin.audit.views import kind_of, shown_audit
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import PathID, QueryText
from tallystick.admin.moments import event_id_in, parse_moment
from tallystick.admin.pages import PageNumber, PageSize, SortOrder, total_pages
from tallystick.admin.services import AdminServices
from tallystick.control.store import AuditFilter, AuditPage
from tallystick.errors import NotFound

_PARAMETERS: Final = (
    "page", "page_size", "sort_by", "sort_order", "changed_by", "changed_by_api_key", "action", "table_name",
    "object_type", "object_id", "start_date", "end_date",
)  # fmt: skip
_TRIES_MAX: Final = 3


class AuditRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._authenticator = services.authenticator

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Audit"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/audit")(self.list_audit)
        router.get("/audit/{audit_id}")(self.show)
        return router

    async def list_audit(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        page: PageNumber = 1,
        page_size: PageSize = 10,
        _sort_by: Annotated[str, Query(alias="sort_by", pattern="^updated_at$")] = "updated_at",
        sort_order: SortOrder = "desc",
        changed_by: QueryText = None,
        changed_by_api_key: QueryText = None,
        action: QueryText = None,
        table_name: QueryText = None,
        object_type: QueryText = None,
        object_id: QueryText = None,
        start_date: QueryText = None,
        end_date: QueryText = None,
    ) -> Response:
        """List the changes that admins made, the newest first. Secrets in them are masked.

        `changed_by` is a user or what the header `litellm-changed-by` said; `changed_by_api_key` a key or its hash;
        `table_name` LiteLLM's name of the table, `object_type` our word for it; a date in `end_date` includes that day.
        """
        kind = object_type or table_name
        where = AuditFilter(
            kind=None if kind is None else kind_of(kind),
            object_id=object_id,
            action=action,
            changed_by=changed_by,
            key_hash=None if changed_by_api_key is None else self._authenticator.hash_of(changed_by_api_key),
            since=parse_moment(start_date, param="start_date"),
            until=parse_moment(end_date, param="end_date", whole_day=True),
        )
        if sort_order == "asc":
            found = await self._oldest_first(where, offset=(page - 1) * page_size, limit=page_size)
        else:
            found = await self._store.list_audit(where, offset=(page - 1) * page_size, limit=page_size)
        answer = {
            "audit_logs": [shown_audit(row) for row in found.rows],
            "total": found.total_count,
            "page": page,
            "page_size": page_size,
            "total_pages": total_pages(found.total_count, page_size),
        }
        return json_answer(answer, headers=unknown_parameters(request, _PARAMETERS))

    async def show(self, request: Request, _caller: AnyCaller, audit_id: PathID) -> Response:
        """Show one change."""
        known = event_id_in(audit_id)
        where = AuditFilter(audit_id=known)
        page = None if known is None else await self._store.list_audit(where, offset=0, limit=1)
        if page is None or not page.rows:
            raise NotFound(f"Audit log '{audit_id[:64]}' not found: it does not exist.", param="audit_id")
        return json_answer(shown_audit(page.rows[0]), headers=unknown_parameters(request, ()))

    async def _oldest_first(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return a page counted from the end: the store counts from the newest, and rows may be added meanwhile."""
        total_count = (await self._store.list_audit(where, offset=0, limit=1)).total_count
        for _ in range(_TRIES_MAX):
            last = max(0, total_count - offset)
            first = max(0, last - limit)
            found = await self._store.list_audit(where, offset=first, limit=max(1, last - first))
            if found.total_count == total_count:
                break
            total_count = found.total_count
        rows = found.rows[: last - first]
        return AuditPage(rows=tuple(reversed(rows)), total_count=found.total_count)
