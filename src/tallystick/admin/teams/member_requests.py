"""Bodies of the requests about members of teams, and what they may do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec
from tallystick.admin.fields import RequestBody, Text
from tallystick.admin.limits import USD, Count, DurationText, nano_usd
from tallystick.admin.teams.requests import MemberBody, Names, TeamId
from tallystick.control.objects import ControlObject, spec_as, spec_from


class MemberLimitFields(RequestBody):
    """What a member may spend and do in the team. Without them, the team's limits for its members hold."""

    max_budget_in_team: USD | None = Field(default=None, description="USD that the member may spend in this team.")
    budget_duration: DurationText | None = Field(default=None, description="Length of the budget's window.")
    tpm_limit: Count | None = Field(default=None, description="Tokens a minute.")
    rpm_limit: Count | None = Field(default=None, description="Requests a minute.")

    def patched_limits(self, before: Limits) -> Limits:
        """Return the limits with what this body sets: what is omitted stays, null clears."""
        given: dict[str, Any] = {}  # Any: each field's own type.
        if "max_budget_in_team" in self.model_fields_set:
            budget = self.max_budget_in_team
            given["max_budget_nano_usd"] = None if budget is None else nano_usd(budget)
        if "budget_duration" in self.model_fields_set:
            given["budget_duration"] = self.budget_duration or ""
        for name in self.model_fields_set & {"tpm_limit", "rpm_limit"}:
            given[name] = getattr(self, name)
        return msgspec.structs.replace(before, **given)


class AddMembers(MemberLimitFields):
    """One member or several to add: all or none."""

    team_id: TeamId = Field(examples=["research"])
    member: MemberBody | Annotated[list[MemberBody], Field(min_length=1, max_length=500)] = Field(
        examples=[{"role": "user", "user_id": "bob"}]
    )


class BulkAddMembers(MemberLimitFields):
    """Members to add, each by itself: the answer says who was added and who was not."""

    team_id: TeamId = Field(examples=["research"])
    members: Annotated[list[MemberBody], Field(min_length=1, max_length=500)] = Field(
        examples=[[{"role": "user", "user_id": "bob"}, {"role": "user", "user_email": "eve@example.org"}]]
    )


class NameMember(RequestBody):
    """A member, by user id or by email."""

    team_id: TeamId = Field(examples=["research"])
    user_id: Text | None = Field(default=None, examples=["bob"])
    user_email: Text | None = None


class UpdateMember(NameMember, MemberLimitFields):
    """A change of a member: what is omitted stays, null clears."""

    role: Literal["admin", "user"] | None = None

    def patched(self, before: ControlObject) -> ControlObject:
        """Return the membership with what this body sets."""
        spec = spec_as(MemberSpec, before.spec)
        changed = msgspec.structs.replace(spec, role=self.role or spec.role, limits=self.patched_limits(spec.limits))
        return msgspec.structs.replace(before, spec=spec_from(changed))


class ResetMemberSpend(RequestBody):
    """To what a member's spend in the team is set."""

    reset_to: USD = Field(default=0.0, description="USD, at most what the member has spent.")


class UpdatePermissions(RequestBody):
    """All that plain members of a team may do; what is not named is no longer allowed."""

    team_id: TeamId = Field(examples=["research"])
    team_member_permissions: Names = Field(examples=[["/key/generate", "/key/info"]])


class BulkUpdatePermissions(RequestBody):
    """What plain members of several teams may do besides what they may already."""

    team_ids: Annotated[list[TeamId], Field(max_length=500)] | None = Field(default=None, examples=[["research"]])
    permissions: Names = Field(examples=[["/key/generate"]])
