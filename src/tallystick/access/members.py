"""Members of teams: each is an object of its own, so that a team of thousands is changed one member at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec
from tallystick.access.users import UserSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as, spec_from
from tallystick.control.store import Author, ControlStore, ObjectFilter
from tallystick.control.writer import ObjectWriter
from tallystick.errors import AlreadyExists, BadRequest, ChangedMeanwhile
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id

_TRIES_MAX: Final = 5
_PAGE: Final = 1_000

ResultT = TypeVar("ResultT")
Pair = tuple[ControlObject | None, ControlObject | None]


class NewMember(msgspec.Struct, frozen=True, kw_only=True):
    """Who shall be a member: named by user id, by email, or by both. '' is not given."""

    role: str
    user_id: str = ""
    user_email: str = ""
    limits: Limits = Limits()
    models: tuple[str, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member as it is: the membership, what it says, and the user's email."""

    held: ControlObject
    spec: MemberSpec
    user_email: str = ""


class TeamMembers:
    """Finds, adds and removes members of teams."""

    def __init__(self, *, store: ControlStore, writer: ObjectWriter, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock

    async def of_teams(self, team_ids: Sequence[str], *, deleted: bool = False) -> dict[str, list[Member]]:
        """Return the members of each team, those who came first first. `deleted`: of teams that were deleted."""
        where = ObjectFilter(kind=Kind.TEAM_MEMBER, team_ids=tuple(team_ids), deleted=deleted)
        found = await everything(self._store, where) if team_ids else []
        emails = await self._emails([each.user_id for each in found])
        members: dict[str, list[Member]] = {team_id: [] for team_id in team_ids}
        for each in found:
            spec = spec_as(MemberSpec, each.spec)
            members[each.team_id].append(Member(held=each, spec=spec, user_email=emails.get(each.user_id, "")))
        return members

    async def create_team(
        self, team: ControlObject, members: Sequence[NewMember], *, author: Author
    ) -> tuple[ControlObject, ...]:
        """Add a team with its first members, and the users among them who don't exist yet; return all that is new.

        Raises BadRequest when the team's id is taken.
        """
        organization = ObjectRef(Kind.ORGANIZATION, team.organization_id)
        requires = (organization,) if team.organization_id else ()

        async def attempt() -> tuple[ControlObject, ...]:
            if await self._store.find(team.ref) is not None:
                raise BadRequest(
                    f"Team id = {team.object_id} already exists. Please use a different team id.", param="team_id"
                )
            pairs = [(None, team), *await self._new_pairs(team.object_id, members)]
            return await self._writer.apply(pairs, author=author, action="created", requires=requires)

        return await _again(attempt)

    async def add(
        self, team_id: str, members: Sequence[NewMember], *, author: Author
    ) -> tuple[list[ControlObject], list[ControlObject]]:
        """Add all of these to a team, or none; return the memberships and the users that were made for them.

        Raises BadRequest for somebody who is a member already, or who can't be told from others.
        """

        async def attempt() -> tuple[ControlObject, ...]:
            pairs = await self._new_pairs(team_id, members)
            requires = (ObjectRef(Kind.TEAM, team_id),)
            return await self._writer.apply(pairs, author=author, action="created", requires=requires)

        made = await _again(attempt)
        added = [each for each in made if each.kind == Kind.TEAM_MEMBER]
        return added, [each for each in made if each.kind == Kind.USER]

    async def find(self, team_id: str, *, user_id: str, user_email: str) -> ControlObject:
        """Return a membership. Raises BadRequest when there is none, or when the email stands for several."""
        if not user_id and not user_email:
            raise BadRequest("Either 'user_id' or 'user_email' must be given.", param="user_id")
        user_ids = [user_id] if user_id else [each.object_id for each in await self._users_with((user_email,))]
        refs = [_member_ref(team_id, each) for each in user_ids]
        found = await self._store.find_many(refs)
        if not found:
            raise BadRequest(
                f"User '{user_id or user_email}' is not a member of team '{team_id}': not found in the team.",
                param="user_id" if user_id else "user_email",
            )
        if len(found) > 1:
            raise _several_users(user_email)
        return found[0]

    async def remove(self, team_id: str, *, user_id: str, user_email: str, author: Author) -> ControlObject:
        """Take somebody out of a team, and delete the keys with which he called for it; return the membership."""

        async def attempt() -> ControlObject:
            member = await self.find(team_id, user_id=user_id, user_email=user_email)
            keys = ObjectFilter(kind=Kind.KEY, team_ids=(team_id,), user_ids=(member.user_id,))
            gone: list[Pair] = [(each, None) for each in (member, *await everything(self._store, keys))]
            await self._writer.apply(gone, author=author, action="deleted")
            return member

        return await _again(attempt)

    async def _new_pairs(self, team_id: str, members: Sequence[NewMember]) -> list[Pair]:
        users = await self._users_of(members)
        refs = [_member_ref(team_id, user.object_id) for user in users]
        taken = {each.ref for each in await self._store.find_many(refs)}
        pairs: list[Pair] = []
        for asked, user, ref in zip(members, users, refs, strict=True):
            if ref in taken:
                raise BadRequest(
                    f"User '{user.object_id}' is already in team '{team_id}'. Change it with /team/member_update.",
                    param="member",
                )
            taken.add(ref)
            if not user.revision:
                pairs.append((None, user))
            pairs.append((None, _membership(team_id, user, asked)))
        return pairs

    async def _users_of(self, members: Sequence[NewMember]) -> list[ControlObject]:
        """Return the user of each, in the same order; one at revision 0 does not exist yet."""
        refs = [ObjectRef(Kind.USER, each.user_id) for each in members if each.user_id]
        by_id = {each.object_id: each for each in await self._store.find_many(refs)}
        emails = tuple(dict.fromkeys(each.user_email for each in members if each.user_email))
        by_email: dict[str, list[ControlObject]] = {email: [] for email in emails}
        for user in await self._users_with(emails):
            by_email[user.name].append(user)
        users: list[ControlObject] = []
        for each in members:
            user = _user_of(each, by_id, by_email, self._clock.now())
            by_id[user.object_id] = user
            # So that the same new email twice is the same new user twice.
            if not user.revision and user.name:
                by_email[user.name] = [user]
            users.append(user)
        return users

    async def _users_with(self, emails: tuple[str, ...]) -> list[ControlObject]:
        if not emails:
            return []
        return await everything(self._store, ObjectFilter(kind=Kind.USER, names=emails))

    async def _emails(self, user_ids: Sequence[str]) -> dict[str, str]:
        emails: dict[str, str] = {}
        for first in range(0, len(user_ids), _PAGE):
            refs = [ObjectRef(Kind.USER, user_id) for user_id in user_ids[first : first + _PAGE]]
            emails |= {each.object_id: each.name for each in await self._store.find_many(refs)}
        return emails


async def everything(store: ControlStore, where: ObjectFilter) -> list[ControlObject]:
    """Return all objects that match, oldest first, read page by page."""
    found: list[ControlObject] = []
    while True:
        page = await store.list_objects(where, descending=False, offset=len(found), limit=_PAGE)
        found += page.objects
        if len(page.objects) < _PAGE:
            return found


def _user_of(
    asked: NewMember,
    by_id: Mapping[str, ControlObject],
    by_email: Mapping[str, list[ControlObject]],
    now: datetime,
) -> ControlObject:
    if not asked.user_id and not asked.user_email:
        raise BadRequest("Each member needs a 'user_id' or a 'user_email'.", param="member")
    named = by_id.get(asked.user_id)
    others = by_email.get(asked.user_email, [])
    if asked.user_id:
        is_other = others and all(each.object_id != asked.user_id for each in others)
        if is_other or (named and named.name and asked.user_email not in {"", named.name}):
            raise BadRequest(
                f"user_id '{asked.user_id}' and user_email '{asked.user_email}' do not belong to the same user.",
                param="member",
            )
    elif len(others) > 1:
        raise _several_users(asked.user_email)
    elif others:
        named = others[0]
    if named is not None:
        return named
    return ControlObject(
        kind=Kind.USER,
        object_id=asked.user_id or new_event_id(now),
        name=asked.user_email,
        spec=spec_from(UserSpec()),
        created_at=now,
        updated_at=now,
    )


def _membership(team_id: str, user: ControlObject, asked: NewMember) -> ControlObject:
    spec = MemberSpec(role=asked.role, limits=asked.limits, models=asked.models)
    return ControlObject(
        kind=Kind.TEAM_MEMBER,
        object_id=member_id(team_id, user.object_id),
        team_id=team_id,
        user_id=user.object_id,
        spec=spec_from(spec),
        created_at=user.created_at,
        updated_at=user.created_at,
    )


def _member_ref(team_id: str, user_id: str) -> ObjectRef:
    return ObjectRef(Kind.TEAM_MEMBER, member_id(team_id, user_id))


def _several_users(email: str) -> BadRequest:
    return BadRequest(f"Multiple users found with email '{email}'. Name the user by 'user_id'.", param="user_email")


async def _again(attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Read and write once more when somebody else was faster; what he wrote is then seen and judged."""
    for _ in range(_TRIES_MAX - 1):
        try:
            return await attempt()
        except (ChangedMeanwhile, AlreadyExists):
            continue
    return await attempt()
