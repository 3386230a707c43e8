"""The teams and organizations of users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec
from tallystick.access.users import Role
from tallystick.admin.limits import nano_usd
from tallystick.admin.objects import list_all
from tallystick.admin.users.requests import TeamOfUser
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_from
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.control.writer import Pair
from tallystick.errors import BadRequest


class WantedMemberships(msgspec.Struct, frozen=True, kw_only=True):
    """What is written for a user's memberships, and what must exist for it."""

    pairs: tuple[Pair, ...] = ()
    requires: tuple[ObjectRef, ...] = ()


class Memberships:
    """Reads and prepares memberships."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control

    async def team_ids(self, user_ids: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the ids of each user's teams, in the order in which they joined."""
        ids = tuple(user_ids)
        teams: dict[str, list[str]] = {user_id: [] for user_id in ids}
        where = ObjectFilter(kind=Kind.TEAM_MEMBER, user_ids=ids)
        for member in await list_all(self._control, where) if ids else ():
            teams[member.user_id].append(member.team_id)
        return {user_id: tuple(joined) for user_id, joined in teams.items()}

    async def of_new_user(
        self, user_id: str, teams: Mapping[str, TeamOfUser], organization_ids: Iterable[str], *, now: datetime
    ) -> WantedMemberships:
        """Return the memberships of a new user. Raises BadRequest when a team or an organization does not exist."""
        wanted = [(ObjectRef(Kind.TEAM, team_id), "teams") for team_id in teams]
        organizations = tuple(dict.fromkeys(organization_ids))
        wanted += [(ObjectRef(Kind.ORGANIZATION, each), "organizations") for each in organizations]
        await self._require_exist(wanted)
        pairs: list[Pair] = [(None, _team_member(each, user_id, now=now)) for each in teams.values()]
        pairs += [(None, _organization_member(each, user_id, now=now)) for each in organizations]
        return WantedMemberships(pairs=tuple(pairs), requires=tuple(ref for ref, _ in wanted))

    async def changed(self, user_id: str, teams: Mapping[str, TeamOfUser], *, now: datetime) -> WantedMemberships:
        """Return what makes exactly these the user's teams: who stays in a team keeps role and limits there.

        The keys with which the user called for a team go with the membership, as with /team/member_delete.
        """
        held = await list_all(self._control, ObjectFilter(kind=Kind.TEAM_MEMBER, user_ids=(user_id,)))
        missing = {team_id: each for team_id, each in teams.items() if team_id not in {m.team_id for m in held}}
        added = await self.of_new_user(user_id, missing, (), now=now)
        removed: list[Pair] = [(member, None) for member in held if member.team_id not in teams]
        left = tuple(member.team_id for member, _ in removed if member is not None)
        keys = ObjectFilter(kind=Kind.KEY, team_ids=left, user_ids=(user_id,))
        removed += [(key, None) for key in await list_all(self._control, keys)] if left else ()
        return WantedMemberships(pairs=(*added.pairs, *removed), requires=added.requires)

    async def _require_exist(self, wanted: list[tuple[ObjectRef, str]]) -> None:
        found = {each.ref for each in await self._control.find_many([ref for ref, _ in wanted])} if wanted else set()
        for ref, param in wanted:
            if ref not in found:
                raise BadRequest(f"{ref.kind.capitalize()} not found: '{ref.object_id}' does not exist.", param=param)


def _team_member(wanted: TeamOfUser, user_id: str, *, now: datetime) -> ControlObject:
    budget = wanted.max_budget_in_team
    limits = Limits() if budget is None else Limits(max_budget_nano_usd=nano_usd(budget))
    return ControlObject(
        kind=Kind.TEAM_MEMBER,
        object_id=member_id(wanted.team_id, user_id),
        team_id=wanted.team_id,
        user_id=user_id,
        spec=spec_from(MemberSpec(role=wanted.user_role, limits=limits)),
        created_at=now,
        updated_at=now,
    )


def _organization_member(organization_id: str, user_id: str, *, now: datetime) -> ControlObject:
    return ControlObject(
        kind=Kind.ORGANIZATION_MEMBER,
        object_id=member_id(organization_id, user_id),
        organization_id=organization_id,
        user_id=user_id,
        spec=spec_from(MemberSpec(role=Role.INTERNAL_USER)),
        created_at=now,
        updated_at=now,
    )
