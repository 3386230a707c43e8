"""Changing, blocking, regenerating and deleting virtual keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from tallystick.access.durations import parse_duration
from tallystick.access.key_rules import PLAIN_ROLES, KeyAction, Standing
from tallystick.access.keys import KeySpec, hash_key, mask_key
from tallystick.access.model_access import allows
from tallystick.access.teams import TEAM_ADMIN
from tallystick.access.users import UserSpec
from tallystick.admin.callers import Caller
from tallystick.admin.keys.creation import KeyCreation, MadeKey, for_calls_only, own_key
from tallystick.admin.keys.fields import KeyFields
from tallystick.admin.keys.related import Related, RelatedObjects
from tallystick.admin.keys.requests import RegenerateKey, UpdateKey
from tallystick.admin.keys.standings import Standings
from tallystick.admin.retries import until_unchanged
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import ObjectFilter
from tallystick.control.writer import Pair
from tallystick.errors import AlreadyExists, BadRequest, NotFound, PermissionDenied

_RELATIONS: Final = ("user_id", "team_id", "organization_id", "budget_id")
_SETTINGS: Final = frozenset(KeyFields.model_fields)


class ChangedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key after a change."""

    row: ControlObject
    budget: ControlObject | None = None


class KeyChanges:
    """Changes keys for callers: each reads, asks whether the caller may, and writes only what it read."""

    def __init__(self, services: AdminServices, creation: KeyCreation) -> None:
        self._control = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._spend = Spend(services)
        self._standings = Standings(services.control)
        self._related = RelatedObjects(services.control)
        self._creation = creation

    async def update(self, caller: Caller, key_hash: str, body: UpdateKey) -> ChangedKey:
        """Change a key. Raises NotFound, BadRequest, PermissionDenied, TeamPermissionMissing."""

        async def attempt() -> ChangedKey:
            before = await self.found(key_hash)
            standing = await self._standings.require(KeyAction.UPDATE, caller, before)
            after, related = await self._patched(caller, standing, before, body)
            if after == before:
                return ChangedKey(row=before, budget=related.budget)
            try:
                (written,) = await self._writer.apply(
                    [(before, after)],
                    author=caller.author,
                    action="updated",
                    requires=related.requires,
                    touched=related.touched,
                )
            except AlreadyExists as error:
                raise BadRequest("A key with this alias already exists.", param="key_alias") from error
            return ChangedKey(row=written, budget=related.budget)

        return await until_unchanged(attempt)

    async def set_blocked(self, caller: Caller, key_hash: str, *, blocked: bool) -> ControlObject:
        """Block or unblock a key."""
        action = KeyAction.BLOCK if blocked else KeyAction.UNBLOCK

        async def patch(before: ControlObject) -> ControlObject:
            return msgspec.structs.replace(before, blocked=blocked)

        return await self._change(caller, key_hash, action, "blocked" if blocked else "unblocked", patch)

    async def reset_spend(self, caller: Caller, key_hash: str, reset_to: float) -> ControlObject:
        """Let the key's spend count from `reset_to`; the ledger stays as it is. Raises BadRequest above its spend."""

        async def patch(before: ControlObject) -> ControlObject:
            return await self._spend.reset(before, reset_to, who="key")

        return await self._change(caller, key_hash, KeyAction.RESET_SPEND, "spend_reset", patch)

    async def regenerate(self, caller: Caller, key_hash: str, body: RegenerateKey) -> MadeKey:
        """Give a key a new secret. The former one ends now, or at the end of the grace period."""
        plain = self._creation.plain_key(body.new_key, param="new_key")

        async def attempt() -> MadeKey:
            before = await self.found(key_hash)
            standing = await self._standings.require(KeyAction.REGENERATE, caller, before)
            await self._require_no_impersonation(caller, standing, before)
            if body.model_fields_set & _SETTINGS and not caller.is_proxy_admin:
                await self._standings.require(KeyAction.UPDATE, caller, before)
            after, related = await self._patched(caller, standing, before, body)
            return await self._replace(caller, plain, before, after, related, grace_period=body.grace_period)

        return await until_unchanged(attempt)

    async def delete(self, caller: Caller, key_hashes: Sequence[str], aliases: Sequence[str]) -> None:
        """Delete keys, all of them or none."""

        async def attempt() -> None:
            named = [*key_hashes, *[await self.hash_of_alias(alias) for alias in aliases]]
            refs = [ObjectRef(Kind.KEY, key_hash) for key_hash in dict.fromkeys(named)]
            found = await self._control.find_many(refs)
            if len(found) < len(refs):
                raise NotFound(
                    "Key not found: at least one of the keys does not exist. Nothing was deleted.", param="keys"
                )
            pairs: list[Pair] = []
            for key in found:
                await self._standings.require(KeyAction.DELETE, caller, key)
                pairs += [(each, None) for each in (key, *await self._retired(key))]
            await self._writer.apply(pairs, author=caller.author, action="deleted")

        await until_unchanged(attempt)

    async def found(self, key_hash: str) -> ControlObject:
        """Return the row of a key. Raises NotFound."""
        key = await self._control.find(ObjectRef(Kind.KEY, key_hash))
        if key is None:
            raise NotFound("Key not found in database: it does not exist.", param="key")
        return key

    async def hash_of_alias(self, alias: str) -> str:
        """Return the hash of the key with this alias. Raises NotFound."""
        where = ObjectFilter(kind=Kind.KEY, names=(alias,))
        found = (await self._control.list_objects(where, limit=1)).objects if alias else ()
        if not found:
            raise NotFound(f"Key not found: no key has the alias '{alias}'.", param="key_aliases")
        return found[0].object_id

    async def _change(
        self,
        caller: Caller,
        key_hash: str,
        action: KeyAction,
        done: str,
        patch: Callable[[ControlObject], Awaitable[ControlObject]],
    ) -> ControlObject:
        async def attempt() -> ControlObject:
            before = await self.found(key_hash)
            await self._standings.require(action, caller, before)
            after = await patch(before)
            if after == before:
                return before
            (written,) = await self._writer.apply([(before, after)], author=caller.author, action=done)
            return written

        return await until_unchanged(attempt)

    async def _patched(
        self, caller: Caller, standing: Standing, before: ControlObject, body: KeyFields
    ) -> tuple[ControlObject, Related]:
        after = body.patched(before, now=self._clock.now())
        if not caller.is_proxy_admin:
            _require_settable(standing, before, after, body)
        if body.spend is not None:
            after = await self._spend.with_spend(after, body.spend)
        return after, await self._related.check(after, before=before)

    async def _replace(
        self,
        caller: Caller,
        plain: str,
        before: ControlObject,
        after: ControlObject,
        related: Related,
        *,
        grace_period: str | None,
    ) -> MadeKey:
        spent = await self._spend.of_one(after)
        new_hash = hash_key(plain)
        spec = spec_as(KeySpec, self._rebound(before, after, new_hash))
        renewed = msgspec.structs.replace(
            spec, key_name=mask_key(plain), prior_hashes=(*spec.prior_hashes, before.object_id)
        )
        successor = msgspec.structs.replace(after, object_id=new_hash, spec=spec_from(renewed))
        if not caller.is_proxy_admin and before.user_id not in {"", caller.principal.user_id}:
            successor = for_calls_only(successor)
        pairs: list[Pair] = [(before, None), (None, successor)]
        retired = await self._retired(before)
        if grace_period:
            pairs += [(each, msgspec.structs.replace(each, spec={"key_hash": new_hash})) for each in retired]
            pairs.append((None, self._retirement(before, new_hash, grace_period)))
        else:
            pairs += [(each, None) for each in retired]
        try:
            written = await self._writer.apply(
                pairs,
                author=caller.author,
                action="regenerated",
                requires=(*related.requires, *(ref for ref in own_key(caller.author) if ref != before.ref)),
                touched=related.touched,
            )
        except AlreadyExists as error:
            raise BadRequest("A key with this value already exists.", param="new_key") from error
        row = _of(written, successor.ref)
        return MadeKey(plain=plain, row=row, spent=spent, budget=related.budget)

    def _rebound(self, before: ControlObject, after: ControlObject, new_hash: str) -> dict[str, Any]:  # Any: JSON.
        """Return the spec with its secrets sealed for the key's new place."""
        sealer, old_hash = self._writer.sealer, before.object_id
        sealed = sealer.seal(Kind.KEY, old_hash, after.spec, before=before.spec)
        return sealer.rebind(Kind.KEY, sealed, old_id=old_hash, new_id=new_hash)

    def _retirement(self, key: ControlObject, new_hash: str, grace_period: str) -> ControlObject:
        now = self._clock.now()
        return ControlObject(
            kind=Kind.RETIRED_KEY,
            object_id=key.object_id,
            expires_at=parse_duration(grace_period, param="grace_period").after(now),
            spec={"key_hash": new_hash},
            created_at=now,
            updated_at=now,
        )

    async def _retired(self, key: ControlObject) -> tuple[ControlObject, ...]:
        """Return the former secrets of a key that may still be good."""
        prior = spec_as(KeySpec, key.spec).prior_hashes
        return await self._control.find_many([ObjectRef(Kind.RETIRED_KEY, key_hash) for key_hash in prior])

    async def _require_no_impersonation(self, caller: Caller, standing: Standing, key: ControlObject) -> None:
        """Who regenerates a key holds it afterwards: not one whose user may do more in the whole gateway."""
        if caller.is_proxy_admin or standing.is_owner or not key.user_id:
            return
        user = await self._control.find(ObjectRef(Kind.USER, key.user_id))
        if user is not None and spec_as(UserSpec, user.spec).role not in PLAIN_ROLES:
            raise PermissionDenied(f"Only proxy admins may regenerate keys of user '{key.user_id}'.", param="key")


