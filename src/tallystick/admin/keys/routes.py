"""`/key/…`: make, change, block, regenerate and delete virtual keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.security import HTTPBearer
from starlette.responses import Response

from tallystick.access.key_rules import KeyAction
from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import KeyOrHash, shown_text
from tallystick.admin.keys.changes import KeyChanges
from tallystick.admin.keys.creation import KeyCreation, MadeKey
from tallystick.admin.keys.reading import KeyReading
from tallystick.admin.keys.requests import (
    KEYS_MAX,
    BulkUpdate,
    DeleteKeys,
    GenerateKey,
    NameKey,
    RegenerateKey,
    ResetSpend,
    UpdateKey,
    read_update,
)
from tallystick.admin.keys.views import listed_key
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.objects import ControlObject
from tallystick.errors import BadRequest, PermissionDenied, RequestError

PathKey = Annotated[KeyOrHash, Path()]


def key_router(services: AdminServices) -> APIRouter:
    """Return all routes of virtual keys."""
    router = APIRouter(tags=["Virtual keys"], dependencies=[Depends(HTTPBearer(auto_error=False))])
    KeyReading(services).add_to(router)
    KeyRoutes(services).add_to(router)
    return router


class KeyRoutes:
    """The endpoints that write, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._authenticator = services.authenticator
        self._present = services.present
        self._spend = Spend(services)
        self._creation = KeyCreation(services)
        self._changes = KeyChanges(services, self._creation)

    def add_to(self, router: APIRouter) -> None:
        router.post("/key/generate")(self.generate)
        router.post("/key/service-account/generate")(self.generate_service_account)
        router.post("/key/update")(self.update)
        router.post("/key/bulk_update")(self.bulk_update)
        router.post("/key/delete")(self.delete)
        router.post("/key/regenerate")(self.regenerate)
        router.post("/key/{key}/regenerate")(self.regenerate_named)
        router.post("/key/{key}/reset_spend")(self.reset_spend)
        router.post("/key/block")(self.block)
        router.post("/key/unblock")(self.unblock)

    async def generate(self, caller: AnyCaller, body: GenerateKey | None = None) -> Response:
        """Make a virtual key. The answer is the only one that shows the key itself."""
        return await self._made(caller, body or GenerateKey(), KeyAction.GENERATE)

    async def generate_service_account(self, caller: AnyCaller, body: GenerateKey | None = None) -> Response:
        """Make a key that belongs to a team and to no user, so that it stays when people leave."""
        return await self._made(caller, body or GenerateKey(), KeyAction.SERVICE_ACCOUNT)

    async def update(self, caller: AnyCaller, body: UpdateKey) -> Response:
        """Change a key: what is omitted stays, null clears. `metadata` is replaced as a whole."""
        shown = await self._updated(caller, body)
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def bulk_update(self, caller: AnyCaller, body: BulkUpdate) -> Response:
        """Change up to 500 keys, each for itself; the answer says which succeeded."""
        if not caller.is_proxy_admin:
            raise PermissionDenied("Only proxy admins are allowed to update several keys at once.")
        if not 1 <= len(body.keys) <= KEYS_MAX:
            raise BadRequest(f"'keys' must name 1 to {KEYS_MAX} keys, not {len(body.keys)}.", param="keys")
        done: list[dict[str, Any]] = []  # Any: JSON.
        failed: list[dict[str, Any]] = []  # Any: as above.
        for fields in body.keys:
            name = shown_text(fields.get("key"))
            try:
                shown = await self._updated(caller, read_update(fields))
            except RequestError as error:
                failed.append({"key": name, "failed_reason": shown_text(error.message)})
            else:
                done.append({"key": name or shown["key"], "key_info": shown})
        answer = {"total_requested": len(body.keys), "successful_updates": done, "failed_updates": failed}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, caller: AnyCaller, body: DeleteKeys) -> Response:
        """Delete keys, all of them or, when one is not found, none. Their spend stays in the ledger."""
        names = [*(body.keys or ()), *(body.key_aliases or ())]
        if not names:
            raise BadRequest("Name the keys to delete in 'keys' or 'key_aliases'.", param="keys")
        hashes = [self._authenticator.hash_of(key) for key in body.keys or ()]
        await self._changes.delete(caller, hashes, body.key_aliases or ())
        return json_answer({"deleted_keys": names}, headers=ignored_fields(body.unknown_fields()))

    async def regenerate(self, caller: AnyCaller, body: RegenerateKey) -> Response:
        """Give a key a new secret; all else stays. The former one ends at once, or after `grace_period`."""
        if body.key is None:
            raise BadRequest("'key' must name the key to regenerate.", param="key")
        return await self._regenerated(caller, body.key, body)

    async def regenerate_named(self, caller: AnyCaller, key: PathKey, body: RegenerateKey | None = None) -> Response:
        """The same with the key, or its hash, in the path."""
        return await self._regenerated(caller, key, body or RegenerateKey())

    async def reset_spend(self, caller: AnyCaller, key: PathKey, body: ResetSpend) -> Response:
        """Let the key's spend count anew. The ledger stays as it is."""
        row = await self._changes.reset_spend(caller, self._authenticator.hash_of(key), body.reset_to)
        shown = {"key_hash": row.object_id, **await self._shown(row)}
        return json_answer(shown, headers=ignored_fields(body.unknown_fields()))

    async def block(self, caller: AnyCaller, body: NameKey) -> Response:
        """Block a key: calls with it are answered with 401 until it is unblocked."""
        return await self._blocked(caller, body, blocked=True)

    async def unblock(self, caller: AnyCaller, body: NameKey) -> Response:
        """Let a blocked key be used again."""
        return await self._blocked(caller, body, blocked=False)

    async def _blocked(self, caller: Caller, body: NameKey, *, blocked: bool) -> Response:
        key_hash = self._authenticator.hash_of(body.key)
        row = await self._changes.set_blocked(caller, key_hash, blocked=blocked)
        return json_answer(await self._shown(row), headers=ignored_fields(body.unknown_fields()))

    async def _made(self, caller: Caller, body: GenerateKey, action: KeyAction) -> Response:
        made = await self._creation.create(caller, body, action=action)
        answer = self._with_secret(made)
        answer["duration"] = body.duration
        if body.key_type == "default" and answer["key_type"] is None:
            answer["key_type"] = body.key_type
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def _regenerated(self, caller: Caller, key: str, body: RegenerateKey) -> Response:
        made = await self._changes.regenerate(caller, self._authenticator.hash_of(key), body)
        return json_answer(self._with_secret(made), headers=ignored_fields(body.unknown_fields()))

    async def _updated(self, caller: Caller, body: UpdateKey) -> dict[str, Any]:  # Any: JSON.
        if body.key is not None:
            key_hash = self._authenticator.hash_of(body.key)
        elif body.key_alias:
            key_hash = await self._changes.hash_of_alias(body.key_alias)
        else:
            raise BadRequest("'key' must name the key to update, or 'key_alias' its alias.", param="key")
        changed = await self._changes.update(caller, key_hash, body)
        shown = {"key": body.key or key_hash, **await self._shown(changed.row, changed.budget)}
        if body.given("duration"):
            shown["duration"] = body.duration
        return shown

    def _with_secret(self, made: MadeKey) -> dict[str, Any]:  # Any: JSON.
        shown = listed_key(made.row, spent=made.spent, present=self._present(), budget=made.budget)
        return {"key": made.plain, **shown}

    async def _shown(self, row: ControlObject, budget: ControlObject | None = None) -> dict[str, Any]:  # Any: JSON.
        spent = await self._spend.of_one(row)
        return listed_key(row, spent=spent, present=self._present(), budget=budget)
