"""`/key/info`, `/key/list` and what else only reads virtual keys."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import QueryText
from tallystick.admin.keys.budgets import KeyBudgets
from tallystick.admin.keys.listing import KeyListing, KeyQuery
from tallystick.admin.keys.requests import NameKeys
from tallystick.admin.keys.standings import Standings
from tallystick.admin.keys.views import key_fields, listed_key, principal_fields
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.pages import PageNumber, SortOrder, sort_field, total_pages
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import SortField
from tallystick.errors import BadRequest, NotFound, PermissionDenied

_LIST_PARAMETERS: Final = (
    "page", "size", "user_id", "team_id", "organization_id", "key_hash", "key_alias", "search", "return_full_object",
    "include_team_keys", "include_created_by_keys", "sort_by", "sort_order", "status",
)  # fmt: skip
_ALIAS_PARAMETERS: Final = ("page", "size", "search", "team_id")
_SORT_NAMES: Final[dict[str, SortField]] = {"key_alias": "name", "token": "object_id", "expires": "expires_at"}
_UNPROCESSABLE: Final = 422


class KeyReading:
    """The endpoints that read, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._authenticator = services.authenticator
        self._present = services.present
        self._spend = Spend(services)
        self._ledger = services.ledger_reader
        self._budgets = KeyBudgets(services)
        self._standings = Standings(services.control)
        self._listing = KeyListing(services.control, self._standings)

    def add_to(self, router: APIRouter) -> None:
        router.get("/key/info")(self.info)
        router.post("/v2/key/info")(self.several_infos)
        router.get("/key/list")(self.list_keys)
        router.get("/key/aliases")(self.aliases)
        router.post("/key/health")(self.health)

    async def info(self, request: Request, caller: AnyCaller, key: QueryText = None) -> Response:
        """Show a key, given itself or its hash; without `key`, the caller's own.

        `budgets` tells what is left of each budget that bounds it, of those that the caller may see.
        """
        key_hash = caller.principal.key_hash if key is None else self._authenticator.hash_of(key)
        headers = unknown_parameters(request, ("key",))
        if key_hash == MASTER_KEY_HASH and caller.may_see_all:
            entity = ("key", MASTER_KEY_HASH, "")
            spent = ObjectSpend(nano_usd=(await self._ledger.spend_of((entity,)))[entity])
            shown = principal_fields(caller.principal, spent=spent, present=self._present())
            return json_answer({"key": MASTER_KEY_HASH, "info": shown}, headers=headers)
        row = await self._control.find(ObjectRef(Kind.KEY, key_hash))
        if row is None:
            raise NotFound("Key not found in database: it does not exist.", param="key")
        if not await self._standings.may_see(caller, row):
            raise PermissionDenied("You are not allowed to see this key's info.", param="key")
        (info,) = await self._views((row,), as_listed=False)
        info["budgets"] = await self._budgets.of(caller, row.object_id, present=self._present())
        return json_answer({"key": key or key_hash, "info": info}, headers=headers)

    async def several_infos(self, caller: AnyCaller, body: NameKeys | None = None) -> Response:
        """Show several keys. Those that do not exist or may not be seen are left out."""
        if body is None or body.keys is None:
            raise HTTPException(_UNPROCESSABLE, "Name the keys in 'keys', a list of keys or their hashes.")
        hashes = dict.fromkeys(self._authenticator.hash_of(key) for key in body.keys)
        found = await self._control.find_many([ObjectRef(Kind.KEY, key_hash) for key_hash in hashes])
        seen = [row for row in found if await self._standings.may_see(caller, row)]
        answer = {"key": [row.object_id for row in seen], "info": await self._views(seen)}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def list_keys(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        page: PageNumber = 1,
        size: Annotated[int, Query(ge=1, le=100)] = 10,
        user_id: QueryText = None,
        team_id: QueryText = None,
        organization_id: QueryText = None,
        key_hash: QueryText = None,
        key_alias: QueryText = None,
        search: QueryText = None,
        return_full_object: bool = False,
        include_team_keys: bool = False,
        include_created_by_keys: bool = False,
        sort_by: QueryText = None,
        sort_order: SortOrder = "desc",
        status: QueryText = None,
    ) -> Response:
        """List keys: their hashes, or all about them with `return_full_object`. Who is no proxy admin sees the own."""
        if status not in {None, "deleted"}:
            raise BadRequest("'status' must be 'deleted', or left out for the keys that exist.", param="status")
        query = KeyQuery(
            user_id=user_id,
            team_id=team_id,
            organization_id=organization_id,
            key_hash=None if key_hash is None else self._authenticator.hash_of(key_hash),
            key_alias=key_alias,
            search=search,
            with_team_keys=include_team_keys,
            with_created=include_created_by_keys,
            deleted=status == "deleted",
        )
        found = await self._control.list_objects(
            await self._listing.filter_for(caller, query),
            sort_by=sort_field(sort_by, _SORT_NAMES),
            descending=sort_order != "asc",
            offset=(page - 1) * size,
            limit=size,
        )
        shown: list[Any] = [row.object_id for row in found.objects]  # Any: JSON.
        if return_full_object:
            shown = await self._views(found.objects)
        answer = {
            "keys": shown,
            "total_count": found.total_count,
            "current_page": page,
            "total_pages": total_pages(found.total_count, size),
        }
        return json_answer(answer, headers=unknown_parameters(request, _LIST_PARAMETERS))

    async def aliases(
        self,
        request: Request,
        caller: AnyCaller,
        *,
        page: PageNumber = 1,
        size: Annotated[int, Query(ge=1, le=1_000)] = 50,
        search: QueryText = None,
        team_id: QueryText = None,
    ) -> Response:
        """List the aliases of the keys that the caller may see, in the order of the alphabet."""
        query = KeyQuery(team_id=team_id, with_team_keys=True)
        where = await self._listing.filter_for(caller, query)
        names = await self._listing.aliases(where, containing=search or "")
        answer = {
            "aliases": names[(page - 1) * size : page * size],
            "total_count": len(names),
            "current_page": page,
            "total_pages": total_pages(len(names), size),
            "size": size,
        }
        return json_answer(answer, headers=unknown_parameters(request, _ALIAS_PARAMETERS))

    async def health(self, _caller: AnyCaller) -> Response:
        """Say that the key of the request is good. It has no logging callbacks of its own."""
        return json_answer({"key": "healthy", "logging_callbacks": None})

    async def _views(self, rows: Any, *, as_listed: bool = True) -> list[dict[str, Any]]:  # Any: JSON.
        keys: tuple[ControlObject, ...] = tuple(rows)
        refs = {ObjectRef(Kind.BUDGET, row.budget_id) for row in keys if row.budget_id}
        budgets = {each.object_id: each for each in await self._control.find_many(tuple(refs))} if refs else {}
        present, view = self._present(), listed_key if as_listed else key_fields
        spends = await self._spend.of(keys, present=present)
        return [
            view(row, spent=spend, present=present, budget=budgets.get(row.budget_id))
            for row, spend in zip(keys, spends, strict=True)
        ]