def _of(written: Sequence[ControlObject], ref: ObjectRef) -> ControlObject:
    return next(each for each in written if each.ref == ref)


def _require_settable(standing: Standing, before: ControlObject, after: ControlObject, body: KeyFields) -> None:
    """Raise PermissionDenied when somebody who is no proxy admin moves a key, or lifts what was put on it."""
    for name in _RELATIONS:
        if getattr(after, name) != getattr(before, name):
            raise PermissionDenied(f"Only proxy admins may change the '{name}' of a key.", param=name)
    if body.given("spend"):
        raise PermissionDenied("Only proxy admins may set what a key has spent.", param="spend")
    old, new = spec_as(KeySpec, before.spec), spec_as(KeySpec, after.spec)
    if old.key_type != new.key_type:
        raise PermissionDenied("Only proxy admins may change the type of a key.", param="key_type")
    lifts = (
        old.limits != new.limits or before.blocked != after.blocked or old.allowed_routes != new.allowed_routes
        or _lives_longer(before, after) or _reaches_further(old, new)
    )  # fmt: skip
    if lifts and standing.team_role != TEAM_ADMIN:
        raise PermissionDenied(
            "Only admins of the key's team may change its limits, its routes or its block, let it live longer, or let "
            "it call more models."
        )


def _lives_longer(before: ControlObject, after: ControlObject) -> bool:
    if before.expires_at is None:
        return False
    return after.expires_at is None or after.expires_at > before.expires_at


def _reaches_further(old: KeySpec, new: KeySpec) -> bool:
    """Whether a key may call models that it could not call before."""
    if old.aliases != new.aliases or old.access_group_ids != new.access_group_ids:
        return True
    if not old.models:
        return False
    return not new.models or not all(allows(old.models, model, {}) for model in new.models)
