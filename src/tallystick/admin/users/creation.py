"""Making users, each with memberships and a first key, in one write."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tallystick.access.users import UserSpec
from tallystick.admin.callers import Caller
from tallystick.admin.keys.creation import KeyCreation, MadeKey
from tallystick.admin.keys.related import Related, RelatedObjects
from tallystick.admin.object_spend import NOTHING_SPENT
from tallystick.admin.objects import list_all
from tallystick.admin.retries import until_unchanged
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.admin.users.memberships import Memberships
from tallystick.admin.users.requests import NEW_ROLES, NewUser
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_from
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.control.writer import Pair
from tallystick.errors import AlreadyExists

DEFAULTS: Final[Mapping[str, Any]] = {}  # Any: each field's own type.
"""What a new user is given where the request does not say: `default_internal_user_params` of the settings."""


class MadeUser(msgspec.Struct, frozen=True, kw_only=True):
    """A new user with the first key, if one was made."""

    row: ControlObject
    key: MadeKey | None
    team_ids: tuple[str, ...]


class UserCreation:
    """Makes users for proxy admins."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._writer = services.writer
        self._clock = services.clock
        self._memberships = Memberships(services.control)
        self._related = RelatedObjects(services.control)
        self._keys = KeyCreation(services)
        self._spend = Spend(services)

    async def create(self, caller: Caller, asked: NewUser) -> MadeUser:
        """Make a user. Raises BadRequest, and AlreadyExists when the id or the email address is taken."""
        asked.require_no_password()
        body = with_defaults(asked, DEFAULTS)
        user_id = body.user_id or str(uuid.uuid4())
        plain = self._keys.plain_key(None, param="key")

        async def attempt() -> MadeUser:
            await self._require_free(user_id, body.user_email)
            row, teams = await self._row_of(user_id, body), body.wanted_teams()
            wanted = await self._memberships.of_new_user(
                user_id, teams, body.organizations or (), now=self._clock.now()
            )
            pairs: list[Pair] = [(None, row), *wanted.pairs]
            requires = list(wanted.requires)
            key_row, related = None, Related(requires=())
            if body.auto_create_key is not False:
                key_row = self._keys.row_of(plain, body.key_body(user_id))
                related = await self._related.check(key_row)
                pairs.append((None, key_row))
                requires += related.requires
            written = await self._writer.apply(
                pairs, author=caller.author, action="created", requires=requires, touched=related.touched
            )
            by_kind = {each.kind: each for each in written}
            key = None
            if key_row is not None:
                key = MadeKey(plain=plain, row=by_kind[Kind.KEY], spent=NOTHING_SPENT, budget=related.budget)
            return MadeUser(row=by_kind[Kind.USER], key=key, team_ids=tuple(teams))

        return await until_unchanged(attempt)

    async def _row_of(self, user_id: str, body: NewUser) -> ControlObject:
        now = self._clock.now()
        empty = ControlObject(
            kind=Kind.USER, object_id=user_id, spec=spec_from(UserSpec()), created_at=now, updated_at=now
        )
        row = body.patched(empty, roles=NEW_ROLES)
        return row if body.spend is None else await self._spend.begun_with(row, body.spend)

    async def _require_free(self, user_id: str, email: str | None) -> None:
        if await self._control.find(ObjectRef(Kind.USER, user_id)) is not None:
            raise AlreadyExists(f"User with id '{user_id}' already exists.")
        await require_free_email(self._control, email)


async def users_with_email(control: ControlStore, email: str) -> tuple[ControlObject, ...]:
    """Return the users who have this address, whatever the case of its letters."""
    folded = email.casefold()
    where = ObjectFilter(kind=Kind.USER, search=email)
    return await list_all(control, where, keep=lambda user: user.name.casefold() == folded)


async def require_free_email(control: ControlStore, email: str | None, *, user_id: str = "") -> None:
    """Raise AlreadyExists when another user than this one has the address."""
    if email and any(user.object_id != user_id for user in await users_with_email(control, email)):
        raise AlreadyExists(f"User with email '{email}' already exists.")


def with_defaults(body: NewUser, defaults: Mapping[str, Any]) -> NewUser:  # Any: as above.
    """Return the request with the defaults for what it leaves out."""
    missing = {name: value for name, value in defaults.items() if not body.given(name)}
    return NewUser.model_validate({**body.model_dump(exclude_unset=True), **missing}) if missing else body
