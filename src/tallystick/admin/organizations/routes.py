"""`/organization/…`: organizations, to which teams, keys and members belong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.budget_holders import BudgetHolders
from tallystick.access.budgets import limits_to_be
from tallystick.access.organizations import belongings
from tallystick.access.teams import OrganizationSpec
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import PathID, QueryID, QueryText
from tallystick.admin.organizations.access import require_may_change, require_organization_member
from tallystick.admin.organizations.requests import (
    DeleteOrganizations,
    NameOrganizations,
    NewOrganization,
    OrganizationFields,
    PatchOrganization,
    UpdateOrganization,
)
from tallystick.admin.organizations.views import OrganizationViews
from tallystick.admin.pages import TOTAL_COUNT_HEADER, PageNumber, PageSize
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.listing import list_all
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import ObjectFilter
from tallystick.errors import BadRequest, NotFound
from tallystick.runtime.ids import new_event_id

_LIST_PARAMETERS = ("org_id", "org_alias", "page", "size")


class OrganizationRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._clock = services.clock
        self._spend = Spend(services)
        self._views = OrganizationViews(services)
        self._holders = BudgetHolders(
            Kind.ORGANIZATION, services.control, services.writer, clock=services.clock, always=True
        )

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Organizations"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/organization/new")(self.new)
        router.patch("/organization/update")(self.update)
        router.patch("/v2/organization/{organization_id}")(self.patch)
        router.delete("/organization/delete")(self.delete)
        router.get("/organization/info")(self.info)
        router.post("/organization/info")(self.infos)
        router.get("/organization/list")(self.list_organizations)
        return router

    async def new(self, caller: AnyCaller, body: NewOrganization) -> Response:
        """Make an organization. Limits given inline become a budget of its own; `budget_id` shares another one."""
        now = self._clock.now()
        made = ControlObject(
            kind=Kind.ORGANIZATION,
            object_id=body.organization_id or new_event_id(now),
            name=body.organization_alias,
            spec=spec_from(body.patched(OrganizationSpec())),
            created_at=now,
            updated_at=now,
        )
        if body.spend is not None:
            limits = await limits_to_be(self._store, made, body.asked_budget())
            made = await self._spend.with_spend(made, body.spend, limits=limits)
        written = await self._holders.create(made, asked=body.asked_budget(), author=caller.author)
        return await self._answer(written.holder, body)

    async def update(self, caller: AnyCaller, body: UpdateOrganization) -> Response:
        """Change an organization: what is omitted stays, null clears. Its admins may change alias and metadata."""
        return await self._update(caller, body.organization_id, body)

    async def patch(self, caller: AnyCaller, organization_id: PathID, body: PatchOrganization) -> Response:
        """Change the organization that the path names: what is omitted stays, null clears."""
        if body.organization_id not in {None, organization_id}:
            raise BadRequest("'organization_id' is another one than in the path.", param="organization_id")
        return await self._update(caller, organization_id, body)

    async def delete(self, caller: AnyCaller, body: DeleteOrganizations) -> Response:
        """Delete organizations with their teams, members and keys, all or nothing. Their spend stays in the ledger."""
        before = await self._store.find_many([ObjectRef(Kind.ORGANIZATION, each) for each in body.organization_ids])
        shown = await self._views.show(before)
        await self._holders.delete(
            body.organization_ids,
            author=caller.author,
            related=lambda: belongings(self._store, body.organization_ids),
        )
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def info(self, request: Request, caller: AnyCaller, *, organization_id: QueryID) -> Response:
        """Show an organization with its budget, spend, members and teams, to admins and to its members."""
        (shown,) = await self._shown(caller, [organization_id])
        return json_answer(shown, headers=unknown_parameters(request, ("organization_id",)))

    async def infos(self, caller: AnyCaller, body: NameOrganizations) -> Response:
        """Show several organizations, in the order in which they are named."""
        shown = await self._shown(caller, list(dict.fromkeys(body.organizations)))
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def list_organizations(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        org_id: QueryText = None,
        org_alias: QueryText = None,
        page: PageNumber = 1,
        size: PageSize = 1_000,
    ) -> Response:
        """List organizations, the newest first: all to proxy admins, to others those in which they are members.

        `org_alias` is a part of the alias, whatever the case of its letters. The header `x-tallystick-total-count`
        tells how many there are in all.
        """
        visible = await self._visible(caller, org_id)
        where = ObjectFilter(kind=Kind.ORGANIZATION, object_ids=visible, search=org_alias)
        found = await self._store.list_objects(where, offset=(page - 1) * size, limit=size)
        headers = {TOTAL_COUNT_HEADER: str(found.total_count), **unknown_parameters(request, _LIST_PARAMETERS)}
        return json_answer(await self._views.show(found.objects), headers=headers)

    async def _update(self, caller: Caller, organization_id: str, body: OrganizationFields) -> Response:
        await require_may_change(
            caller, organization_id, body.model_fields_set & OrganizationFields.model_fields.keys()
        )

        def patch(before: ControlObject) -> ControlObject:
            name = body.organization_alias or "" if "organization_alias" in body.model_fields_set else before.name
            spec = body.patched(spec_as(OrganizationSpec, before.spec))
            return msgspec.structs.replace(before, name=name, spec=spec_from(spec))

        corrects: Callable[[ControlObject], ControlObject] = patch
        if body.spend is not None and (held := await self._store.find(ObjectRef(Kind.ORGANIZATION, organization_id))):
            limits = await limits_to_be(self._store, held, body.asked_budget())
            corrects = await self._spend.patch(held, patch, body.spend, limits=limits)
        written = await self._holders.update(organization_id, corrects, asked=body.asked_budget(), author=caller.author)
        return await self._answer(written.holder, body)

    async def _visible(self, caller: Caller, asked: str | None) -> tuple[str, ...] | None:
        """Return the ids of the organizations to list; None is all."""
        if caller.may_see_all:
            return None if asked is None else (asked,)
        if not caller.principal.user_id:
            return ()
        own = await list_all(
            self._store, ObjectFilter(kind=Kind.ORGANIZATION_MEMBER, user_ids=(caller.principal.user_id,))
        )
        return tuple(each.organization_id for each in own if asked in {None, each.organization_id})

    async def _shown(self, caller: Caller, organization_ids: list[str]) -> list[object]:
        await require_organization_member(caller, organization_ids)
        refs = [ObjectRef(Kind.ORGANIZATION, each) for each in organization_ids]
        found = {each.ref: each for each in await self._store.find_many(refs)}
        for ref in refs:
            if ref not in found:
                raise NotFound(f"Organization '{ref.object_id}' not found: it does not exist.", param="organization_id")
        return [*await self._views.show([found[ref] for ref in refs])]

    async def _answer(self, organization: ControlObject, body: OrganizationFields) -> Response:
        (shown,) = await self._views.show([organization])
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))
