"""Bodies of the requests that manage organizations and their members."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field

from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec, OrganizationSpec
from tallystick.admin.budget_fields import HeldBudgetFields
from tallystick.admin.fields import JSONObject, RequestBody, Text
from tallystick.admin.limits import USD, nano_usd

ID = Annotated[Text, Field(min_length=1)]
MemberRole = Literal["org_admin", "internal_user", "internal_user_viewer"]

OWN_FIELDS: Final = frozenset({"organization_id", "organization_alias", "metadata"})
"""What admins of an organization may change of it; what limits it is for proxy admins."""


class OrganizationFields(HeldBudgetFields):
    """What an organization has besides its id."""

    organization_alias: Text | None = Field(default=None, description="A name for people.")
    models: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None, description="Models that its teams and keys may call; empty means all."
    )
    access_group_ids: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None, description="Access groups whose models it may call too."
    )
    metadata: JSONObject | None = Field(default=None, description="An object of your own; replaced as a whole.")
    object_permission: JSONObject | None = Field(default=None, description="Kept and shown; it has no effect here yet.")

    def patched(self, before: OrganizationSpec) -> OrganizationSpec:
        """Return the organization with what this body sets: what is omitted stays, null clears."""
        given = self.model_fields_set
        changes: dict[str, Any] = {}  # Any: each field's own type.
        if "models" in given:
            changes["models"] = tuple(self.models or ())
        if "access_group_ids" in given:
            changes["access_group_ids"] = tuple(self.access_group_ids or ())
        if "metadata" in given:
            changes["metadata"] = self.metadata or {}
        if "object_permission" in given:
            rest = {name: value for name, value in before.other.items() if name != "object_permission"}
            kept = {"object_permission": self.object_permission} if self.object_permission is not None else {}
            changes["other"] = {**rest, **kept}
        return msgspec.structs.replace(before, **changes)


class NewOrganization(OrganizationFields):
    """An organization: it has teams, keys and members, and its limits hold for all of them together."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"organization_alias": "research", "models": ["gpt-4o-mini"], "max_budget": 1000.0}]
        }
    )

    organization_id: ID | None = Field(default=None, description="Its id; one is made when it is left out.")
    organization_alias: Annotated[Text, Field(min_length=1)] = Field(description="A name for people.")


class PatchOrganization(OrganizationFields):
    """Changes of the organization that the path names. What is omitted stays, null clears."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_budget": 2000.0}]})

    organization_id: ID | None = Field(default=None, description="If it is given, the same as in the path.")


class UpdateOrganization(OrganizationFields):
    """Changes of an organization. What is omitted stays, null clears."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"organization_id": "acme", "max_budget": 2000.0}]})

    organization_id: ID


class DeleteOrganizations(RequestBody):
    """Organizations to delete, all or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"organization_ids": ["acme"]}]})

    organization_ids: Annotated[list[ID], Field(min_length=1, max_length=100)]


class NameOrganizations(RequestBody):
    """Organizations to show."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"organizations": ["acme"]}]})

    organizations: Annotated[list[ID], Field(max_length=100)]


class NewMember(RequestBody):
    """A user to add, by id or email; one who is not known yet is made."""

    role: MemberRole = Field(description="What the user may do in the organization.")
    user_id: Text | None = None
    user_email: Text | None = None


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class AddMembers(RequestBody):
    """One member, or a list of them, all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"organization_id": "acme", "member": {"role": "org_admin", "user_email": "ada@example.com"}}]
        }
    )

    organization_id: ID
    member: Annotated[list[NewMember], Field(min_length=1, max_length=100), BeforeValidator(_listed)]
    max_budget_in_organization: USD | None = Field(default=None, description="USD that each may spend in it.")


class NameMember(RequestBody):
    """A member, by id or email."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"organization_id": "acme", "user_id": "ada"}]})

    organization_id: ID
    user_id: Text | None = None
    user_email: Text | None = None


class UpdateMember(NameMember):
    """Changes of a membership. What is omitted stays; a budget of null clears."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"organization_id": "acme", "user_id": "ada", "role": "internal_user"}]}
    )

    role: MemberRole | None = None
    max_budget_in_organization: USD | None = Field(default=None, description="USD that the user may spend in it.")

    def patched(self, before: MemberSpec) -> MemberSpec:
        """Return the membership with what this body sets."""
        changes: dict[str, Any] = {}  # Any: each field's own type.
        if self.role is not None:
            changes["role"] = self.role
        if "max_budget_in_organization" in self.model_fields_set:
            changes["limits"] = member_limits(self.max_budget_in_organization, before.limits)
        return msgspec.structs.replace(before, **changes)


def member_limits(max_budget: float | None, before: Limits) -> Limits:
    """Return a member's limits with this budget."""
    amount = None if max_budget is None else nano_usd(max_budget)
    return msgspec.structs.replace(before, max_budget_nano_usd=amount)
