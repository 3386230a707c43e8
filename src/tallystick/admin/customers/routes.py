"""`/customer/…`, and the same under `/end_user/…`: the end users that calls name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.budget_holders import BudgetHolders, Written
from tallystick.access.budgets import AskedBudget, limits_to_be
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.budget_fields import budgets_of
from tallystick.admin.callers import AnyCaller
from tallystick.admin.customers.requests import CustomerFields, NameCustomers
from tallystick.admin.customers.views import shown_customer
from tallystick.admin.fields import QueryID, QueryText
from tallystick.admin.first_seen import FirstSeen
from tallystick.admin.pages import TOTAL_COUNT_HEADER, PageNumber, PageSize
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author
from tallystick.errors import NotFound

PREFIXES = ("/customer", "/end_user")
_KEEP = AskedBudget(patch=lambda limits: limits)


class CustomerRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._clock = services.clock
        self._present = services.present
        self._spend = Spend(services)
        self._seen = FirstSeen(Kind.CUSTOMER, "end_user", services.control, services.ledger_reader)
        self._holders = BudgetHolders(Kind.CUSTOMER, services.control, services.writer, clock=services.clock)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Customers"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        for prefix in PREFIXES:
            router.post(f"{prefix}/new")(self.new)
            router.post(f"{prefix}/update")(self.update)
            router.post(f"{prefix}/delete")(self.delete)
            router.post(f"{prefix}/block")(self.block)
            router.post(f"{prefix}/unblock")(self.unblock)
            router.get(f"{prefix}/info")(self.info)
            router.get(f"{prefix}/list")(self.list_customers)
        return router

    async def new(self, caller: AnyCaller, body: CustomerFields) -> Response:
        """Make a customer, also one that calls named before. Limits given inline become a budget of its own."""
        made = (await self._patch(body))(self._seen.blank(body.user_id))
        written = await self._holders.create(made, asked=body.asked_budget(), author=caller.author)
        return await self._answer(written, body)

    async def update(self, caller: AnyCaller, body: CustomerFields) -> Response:
        """Change a customer: what is omitted stays, null clears. One that only the ledger knows is made."""
        written = await self._holders.update(
            body.user_id,
            await self._patch(body),
            asked=body.asked_budget(),
            author=caller.author,
            absent=await self._seen.seen(body.user_id),
        )
        return await self._answer(written, body)

    async def delete(self, caller: AnyCaller, body: NameCustomers) -> Response:
        """Delete customers, all or none. Their spend stays in the ledger and its reports."""
        ids = list(dict.fromkeys(body.user_ids))
        found = await self._found(ids)
        for object_id in ids:
            # One that only the ledger knows is made first, so that there is a row that says it was deleted.
            await self._write_same(object_id, found[object_id], author=caller.author)
        gone = await self._holders.delete(ids, author=caller.author)
        answer = {
            "deleted_customers": len(gone),
            "message": f"Successfully deleted customers with ids: {', '.join(ids[:100])}",
        }
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def block(self, caller: AnyCaller, body: NameCustomers) -> Response:
        """Refuse the calls for these customers, also of those who were never seen yet."""
        ids = list(dict.fromkeys(body.user_ids))
        customers = [
            await self._set_blocked(each, self._seen.blank(each), blocked=True, author=caller.author) for each in ids
        ]
        answer = {"blocked_users": await self._shown(customers)}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def unblock(self, caller: AnyCaller, body: NameCustomers) -> Response:
        """Let calls for these customers through again."""
        found = await self._found(list(dict.fromkeys(body.user_ids)))
        customers = [
            await self._set_blocked(each.object_id, each, blocked=False, author=caller.author) if each.blocked else each
            for each in found.values()
        ]
        answer = {"blocked_users": [], "unblocked_users": await self._shown(customers)}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def info(self, request: Request, _caller: AnyCaller, *, end_user_id: QueryID) -> Response:
        """Show a customer, its budget and its spend; also one that was never made, once a call named it."""
        customer = (await self._found([end_user_id]))[end_user_id]
        (shown,) = await self._shown([customer])
        return json_answer(shown, headers=unknown_parameters(request, ("end_user_id",)))

    async def list_customers(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        search: QueryText = None,
        page: PageNumber = 1,
        size: PageSize = 1_000,
    ) -> Response:
        """List customers: first those who were made, the newest first, then those whom calls named, dearest first.

        The header `x-tallystick-total-count` tells how many there are in all.
        """
        found = await self._seen.page(search=search, offset=(page - 1) * size, limit=size)
        headers = {
            TOTAL_COUNT_HEADER: str(found.total_count),
            **unknown_parameters(request, ("search", "page", "size")),
        }
        return json_answer(await self._shown(found.objects), headers=headers)

    async def _patch(self, body: CustomerFields) -> Callable[[ControlObject], ControlObject]:
        if body.spend is None:
            return body.patched
        held = await self._seen.find(body.user_id) or self._seen.blank(body.user_id)
        limits = await limits_to_be(self._store, held, body.asked_budget())
        return await self._spend.patch(held, body.patched, body.spend, limits=limits)

    async def _found(self, object_ids: list[str]) -> dict[str, ControlObject]:
        found = await self._seen.find_many(object_ids)
        for object_id in object_ids:
            if object_id not in found:
                raise NotFound(f"Customer '{object_id}' not found: no customer has this id.", param="user_ids")
        return found

    async def _set_blocked(
        self, object_id: str, absent: ControlObject, *, blocked: bool, author: Author
    ) -> ControlObject:
        written = await self._holders.update(
            object_id,
            lambda before: msgspec.structs.replace(before, blocked=blocked),
            asked=_KEEP,
            author=author,
            action="blocked" if blocked else "unblocked",
            absent=absent,
        )
        return written.holder

    async def _write_same(self, object_id: str, absent: ControlObject, *, author: Author) -> None:
        await self._holders.update(
            object_id, lambda before: before, asked=_KEEP, author=author, action="created", absent=absent
        )

    async def _shown(self, customers: Sequence[ControlObject]) -> list[object]:
        present = self._present()
        budgets = await budgets_of(self._store, customers)
        spent = await self._spend.of(customers, present=present)
        return [
            shown_customer(each, budgets.get(each.budget_id), spent=spend, present=present)
            for each, spend in zip(customers, spent, strict=True)
        ]

    async def _answer(self, written: Written, body: CustomerFields) -> Response:
        (shown,) = await self._shown([written.holder])
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))
