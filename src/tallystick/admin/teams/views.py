"""Teams and memberships as LiteLLM's API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tallystick.access.keys import KeySpec
from tallystick.access.limits import member_limits
from tallystick.access.members import Member
from tallystick.access.teams import TEAM_ADMIN, MemberSpec, TeamSpec
from tallystick.admin.limits import shown_limits, usd
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.admin.teams.requests import KEPT_FIELDS
from tallystick.control.objects import ControlObject, spec_as
from tallystick.control.secret_fields import masked


def team_fields(
    team: ControlObject, members: Sequence[Member], *, spent: ObjectSpend, present: Present
) -> dict[str, Any]:  # Any: JSON.
    """Return a team as its answers show it. What it has not is null."""
    spec = spec_as(TeamSpec, masked(team.kind, team.object_id, team.spec))
    defaults = spec.member_limits
    deletion = {"deleted_at": text_of(team.deleted_at), "deleted_by": team.deleted_by} if team.deleted_at else {}
    return {
        "team_id": team.object_id,
        "team_alias": team.name or None,
        "organization_id": team.organization_id or None,
        "admins": [each.held.user_id for each in members if each.spec.role == TEAM_ADMIN],
        "members": [each.held.user_id for each in members],
        "members_with_roles": [_member(each) for each in members],
        "models": spec.models,
        "model_aliases": spec.model_aliases,
        "litellm_model_table": {"model_aliases": spec.model_aliases} if spec.model_aliases else None,
        "access_group_ids": spec.access_group_ids,
        "tags": spec.tags,
        "metadata": spec.metadata,
        "blocked": team.blocked,
        "spend": usd(spent.nano_usd),
        **shown_limits(spec.limits, present=present, spent=spent),
        "team_member_permissions": spec.member_permissions,
        "team_member_budget": usd(defaults.max_budget_nano_usd),
        "team_member_budget_duration": defaults.budget_duration or None,
        "team_member_tpm_limit": defaults.tpm_limit,
        "team_member_rpm_limit": defaults.rpm_limit,
        "default_team_member_models": spec.default_member_models,
        **{name: spec.other.get(name) for name in KEPT_FIELDS},
        "created_at": text_of(team.created_at),
        "created_by": team.created_by or None,
        "updated_at": text_of(team.updated_at),
        "updated_by": team.updated_by or None,
        **deletion,
    }


def membership_fields(
    member: ControlObject, team: TeamSpec, *, spent: ObjectSpend, present: Present
) -> dict[str, Any]:  # Any: JSON.
    """Return a membership with the limits that hold for it: its own, else the team's for its members."""
    spec = spec_as(MemberSpec, member.spec)
    limits = member_limits(spec.limits, team.member_limits)
    budget = {
        "budget_id": member.budget_id or None,
        "max_budget": usd(limits.max_budget_nano_usd),
        "soft_budget": usd(limits.soft_budget_nano_usd),
        "budget_duration": limits.budget_duration or None,
        "budget_reset_at": present.reset_at(limits.budget_duration),
        "tpm_limit": limits.tpm_limit,
        "rpm_limit": limits.rpm_limit,
    }
    is_bounded = any(value is not None for value in budget.values())
    return {
        "user_id": member.user_id,
        "team_id": member.team_id,
        "role": spec.role,
        "budget_id": member.budget_id or None,
        "spend": usd(spent.nano_usd),
        "total_spend": usd(spent.ledger_nano_usd),
        "litellm_budget_table": budget if is_bounded else None,
    }


def team_key_fields(key: ControlObject, *, spent: ObjectSpend, present: Present) -> dict[str, Any]:  # Any: JSON.
    """Return a key of a team as the team's own answer shows it; /key/info tells more."""
    spec = spec_as(KeySpec, masked(key.kind, key.object_id, key.spec))
    return {
        "token": key.object_id,
        "key_name": spec.key_name,
        "key_alias": key.name or None,
        "user_id": key.user_id or None,
        "team_id": key.team_id or None,
        "organization_id": key.organization_id or None,
        "models": spec.models,
        "metadata": spec.metadata,
        "tags": spec.tags,
        "blocked": key.blocked,
        "expires": text_of(key.expires_at),
        "spend": usd(spent.nano_usd),
        **shown_limits(spec.limits, present=present, spent=spent),
        "created_at": text_of(key.created_at),
        "updated_at": text_of(key.updated_at),
    }


def _member(member: Member) -> dict[str, Any]:  # Any: JSON.
    return {"user_id": member.held.user_id, "user_email": member.user_email or None, "role": member.spec.role}
