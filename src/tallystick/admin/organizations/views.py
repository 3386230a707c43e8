"""Organizations and memberships as LiteLLM's API shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.admin.budget_fields import budgets_of, shown_budget, shown_held_limits
from tallystick.admin.limits import usd
from tallystick.admin.masked import shown_spec
from tallystick.admin.present import Present, text_of
from tallystick.admin.services import AdminServices
from tallystick.admin.spend import Spend
from tallystick.control.listing import list_all
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ObjectFilter


class OrganizationViews:
    """Reads what belongs to organizations: in a few reads for a whole page of them."""

    def __init__(self, services: AdminServices) -> None:
        self._store = services.control
        self._present = services.present
        self._spend = Spend(services)

    async def show(self, organizations: Sequence[ControlObject]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return the organizations with their budgets, spend, members and teams."""
        if not organizations:
            return []
        ids = tuple(each.object_id for each in organizations)
        present = self._present()
        spent = await self._spend.of(organizations, present=present)
        budgets = await budgets_of(self._store, organizations)
        memberships = await list_all(self._store, ObjectFilter(kind=Kind.ORGANIZATION_MEMBER, organization_ids=ids))
        members = _grouped(memberships)
        teams = _grouped(await list_all(self._store, ObjectFilter(kind=Kind.TEAM, organization_ids=ids)))
        emails = await self._emails(memberships)
        shown = []
        for each, spend in zip(organizations, spent, strict=True):
            budget = budgets.get(each.budget_id)
            table = None if budget is None else shown_budget(budget, present=present, spent=spend)
            shown.append(
                {
                    **_organization_fields(each),
                    "spend": usd(spend.nano_usd),
                    "litellm_budget_table": table,
                    "members": [
                        shown_member(one, email=emails.get(one.user_id, ""), present=present)
                        for one in members[each.object_id]
                    ],
                    "teams": [_team_fields(team) for team in teams[each.object_id]],
                }
            )
        return shown

    async def show_members(self, memberships: Sequence[ControlObject]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return memberships with the emails of their users."""
        emails = await self._emails(memberships)
        present = self._present()
        return [shown_member(each, email=emails.get(each.user_id, ""), present=present) for each in memberships]

    async def _emails(self, memberships: Iterable[ControlObject]) -> dict[str, str]:
        refs = {ObjectRef(Kind.USER, each.user_id) for each in memberships}
        return {user.object_id: user.name for user in await self._store.find_many(tuple(refs))} if refs else {}


def shown_member(membership: ControlObject, *, email: str, present: Present) -> dict[str, Any]:  # Any: JSON.
    """Return a membership. Its limits are its own, in no row of budgets."""
    spec = spec_as(MemberSpec, membership.spec)
    limits = None
    if spec.limits != Limits():
        limits = {"budget_id": None, **shown_held_limits(spec.limits, present=present)}
    return {
        "user_id": membership.user_id,
        "organization_id": membership.organization_id,
        "user_role": spec.role,
        "user_email": email or None,
        "budget_id": None,
        "litellm_budget_table": limits,
        "created_at": text_of(membership.created_at),
        "updated_at": text_of(membership.updated_at),
    }


def _organization_fields(organization: ControlObject) -> dict[str, Any]:  # Any: JSON.
    spec = shown_spec(OrganizationSpec, organization)
    return {
        "organization_id": organization.object_id,
        "organization_alias": organization.name,
        "budget_id": organization.budget_id or None,
        "models": spec.models,
        "access_group_ids": spec.access_group_ids,
        "metadata": spec.metadata,
        "object_permission": None,
        **spec.other,
        "created_at": text_of(organization.created_at),
        "created_by": organization.created_by or None,
        "updated_at": text_of(organization.updated_at),
        "updated_by": organization.updated_by or None,
    }


def _team_fields(team: ControlObject) -> dict[str, Any]:  # Any: JSON.
    return {
        "team_id": team.object_id,
        "team_alias": team.name or None,
        "organization_id": team.organization_id,
        "models": spec_as(TeamSpec, team.spec).models,
        "blocked": team.blocked,
    }


def _grouped(objects: Iterable[ControlObject]) -> dict[str, list[ControlObject]]:
    groups: dict[str, list[ControlObject]] = defaultdict(list)
    for each in objects:
        groups[each.organization_id].append(each)
    return groups
