"""Internal users as LiteLLM's API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tallystick.access.teams import TeamSpec
from tallystick.access.users import UserSpec
from tallystick.admin.limits import shown_limits, usd
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.admin.users.requests import KEPT
from tallystick.control.objects import ControlObject, spec_as
from tallystick.control.secret_fields import masked


def user_fields(
    user: ControlObject, *, spent: ObjectSpend, team_ids: Sequence[str], present: Present
) -> dict[str, Any]:  # Any: JSON.
    """Return what may be shown of a user."""
    spec = spec_as(UserSpec, masked(user.kind, user.object_id, user.spec))
    return {
        "user_id": user.object_id,
        "user_email": user.name or None,
        "user_alias": spec.alias or None,
        "user_role": spec.role,
        "spend": usd(spent.nano_usd),
        **shown_limits(spec.limits, present=present, spent=spent),
        "models": spec.models,
        "teams": team_ids,
        "metadata": spec.metadata,
        "blocked": user.blocked,
        "created_at": text_of(user.created_at),
        "created_by": user.created_by or None,
        "updated_at": text_of(user.updated_at),
        "updated_by": user.updated_by or None,
        **{name: spec.other.get(name, absent) for name, absent in KEPT.items()},
    }


def team_fields(team: ControlObject, *, spent: ObjectSpend, present: Present) -> dict[str, Any]:  # Any: JSON.
    """Return a team as it is shown to its members beside themselves."""
    spec = spec_as(TeamSpec, masked(team.kind, team.object_id, team.spec))
    return {
        "team_id": team.object_id,
        "team_alias": team.name or None,
        "organization_id": team.organization_id or None,
        "models": spec.models,
        "model_aliases": spec.model_aliases,
        "metadata": spec.metadata,
        "blocked": team.blocked,
        "spend": usd(spent.nano_usd),
        **shown_limits(spec.limits, present=present, spent=spent),
        "created_at": text_of(team.created_at),
        "updated_at": text_of(team.updated_at),
    }
