"""Bodies of the requests that make and change teams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from tallystick.access.limits import Limits
from tallystick.access.members import NewMember
from tallystick.access.team_rules import MEMBER_PERMISSIONS
from tallystick.access.teams import TEAM_ADMIN, TEAM_MEMBER, TeamSpec
from tallystick.admin.fields import JSONObject, RequestBody, Text, storable_object
from tallystick.admin.limits import USD, Count, DurationText, LimitFields, SpendField, nano_usd
from tallystick.control.objects import ControlObject, spec_as, spec_from
from tallystick.errors import BadRequest

Names = Annotated[list[Text], Field(max_length=1_000)]
NO_LIMITS: Final = Limits()
TeamId = Annotated[Text, Field(min_length=1)]


class MemberBody(RequestBody):
    """A member, named by user id, by email, or by both. A user who does not exist yet is made."""

    role: Literal["admin", "user"] = Field(default="user", description="`admin` of the team, or `user`.")
    user_id: Text | None = None
    user_email: Text | None = None

    def new_member(self, *, limits: Limits = NO_LIMITS) -> NewMember:
        """Return whom this names, with the limits that he shall have in the team."""
        return NewMember(
            role=self.role,
            user_id=self.user_id or "",
            user_email=self.user_email or "",
            limits=limits,
        )


class TeamFields(LimitFields):
    """What a team has. In a change, what is omitted stays and null clears."""

    team_alias: Text | None = Field(default=None, description="A name for people.", examples=["Research"])
    organization_id: Text | None = Field(default=None, description="The organization that the team belongs to.")
    models: Names | None = Field(
        default=None, description="Models that it may call; empty means all.", examples=[["gpt-4o-mini"]]
    )
    model_aliases: Annotated[dict[Text, Text], Field(max_length=1_000)] | None = Field(
        default=None, description="What the team calls a model, and the model group that is meant."
    )
    access_group_ids: Names | None = Field(default=None, description="Access groups whose models it may call too.")
    metadata: JSONObject | None = Field(default=None, description="An object of your own.")
    tags: Names | None = Field(default=None, description="Tags of all calls of the team.")
    blocked: bool | None = Field(default=None, description="Whether calls of the team are refused.")
    team_member_permissions: Names | None = Field(
        default=None, description="Routes that plain members may use on the team's keys."
    )
    team_member_budget: USD | None = Field(default=None, description="USD for each member without an own budget.")
    team_member_budget_duration: DurationText | None = Field(default=None, description="Window of that budget.")
    team_member_tpm_limit: Count | None = Field(default=None, description="Tokens a minute for each member.")
    team_member_rpm_limit: Count | None = Field(default=None, description="Requests a minute for each member.")
    default_team_member_models: Names | None = Field(
        default=None, description="Models of members for whom no others are set."
    )
    # Kept and shown; nothing acts on them here.
    team_member_key_duration: DurationText | None = None
    tpm_limit_type: Text | None = None
    rpm_limit_type: Text | None = None
    guardrails: Names | None = None
    policies: Names | None = None
    prompts: Names | None = None
    object_permission: JSONObject | None = None
    router_settings: JSONObject | None = None
    allowed_passthrough_routes: Names | None = None
    allow_team_guardrail_config: bool | None = None
    disable_global_guardrails: bool | None = None

    def patched(self, before: ControlObject, *, merges_metadata: bool = False) -> ControlObject:
        """Return the team with what this body sets. With `merges_metadata`, keys that it does not name stay."""
        spec = spec_as(TeamSpec, before.spec)
        given: dict[str, Any] = {  # Any: each field's own type.
            field: read(getattr(self, name)) for name, (field, read) in _SPEC_FIELDS.items() if self._sets(name)
        }
        if self._sets("metadata"):
            given["metadata"] = self._metadata(spec.metadata, merges=merges_metadata)
        changed = msgspec.structs.replace(
            spec,
            limits=self.patched_limits(spec.limits),
            member_limits=self._patched_member_limits(spec.member_limits),
            other=self._patched_other(spec.other),
            **given,
        )
        columns = {column: read(getattr(self, name)) for name, (column, read) in _COLUMNS.items() if self._sets(name)}
        return msgspec.structs.replace(before, spec=spec_from(changed), **columns)

    def _sets(self, name: str) -> bool:
        return name in self.model_fields_set

    def _metadata(self, before: dict[str, Any], *, merges: bool) -> dict[str, Any]:  # Any: the admin's own JSON.
        if not merges or self.metadata is None:
            return self.metadata or {}
        try:
            return storable_object(_merged(before, self.metadata))
        except ValueError as error:
            raise BadRequest(f"'metadata' is not right after the merge: {error}.", param="metadata") from error

    def _patched_member_limits(self, before: Limits) -> Limits:
        given: dict[str, Any] = {}  # Any: each field's own type.
        for name, (field, read) in _MEMBER_LIMITS.items():
            if self._sets(name):
                value = getattr(self, name)
                given[field] = getattr(NO_LIMITS, field) if value is None else read(value)
        return msgspec.structs.replace(before, **given)

    def _patched_other(self, before: dict[str, Any]) -> dict[str, Any]:  # Any: JSON.
        other = {**before, **{name: getattr(self, name) for name in KEPT_FIELDS if self._sets(name)}}
        return {name: value for name, value in other.items() if value is not None}


class NewTeam(TeamFields):
    """A new team. Everything may be left out."""

    team_id: Text | None = Field(default=None, description="An id of your own; without it, one is made.")
    members_with_roles: Annotated[list[MemberBody], Field(max_length=1_000)] | None = Field(
        default=None, description="Its first members.", examples=[[{"role": "admin", "user_id": "ann"}]]
    )
    admins: Names | None = Field(default=None, description="User ids; `members_with_roles` says the same.")
    members: Names | None = Field(default=None, description="User ids; `members_with_roles` says the same.")

    def first_members(self, *, creator: str) -> list[NewMember]:
        """Return whom to add. `creator` becomes an admin of the team unless named otherwise; '' is nobody."""
        named = [body.new_member() for body in self.members_with_roles or ()]
        named += [NewMember(role=TEAM_ADMIN, user_id=user_id) for user_id in self.admins or ()]
        named += [NewMember(role=TEAM_MEMBER, user_id=user_id) for user_id in self.members or ()]
        if creator and all(each.user_id != creator for each in named):
            named.append(NewMember(role=TEAM_ADMIN, user_id=creator))
        return named


class UpdateTeam(TeamFields, SpendField):
    """A change of a team: what is omitted stays, null clears, `metadata` is replaced."""

    team_id: TeamId = Field(examples=["research"])


class PatchTeam(TeamFields, SpendField):
    """A change of the team in the path: what is omitted stays, null clears; in `metadata` too, key by key."""


class DeleteTeams(RequestBody):
    """Teams to delete, all of them or none."""

    team_ids: Annotated[list[TeamId], Field(min_length=1, max_length=100)] = Field(examples=[["research"]])
    organization_id: Text | None = Field(default=None, description="Accepted; each team's own organization decides.")


class NameTeam(RequestBody):
    """One team."""

    team_id: TeamId = Field(examples=["research"])
    organization_id: Text | None = Field(default=None, description="Accepted; the team's own organization decides.")


class TeamModels(RequestBody):
    """Models to add to a team's list, or to take out of it."""

    team_id: TeamId = Field(examples=["research"])
    models: Annotated[list[Text], Field(min_length=1, max_length=1_000)] = Field(examples=[["gpt-4o-mini"]])
    organization_id: Text | None = Field(default=None, description="Accepted; it has no effect.")


