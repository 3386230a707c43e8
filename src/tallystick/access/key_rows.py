"""The rows that stand behind a key, read as what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tallystick.access.budgets import budget_limits
from tallystick.access.keys import KeySpec
from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.access.users import UserSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, SpecT, member_id, spec_as


class KeyRows(msgspec.Struct, frozen=True, kw_only=True):
    """What `ControlStore.find_key` returned for a key. An absent row is None, and its spec has nothing."""

    found: tuple[ControlObject, ...]
    key_row: ControlObject
    key: KeySpec
    team_row: ControlObject | None
    team: TeamSpec
    user_row: ControlObject | None
    user: UserSpec
    member_row: ControlObject | None
    """Of the user in the team."""
    member: MemberSpec
    organization_row: ControlObject | None
    organization: OrganizationSpec
    organization_member_row: ControlObject | None
    organization_member: MemberSpec
    retired_row: ControlObject | None
    """When the key was found by a former hash."""
    budgets: Mapping[str, Limits]
    """By the id of the budget row."""

    @property
    def organization_id(self) -> str:
        """The team's goes first: a team that moves to another organization takes its keys along."""
        return (self.team_row.organization_id if self.team_row else "") or self.key_row.organization_id

    def shared(self, holder: ControlObject | None) -> Limits | None:
        """Return the limits of the budget row that an object refers to; None when it refers to none that lives."""
        return self.budgets.get(holder.budget_id) if holder is not None else None

    def depends_on(self) -> tuple[ObjectRef, ...]:
        """Name what was read, and what was not there: a user or a team that is made later matters too."""
        key, organization_id = self.key_row, self.organization_id
        named = [
            ObjectRef(kind, object_id)
            for kind, object_id in (
                (Kind.TEAM, key.team_id),
                (Kind.USER, key.user_id),
                (Kind.ORGANIZATION, organization_id),
                (Kind.TEAM_MEMBER, _membership(key.team_id, key.user_id)),
                (Kind.ORGANIZATION_MEMBER, _membership(organization_id, key.user_id)),
                *((Kind.BUDGET, each.budget_id) for each in self.found),
            )
            if object_id
        ]
        return tuple(dict.fromkeys((*(each.ref for each in self.found), *named)))


def key_rows(found: Sequence[ControlObject]) -> KeyRows:
    """Return the rows by what they are."""
    by_kind = {each.kind: each for each in found if each.kind != Kind.BUDGET}
    team, user, member = by_kind.get(Kind.TEAM), by_kind.get(Kind.USER), by_kind.get(Kind.TEAM_MEMBER)
    organization = by_kind.get(Kind.ORGANIZATION)
    organization_member = by_kind.get(Kind.ORGANIZATION_MEMBER)
    nobody = MemberSpec(role="")
    return KeyRows(
        found=tuple(found),
        key_row=by_kind[Kind.KEY],
        key=spec_as(KeySpec, by_kind[Kind.KEY].spec),
        team_row=team,
        team=_spec(team, TeamSpec()),
        user_row=user,
        user=_spec(user, UserSpec()),
        member_row=member,
        member=_spec(member, nobody),
        organization_row=organization,
        organization=_spec(organization, OrganizationSpec()),
        organization_member_row=organization_member,
        organization_member=_spec(organization_member, nobody),
        retired_row=by_kind.get(Kind.RETIRED_KEY),
        budgets={each.object_id: budget_limits(each) for each in found if each.kind == Kind.BUDGET},
    )


def _spec(row: ControlObject | None, absent: SpecT) -> SpecT:
    return absent if row is None else spec_as(type(absent), row.spec)


def _membership(group_id: str, user_id: str) -> str:
    return member_id(group_id, user_id) if group_id and user_id else ""
