"""Making virtual keys: for whom a caller may make one, and what it is then."""

from __future__ import annotations

import msgspec

from tallystick.access.key_rules import PLAIN_ROLES, KeyAction, Standing, require_member
from tallystick.access.keys import CALLS_ONLY, KeySpec, hash_key, mask_key
from tallystick.access.limits import Limits
from tallystick.access.model_access import allows
from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.access.teams import TEAM_ADMIN
from tallystick.access.users import UserSpec
from tallystick.admin.callers import Caller
from tallystick.admin.keys.related import Related, RelatedObjects
from tallystick.admin.keys.requests import GenerateKey, plain_key
from tallystick.admin.keys.standings import Standings
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.retries import until_unchanged
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend, begun_spend
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as, spec_from
from tallystick.control.store import Author
from tallystick.errors import AlreadyExists, AuthenticationFailed, BadRequest, PermissionDenied


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key, in plain text and as its row."""

    plain: str
    row: ControlObject
    spent: ObjectSpend
    """Known before the key was written: an answer that fails afterwards would lose the key."""
    budget: ControlObject | None


class KeyCreation:
    """Makes keys for callers."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._writer = services.writer
        self._authenticator = services.authenticator
        self._clock = services.clock
        self._standings = Standings(services.control)
        self._related = RelatedObjects(services.control)
        self._spend = Spend(services)

    async def create(self, caller: Caller, body: GenerateKey, *, action: KeyAction = KeyAction.GENERATE) -> MadeKey:
        """Make a key. Raises BadRequest, PermissionDenied, TeamPermissionMissing."""
        plain = self.plain_key(body.key, param="key")

        async def attempt() -> MadeKey:
            row = self.row_of(plain, body)
            if action == KeyAction.SERVICE_ACCOUNT:
                row = _without_user(row)
            if not caller.is_proxy_admin:
                row = await self._for_caller(caller, row, action)
            if body.spend is not None:
                _require_admin(caller)
            related = await self._related.check(row)
            if body.spend is not None:
                row = await self._spend.begun_with(row, body.spend)
            written = await self.write(row, related, author=caller.author)
            return MadeKey(plain=plain, row=written, spent=begun_spend(written), budget=related.budget)

        return await until_unchanged(attempt)

    def plain_key(self, asked: str | None, *, param: str) -> str:
        """Return the key asked for, else a fresh one. Raises BadRequest."""
        plain = plain_key(asked, param=param)
        if self._authenticator.hash_of(plain) == MASTER_KEY_HASH:
            raise BadRequest(f"'{param}' is the master key; choose another one.", param=param)
        return plain

    def row_of(self, plain: str, body: GenerateKey) -> ControlObject:
        """Return the row of a new key with what the body sets."""
        now = self._clock.now()
        spec = KeySpec(key_name=mask_key(plain))
        empty = ControlObject(
            kind=Kind.KEY, object_id=hash_key(plain), spec=spec_from(spec), created_at=now, updated_at=now
        )
        return body.patched(empty, now=now)

    async def write(self, row: ControlObject, related: Related, *, author: Author) -> ControlObject:
        """Add the row. Raises BadRequest when such a key exists, or existed, already."""
        # An instance that has not heard yet that the caller's key was deleted must not let it make another.
        # Nor may a key outlive a membership that is taken away at the same time.
        requires = (*related.requires, *own_key(author), *await self._membership(row))
        try:
            (written,) = await self._writer.apply(
                [(None, row)], author=author, action="created", requires=requires, touched=related.touched
            )
        except AlreadyExists as error:
            raise BadRequest("A key with this value or alias already exists.", param="key") from error
        return written

    async def _membership(self, row: ControlObject) -> tuple[ObjectRef, ...]:
        if not row.team_id or not row.user_id:
            return ()
        ref = ObjectRef(Kind.TEAM_MEMBER, member_id(row.team_id, row.user_id))
        return () if await self._control.find(ref) is None else (ref,)

    async def _for_caller(self, caller: Caller, row: ControlObject, action: KeyAction) -> ControlObject:
        """Return the row as a caller who is no proxy admin may have it. Raises what denies it."""
        if row.budget_id:
            raise PermissionDenied("Only proxy admins may put a key under a shared budget.", param="budget_id")
        if row.team_id:
            row = await self._for_team(caller, row, action)
        else:
            row = _for_oneself(caller, row)
        if not caller.principal.user_id:
            row = await self._bounded(caller, row)
        if row.organization_id and not await caller.organization_role(row.organization_id):
            team = await self._control.find(ObjectRef(Kind.TEAM, row.team_id)) if row.team_id else None
            if team is None or team.organization_id != row.organization_id:
                raise PermissionDenied(
                    f"You are no member of organization '{row.organization_id}', so you can't make keys for it.",
                    param="organization_id",
                )
        return row

    async def _for_team(self, caller: Caller, row: ControlObject, action: KeyAction) -> ControlObject:
        if await self._control.find(ObjectRef(Kind.TEAM, row.team_id)) is None:
            raise BadRequest(f"Team not found: team_id '{row.team_id}' does not exist.", param="team_id")
        standing = await self._standings.to_team(caller, row.team_id)
        require_member(action, standing)
        if action == KeyAction.SERVICE_ACCOUNT:
            return row
        if row.user_id and row.user_id != caller.principal.user_id:
            await self._require_may_act_for(row.user_id, standing)
            return for_calls_only(row)
        return msgspec.structs.replace(row, user_id=caller.principal.user_id)

    async def _require_may_act_for(self, user_id: str, standing: Standing) -> None:
        """Team admins may make keys for the members of their team, unless those may do more in the whole gateway."""
        refs = (ObjectRef(Kind.TEAM_MEMBER, member_id(standing.team_id, user_id)), ObjectRef(Kind.USER, user_id))
        found = {each.kind: each for each in await self._control.find_many(refs)}
        user = found.get(Kind.USER)
        is_plain = user is None or spec_as(UserSpec, user.spec).role in PLAIN_ROLES
        if standing.team_role != TEAM_ADMIN or Kind.TEAM_MEMBER not in found or not is_plain:
            raise PermissionDenied(
                f"You are not allowed to make keys for user '{user_id}': admins of a team can for its members.",
                param="user_id",
            )

    async def _bounded(self, caller: Caller, row: ControlObject) -> ControlObject:
        own = await self._control.find(ObjectRef(Kind.KEY, caller.principal.key_hash))
        if own is None:
            raise AuthenticationFailed("The key does not exist any more.")
        return _bounded_by(own, row)


