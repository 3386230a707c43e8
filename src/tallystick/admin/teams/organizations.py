"""The organization of a team, and what it allows its teams."""

from __future__ import annotations

from tallystick.access.budgets import budget_limits, budget_of
from tallystick.access.limits import Limits
from tallystick.access.team_rules import require_within_organization
from tallystick.access.teams import OrganizationSpec, TeamSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore
from tallystick.errors import BadRequest


class TeamOrganization:
    """An organization with the limits that hold for it; '' is none, which allows everything."""

    def __init__(self, organization_id: str, spec: OrganizationSpec, limits: Limits) -> None:
        self._organization_id = organization_id
        self._spec = spec
        self._limits = limits

    @property
    def required(self) -> tuple[ObjectRef, ...]:
        """What has to live when the team is written."""
        return (ObjectRef(Kind.ORGANIZATION, self._organization_id),) if self._organization_id else ()

    def require_allows(self, team: ControlObject) -> None:
        """Refuse a team that asks for more than the organization has. Raises BadRequest."""
        if self._organization_id:
            require_within_organization(
                spec_as(TeamSpec, team.spec), self._spec, self._limits, name=self._organization_id
            )


async def organization_of_team(store: ControlStore, organization_id: str) -> TeamOrganization:
    """Read an organization and its budget. Raises BadRequest when it does not exist."""
    if not organization_id:
        return TeamOrganization("", OrganizationSpec(), Limits())
    held = await store.find(ObjectRef(Kind.ORGANIZATION, organization_id))
    if held is None:
        raise BadRequest(
            f"Organization not found: organization '{organization_id}' does not exist. Make it first, or leave "
            "'organization_id' out.",
            param="organization_id",
        )
    limits = budget_limits(await budget_of(store, held))
    return TeamOrganization(organization_id, spec_as(OrganizationSpec, held.spec), limits)