def member_permissions(names: list[str] | None) -> tuple[str, ...]:
    """Return what plain members may do. Raises BadRequest for what can't be allowed to them."""
    for name in names or ():
        if name not in MEMBER_PERMISSIONS:
            raise BadRequest(
                f"'{name[:80]}' is no permission of team members. There are: {', '.join(MEMBER_PERMISSIONS)}.",
                param="team_member_permissions",
            )
    return tuple(dict.fromkeys(names or ()))


def _merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:  # Any: the admin's own JSON.
    """Return a JSON object with a merge patch (RFC 7396) applied."""
    merged = dict(before)
    for name, value in patch.items():
        held = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = _merged(held if isinstance(held, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def _tuple(names: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names or ()))


def _object(value: dict[str, Any] | None) -> dict[str, Any]:  # Any: JSON.
    return value or {}


def _text(value: str | None) -> str:
    return value or ""


def _same(value: Any) -> Any:  # Any: checked by the body's own type.
    return value


_Read = Callable[[Any], Any]  # Any: functions of each field's own type.
_COLUMNS: Final[Mapping[str, tuple[str, _Read]]] = {
    "team_alias": ("name", _text),
    "organization_id": ("organization_id", _text),
    "blocked": ("blocked", bool),
}
_SPEC_FIELDS: Final[Mapping[str, tuple[str, _Read]]] = {
    "models": ("models", _tuple),
    "model_aliases": ("model_aliases", _object),
    "access_group_ids": ("access_group_ids", _tuple),
    "tags": ("tags", _tuple),
    "team_member_permissions": ("member_permissions", member_permissions),
    "default_team_member_models": ("default_member_models", _tuple),
}
_MEMBER_LIMITS: Final[Mapping[str, tuple[str, _Read]]] = {
    "team_member_budget": ("max_budget_nano_usd", nano_usd),
    "team_member_budget_duration": ("budget_duration", _text),
    "team_member_tpm_limit": ("tpm_limit", _same),
    "team_member_rpm_limit": ("rpm_limit", _same),
}
KEPT_FIELDS: Final = (
    "team_member_key_duration",
    "tpm_limit_type",
    "rpm_limit_type",
    "guardrails",
    "policies",
    "prompts",
    "object_permission",
    "router_settings",
    "allowed_passthrough_routes",
    "allow_team_guardrail_config",
    "disable_global_guardrails",
)
"""Fields that are kept as they were sent."""
