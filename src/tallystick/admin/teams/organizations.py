"""The organization of a team, and what it allows its teams."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.team_rules import require_within_organization
from tallystick.access.teams import OrganizationSpec, TeamSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore
from tallystick.errors import BadRequest


class _SharedBudget(msgspec.Struct):
    limits: Limits = Limits()


class TeamOrganization:
    """An organization with the limits that hold for it; '' is none, which allows everything."""

    def __init__(self, organization_id: str, spec: OrganizationSpec) -> None:
        self._organization_id = organization_id
        self._spec = spec

    @property
    def required(self) -> tuple[ObjectRef, ...]:
        """What has to live when the team is written."""
        return (ObjectRef(Kind.ORGANIZATION, self._organization_id),) if self._organization_id else ()

    def require_allows(self, team: ControlObject) -> None:
        """Refuse a team that asks for more than the organization has. Raises BadRequest."""
        if self._organization_id:
            require_within_organization(spec_as(TeamSpec, team.spec), self._spec, name=self._organization_id)


async def organization_of_team(store: ControlStore, organization_id: str) -> TeamOrganization:
    """Read an organization and its shared budget. Raises BadRequest when it does not exist."""
    if not organization_id:
        return TeamOrganization("", OrganizationSpec())
    held = await store.find(ObjectRef(Kind.ORGANIZATION, organization_id))
    if held is None:
        raise BadRequest(
            f"Organization not found: organization '{organization_id}' does not exist. Make it first, or leave "
            "'organization_id' out.",
            param="organization_id",
        )
    spec = spec_as(OrganizationSpec, held.spec)
    shared = await store.find(ObjectRef(Kind.BUDGET, held.budget_id)) if held.budget_id else None
    if shared is not None:
        limits = _with_fallback(spec.limits, spec_as(_SharedBudget, shared.spec).limits)
        spec = msgspec.structs.replace(spec, limits=limits)
    return TeamOrganization(organization_id, spec)


def _with_fallback(own: Limits, shared: Limits) -> Limits:
    given: dict[str, Any] = {  # Any: each field's own type.
        field: getattr(own, field) if getattr(own, field) is not None else getattr(shared, field)
        for field in ("max_budget_nano_usd", "tpm_limit", "rpm_limit")
    }
    return msgspec.structs.replace(own, **given)
