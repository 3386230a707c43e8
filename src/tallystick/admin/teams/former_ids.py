"""Ids that once belonged to somebody else: the ledger still tells of them, so not everybody may take them again."""

from __future__ import annotations

from collections.abc import Iterable

from tallystick.admin.callers import Caller
from tallystick.admin.services import AdminServices
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import ObjectFilter
from tallystick.errors import BadRequest


class FormerIds:
    """Keeps ids that were in use from callers who are no proxy admins."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._ledger = services.ledger_reader

    async def require_new_team(self, caller: Caller, team_id: str) -> None:
        """Raise BadRequest for the id of a team that was deleted, or for which calls were made."""
        if not caller.is_proxy_admin and team_id:
            await self._require_unused(Kind.TEAM, "team", (team_id,), param="team_id")

    async def require_new_users(self, caller: Caller, user_ids: Iterable[str]) -> None:
        """Raise BadRequest when one of those who are not there yet was a user before."""
        asked = tuple(dict.fromkeys(user_id for user_id in user_ids if user_id))
        if caller.is_proxy_admin or not asked:
            return
        living = {each.object_id for each in await self._control.find_many([ObjectRef(Kind.USER, i) for i in asked])}
        unknown = tuple(user_id for user_id in asked if user_id not in living)
        await self._require_unused(Kind.USER, "user", unknown, param="user_id")

    async def _require_unused(self, kind: Kind, entity_type: str, ids: tuple[str, ...], *, param: str) -> None:
        if not ids:
            return
        gone = await self._control.list_objects(ObjectFilter(kind=kind, object_ids=ids, deleted=True), limit=1)
        spent = await self._ledger.spend_of([(entity_type, each, "") for each in ids])
        used = [each.object_id for each in gone.objects] or [entity[1] for entity, amount in spent.items() if amount]
        if used:
            raise BadRequest(
                f"'{param}' '{used[0]}' was in use before: only a proxy admin may give it again. Choose another.",
                param=param,
            )
