"""`/budget/…`: rows of limits that many may share."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.budgets import BudgetSpec, unused
from tallystick.access.changing import retried
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.budget_fields import shown_budget
from tallystick.admin.budgets.requests import BudgetFields, DeleteBudget, NameBudgets, NewBudget, UpdateBudget
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryID
from tallystick.admin.pages import TOTAL_COUNT_HEADER, PageNumber, PageSize
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import ObjectFilter
from tallystick.errors import AlreadyExists, BadRequest, Conflict, NotFound
from tallystick.runtime.ids import new_event_id

_SETTINGS: Final = {
    "max_budget": "Float",
    "soft_budget": "Float",
    "budget_duration": "String",
    "tpm_limit": "Integer",
    "rpm_limit": "Integer",
    "tpd_limit": "Integer",
    "max_parallel_requests": "Integer",
    "model_max_budget": "Dictionary",
}
"""The fields of `/budget/settings` and their types, as LiteLLM names them."""


class BudgetRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._present = services.present

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Budgets"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/budget/new")(self.new)
        router.post("/budget/update")(self.update)
        router.post("/budget/info")(self.info)
        router.post("/budget/delete")(self.delete)
        router.get("/budget/list")(self.list_budgets)
        router.get("/budget/settings")(self.settings)
        return router

    async def new(self, caller: AnyCaller, body: NewBudget) -> Response:
        """Make a budget to be shared: whoever names its `budget_id` has these limits, and a spend of its own."""
        now = self._clock.now()
        made = ControlObject(
            kind=Kind.BUDGET,
            object_id=body.budget_id or new_event_id(now),
            spec=spec_from(body.patched(BudgetSpec())),
            created_at=now,
            updated_at=now,
        )
        try:
            written = await self._writer.create(made, author=caller.author)
        except AlreadyExists as error:
            raise BadRequest(
                f"Budget '{made.object_id}' already exists. Change it with /budget/update.", param="budget_id"
            ) from error
        return self._answer(written, body)

    async def update(self, caller: AnyCaller, body: UpdateBudget) -> Response:
        """Change a budget for all who share it."""

        def patch(before: ControlObject) -> ControlObject:
            spec = body.patched(spec_as(BudgetSpec, before.spec))
            return msgspec.structs.replace(before, spec=spec_from(spec))

        _, after = await self._writer.update(ObjectRef(Kind.BUDGET, body.budget_id), patch, author=caller.author)
        return self._answer(after, body)

    async def info(self, _caller: AnyCaller, body: NameBudgets) -> Response:
        """Show budgets, in the order in which they are named. Unknown ones are left out; 404 when none is known."""
        refs = [ObjectRef(Kind.BUDGET, budget_id) for budget_id in dict.fromkeys(body.budgets)]
        found = {each.ref: each for each in await self._store.find_many(refs)}
        if refs and not found:
            raise NotFound(f"Budget not found: '{body.budgets[0]}' does not exist.", param="budgets")
        present = self._present()
        shown = [shown_budget(found[ref], present=present) for ref in refs if ref in found]
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: DeleteBudget) -> Response:
        """Delete a budget to which nobody refers. One that is in use is kept, and the answer is 409."""
        ref = ObjectRef(Kind.BUDGET, body.id)

        async def attempt() -> ControlObject:
            budget = await self._store.find(ref)
            if budget is None:
                raise NotFound(f"Budget '{body.id}' not found: it does not exist.", param="id")
            await self._require_unused(budget)
            await self._writer.apply(
                [(budget, None)], author=caller.author, action="deleted", none_left=unused(body.id)
            )
            return budget

        return self._answer(await retried(attempt), body)

    async def list_budgets(
        self, request: Request, _caller: AnyCaller, *, page: PageNumber = 1, size: PageSize = 1_000
    ) -> Response:
        """List budgets, the newest first. The header `x-tallystick-total-count` tells how many there are in all."""
        found = await self._store.list_objects(ObjectFilter(kind=Kind.BUDGET), offset=(page - 1) * size, limit=size)
        present = self._present()
        headers = {
            TOTAL_COUNT_HEADER: str(found.total_count),
            **unknown_parameters(request, ("page", "size")),
        }
        return json_answer([shown_budget(each, present=present) for each in found.objects], headers=headers)

    async def settings(self, request: Request, _caller: AnyCaller, *, budget_id: QueryID) -> Response:
        """Show a budget field by field, each with its type and what it is for."""
        budget = await self._store.find(ObjectRef(Kind.BUDGET, budget_id))
        if budget is None:
            raise NotFound(f"Budget '{budget_id}' not found: it does not exist.", param="budget_id")
        shown = shown_budget(budget, present=self._present())
        fields = [_setting(name, shown[name]) for name in _SETTINGS]
        return json_answer(fields, headers=unknown_parameters(request, ("budget_id",)))

    async def _require_unused(self, budget: ControlObject) -> None:
        for condition in unused(budget.object_id):
            users = ObjectFilter(kind=condition.kind, budget_ids=(budget.object_id,))
            page = await self._store.list_objects(users, limit=1)
            if page.objects:
                raise Conflict(
                    f"Budget '{budget.object_id}' is in use by {page.total_count} {condition.kind}(s), first "
                    f"'{page.objects[0].object_id}'. Give them another budget before you delete it.",
                    param="id",
                )

    def _answer(self, budget: ControlObject, body: BudgetFields | DeleteBudget) -> Response:
        shown = shown_budget(budget, present=self._present())
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))


def _setting(name: str, value: object) -> dict[str, Any]:  # Any: JSON.
    """Return a field as LiteLLM's page of budget settings shows it."""
    field = UpdateBudget.model_fields[name]
    return {
        "field_name": name,
        "field_type": _SETTINGS[name],
        "field_description": field.description or "",
        "field_value": value,
        "stored_in_db": value is not None,
        "field_default_value": None,
    }