def _for_oneself(caller: Caller, row: ControlObject) -> ControlObject:
    user_id = caller.principal.user_id
    if row.user_id and row.user_id != user_id:
        raise PermissionDenied("You are only allowed to make keys for yourself.", param="user_id")
    return msgspec.structs.replace(row, user_id=user_id)


def for_calls_only(row: ControlObject) -> ControlObject:
    """Return a key that administrates nothing: whoever holds the key of somebody else must not become them."""
    spec = msgspec.structs.replace(spec_as(KeySpec, row.spec), key_type=CALLS_ONLY)
    return msgspec.structs.replace(row, spec=spec_from(spec))


def own_key(author: Author) -> tuple[ObjectRef, ...]:
    """Return the key with which somebody writes, for the conditions of the write; the master key is no object."""
    return () if author.key_hash == MASTER_KEY_HASH else (ObjectRef(Kind.KEY, author.key_hash),)


def _bounded_by(own: ControlObject, row: ControlObject) -> ControlObject:
    """Return what a key without a user may make: a key with its own bounds, or it could make one without any."""
    bounds, asked = spec_as(KeySpec, own.spec), spec_as(KeySpec, row.spec)
    if bounds.limits != Limits() or own.budget_id:
        raise PermissionDenied("A key with a budget or rate limits of its own may make no further keys.")
    models = (*bounds.models, *bounds.access_group_ids)
    outside = [model for model in asked.models if models and not allows(models, model, {})]
    if outside:
        raise PermissionDenied(f"This key may not call '{outside[0]}', nor make a key that may.", param="models")
    spec = msgspec.structs.replace(
        asked,
        models=asked.models or bounds.models,
        access_group_ids=bounds.access_group_ids,
        allowed_routes=bounds.allowed_routes,
        key_type=bounds.key_type,
    )
    ends = [moment for moment in (own.expires_at, row.expires_at) if moment is not None]
    return msgspec.structs.replace(
        row,
        team_id=own.team_id,
        organization_id=own.organization_id,
        expires_at=min(ends, default=None),
        spec=spec_from(spec),
    )


def _without_user(row: ControlObject) -> ControlObject:
    if not row.team_id:
        raise BadRequest("'team_id' is required: a service account belongs to a team.", param="team_id")
    return msgspec.structs.replace(row, user_id="")


def _require_admin(caller: Caller) -> None:
    if not caller.is_proxy_admin:
        raise PermissionDenied("Only proxy admins may set what a key has spent.", param="spend")
