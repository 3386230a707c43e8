"""`/tag/…`: labels of calls, with budgets of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.budget_holders import BudgetHolders
from tallystick.access.budgets import limits_to_be
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.budget_fields import budgets_of
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.first_seen import FirstSeen
from tallystick.admin.pages import TOTAL_COUNT_HEADER, PageNumber, PageSize
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.tags.requests import NameTag, NameTags, TagFields
from tallystick.admin.tags.views import shown_tag
from tallystick.control.objects import ControlObject, Kind
from tallystick.errors import NotFound


class TagRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._clock = services.clock
        self._present = services.present
        self._spend = Spend(services)
        self._seen = FirstSeen(Kind.TAG, "tag", services.control, services.ledger_reader)
        self._holders = BudgetHolders(Kind.TAG, services.control, services.writer, clock=services.clock)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Tags"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/tag/new")(self.new)
        router.post("/tag/update")(self.update)
        router.post("/tag/delete")(self.delete)
        router.post("/tag/info")(self.info)
        router.get("/tag/list")(self.list_tags)
        return router

    async def new(self, caller: AnyCaller, body: TagFields) -> Response:
        """Make a tag, also one that calls named before. Limits given inline become a budget of its own."""
        made = (await self._patch(body))(self._seen.blank(body.name))
        written = await self._holders.create(made, asked=body.asked_budget(), author=caller.author)
        return await self._answer(written.holder, f"Tag {body.name} created successfully", body)

    async def update(self, caller: AnyCaller, body: TagFields) -> Response:
        """Change a tag: what is omitted stays, null clears. One that only the ledger knows is made."""
        written = await self._holders.update(
            body.name,
            await self._patch(body),
            asked=body.asked_budget(),
            author=caller.author,
            absent=await self._seen.seen(body.name),
        )
        return await self._answer(written.holder, f"Tag {body.name} updated successfully", body)

    async def delete(self, caller: AnyCaller, body: NameTag) -> Response:
        """Delete a tag. Calls may still name it, and its spend stays in the ledger and its reports."""
        found = await self._seen.find(body.name)
        if found is None:
            raise NotFound(f"Tag '{body.name}' not found: there is no such tag.", param="name")
        # One that only the ledger knows is made first, so that there is a row that says it was deleted.
        await self._holders.update(
            body.name,
            lambda before: before,
            asked=TagFields(name=body.name).asked_budget(),
            author=caller.author,
            action="created",
            absent=found,
        )
        await self._holders.delete([body.name], author=caller.author)
        answer = {"message": f"Tag {body.name} deleted successfully"}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def info(self, _caller: AnyCaller, body: NameTags) -> Response:
        """Show tags, by their names. Unknown ones are left out; 404 when none is known."""
        found = await self._seen.find_many(body.names)
        if body.names and not found:
            raise NotFound(f"Tag not found: there is no tag '{body.names[0]}'.", param="names")
        shown = await self._shown(list(found.values()))
        return json_answer({each["name"]: each for each in shown}, headers=ignored_fields(body.unknown_fields()))

    async def list_tags(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        search: QueryText = None,
        page: PageNumber = 1,
        size: PageSize = 1_000,
    ) -> Response:
        """List tags: first those that were made, the newest first, then those that calls named, dearest first.

        The header `x-tallystick-total-count` tells how many there are in all.
        """
        found = await self._seen.page(search=search, offset=(page - 1) * size, limit=size)
        headers = {
            TOTAL_COUNT_HEADER: str(found.total_count),
            **unknown_parameters(request, ("search", "page", "size")),
        }
        return json_answer(await self._shown(found.objects), headers=headers)

    async def _patch(self, body: TagFields) -> Callable[[ControlObject], ControlObject]:
        if body.spend is None:
            return body.patched
        held = await self._seen.find(body.name) or self._seen.blank(body.name)
        limits = await limits_to_be(self._store, held, body.asked_budget())
        return await self._spend.patch(held, body.patched, body.spend, limits=limits)

    async def _shown(self, tags: Sequence[ControlObject]) -> list[dict[str, Any]]:  # Any: JSON.
        present = self._present()
        budgets = await budgets_of(self._store, tags)
        spent = await self._spend.of(tags, present=present)
        return [
            shown_tag(each, budgets.get(each.budget_id), spent=spend, present=present)
            for each, spend in zip(tags, spent, strict=True)
        ]

    async def _answer(self, tag: ControlObject, message: str, body: TagFields) -> Response:
        (shown,) = await self._shown([tag])
        return json_answer({"message": message, "tag": shown}, headers=ignored_fields(body.unknown_fields()))
