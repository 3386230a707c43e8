"""`/key/…`: make, show, list, block and delete virtual keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.access.keys import VirtualKey
from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.access.store import KeyFilter
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import Admin, Caller
from tallystick.admin.fields import QueryText
from tallystick.admin.keys.requests import DeleteKeys, GenerateKey, NameKey
from tallystick.admin.keys.views import key_fields, listed_key, principal_fields
from tallystick.admin.services import AdminServices
from tallystick.errors import BadRequest, Conflict, NotFound, PermissionDenied

_LIST_PARAMETERS = (
    "page", "size", "user_id", "team_id", "organization_id", "key_hash", "key_alias", "return_full_object",
)  # fmt: skip


class KeyRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._keys = services.key_store
        self._ledger = services.ledger_reader
        self._authenticator = services.authenticator
        self._clock = services.clock

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Virtual keys"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/key/generate")(self.generate)
        router.get("/key/info")(self.info)
        router.get("/key/list")(self.list_keys)
        router.post("/key/delete")(self.delete)
        router.post("/key/block")(self.block)
        router.post("/key/unblock")(self.unblock)
        return router

    async def generate(self, caller: Admin, body: GenerateKey | None = None) -> Response:
        """Make a virtual key. The answer is the only one that shows the key itself."""
        asked = body or GenerateKey()
        plain_key = asked.plain_key()
        if self._authenticator.hash_of(plain_key) == MASTER_KEY_HASH:
            raise BadRequest("'key' is the master key; choose another one.", param="key")
        created_by = caller.user_id or caller.key_hash
        key = asked.virtual_key(plain_key, now=self._clock.now(), created_by=created_by)
        await self._insert(key)
        answer = {
            "key": plain_key,
            "token": key.key_hash,
            "token_id": key.key_hash,
            **key_fields(key, spend_nano_usd=0),
            "duration": asked.duration,
        }
        return json_answer(answer, headers=ignored_fields(asked.unknown_fields()))

    async def info(self, request: Request, caller: Caller, key: QueryText = None) -> Response:
        """Show a key, given itself or its hash; without `key`, the caller's own. Others' only to admins."""
        key_hash = caller.key_hash if key is None else self._authenticator.hash_of(key)
        if key_hash != caller.key_hash and not caller.is_admin:
            raise PermissionDenied("This key is not allowed to see other keys.", param="key")
        spend = (await self._ledger.total("key", key_hash)).cost_nano_usd
        if key_hash == MASTER_KEY_HASH:
            shown = principal_fields(caller, spend_nano_usd=spend)
        else:
            shown = key_fields(await self._found(key_hash), spend_nano_usd=spend)
        return json_answer({"key": key or key_hash, "info": shown}, headers=unknown_parameters(request, ("key",)))

    async def list_keys(
        self,
        request: Request,
        _caller: Admin,
        *,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        size: Annotated[int, Query(ge=1, le=100)] = 10,
        user_id: QueryText = None,
        team_id: QueryText = None,
        organization_id: QueryText = None,
        key_hash: QueryText = None,
        key_alias: QueryText = None,
        return_full_object: bool = False,
    ) -> Response:
        """List keys, newest first: their hashes, or all about them with `return_full_object`."""
        where = KeyFilter(
            user_id=user_id,
            team_id=team_id,
            organization_id=organization_id,
            key_hash=None if key_hash is None else self._authenticator.hash_of(key_hash),
            key_alias=key_alias,
        )
        found = await self._keys.list_keys(where, offset=(page - 1) * size, limit=size)
        shown: list[object] = [key.key_hash for key in found.keys]
        if return_full_object:
            shown = [listed_key(key, spend_nano_usd=await self._spend(key)) for key in found.keys]
        answer = {
            "keys": shown,
            "total_count": found.total_count,
            "current_page": page,
            "total_pages": -(-found.total_count // size),
        }
        return json_answer(answer, headers=unknown_parameters(request, _LIST_PARAMETERS))

    async def delete(self, _caller: Admin, body: DeleteKeys) -> Response:
        """Delete keys, all of them or, when one is not found, none. Their spend stays in the ledger."""
        names = [*(body.keys or ()), *(body.key_aliases or ())]
        if not names:
            raise BadRequest("Name the keys to delete in 'keys' or 'key_aliases'.", param="keys")
        hashes = [self._authenticator.hash_of(key) for key in body.keys or ()]
        hashes += [await self._hash_of_alias(alias) for alias in body.key_aliases or ()]
        wanted = tuple(dict.fromkeys(hashes))
        if not await self._keys.delete(wanted):
            raise NotFound("Key not found: at least one of the keys does not exist. Nothing was deleted.", param="keys")
        for key_hash in wanted:
            self._authenticator.invalidate(key_hash)
        return json_answer({"deleted_keys": names}, headers=ignored_fields(body.unknown_fields()))

    async def block(self, _caller: Admin, body: NameKey) -> Response:
        """Block a key: calls with it are answered with 401 until it is unblocked."""
        return await self._set_blocked(body, blocked=True)

    async def unblock(self, _caller: Admin, body: NameKey) -> Response:
        """Let a blocked key be used again."""
        return await self._set_blocked(body, blocked=False)

    async def _set_blocked(self, body: NameKey, *, blocked: bool) -> Response:
        key_hash = self._authenticator.hash_of(body.key)
        key = await self._keys.set_blocked(key_hash, blocked)
        if key is None:
            raise NotFound("Key not found in database.", param="key")
        self._authenticator.invalidate(key_hash)
        answer = listed_key(key, spend_nano_usd=await self._spend(key))
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def _insert(self, key: VirtualKey) -> None:
        if key.key_alias and await self._keys.find_by_alias(key.key_alias) is not None:
            raise BadRequest(
                f"Key with alias '{key.key_alias}' already exists; an alias belongs to one key.", param="key_alias"
            )
        try:
            await self._keys.insert(key)
        except Conflict as error:
            raise BadRequest("A key with this value or alias already exists.", param="key") from error
        # It may have been tried before it existed.
        self._authenticator.invalidate(key.key_hash)

    async def _found(self, key_hash: str) -> VirtualKey:
        key = await self._keys.find(key_hash)
        if key is None:
            raise NotFound("Key not found in database.", param="key")
        return key

    async def _hash_of_alias(self, key_alias: str) -> str:
        key = await self._keys.find_by_alias(key_alias)
        if key is None:
            raise NotFound(
                f"Key not found: no key has the alias '{key_alias}'. Nothing was deleted.", param="key_aliases"
            )
        return key.key_hash

    async def _spend(self, key: VirtualKey) -> int:
        return (await self._ledger.total("key", key.key_hash)).cost_nano_usd
