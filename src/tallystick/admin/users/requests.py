"""Bodies of the requests that manage internal users."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from pydantic import ConfigDict, Field

from tallystick.access.users import Role, UserSpec
from tallystick.admin.fields import JSONObject, RequestBody, Text
from tallystick.admin.keys.fields import KeyFields, KeyType, TextByText, Texts
from tallystick.admin.keys.requests import GenerateKey
from tallystick.admin.limits import USD, LimitFields
from tallystick.control.objects import ControlObject, spec_as, spec_from
from tallystick.errors import BadRequest

USERS_MAX: Final = 500
NEW_ROLES: Final = (
    Role.PROXY_ADMIN, Role.PROXY_ADMIN_VIEWER, Role.INTERNAL_USER, Role.INTERNAL_USER_VIEWER,
)  # fmt: skip
"""Roles that a new user can have, as LiteLLM has them. An admin can make somebody `org_admin` afterwards."""

UserId = Annotated[Text, Field(min_length=1)]


class TeamOfUser(RequestBody):
    """A membership to begin with."""

    team_id: Text
    user_role: Annotated[str, Field(pattern="^(admin|user)$")] = "user"
    max_budget_in_team: USD | None = None


Teams = Annotated[list[Text | TeamOfUser], Field(max_length=1_000)]


class UserFields(LimitFields):
    """What a user can be given. On an update, what is omitted stays and null clears."""

    user_email: Text | None = Field(default=None, description="No two users share one.")
    user_alias: Text | None = Field(default=None, description="A name for people.")
    user_role: Text | None = Field(
        default=None, description="proxy_admin, proxy_admin_viewer, internal_user (default) or internal_user_viewer."
    )
    models: Texts | None = Field(default=None, description="Bounds the user's keys that belong to no team.")
    metadata: JSONObject | None = Field(default=None, description="An object of your own.")
    blocked: bool | None = Field(default=None, description="All keys of a blocked user are answered with 401.")
    spend: USD | None = Field(default=None, description="What the user shall have spent; the ledger stays as it is.")
    teams: Teams | None = Field(default=None, description="The user's teams, by their ids or with role and budget.")
    # The rest is kept and shown, and has no effect yet.
    sso_user_id: Text | None = None
    object_permission: JSONObject | None = None
    policies: Texts | None = None

    def given(self, name: str) -> bool:
        """Whether the body has this field, be it null."""
        return name in self.model_fields_set

    def require_no_password(self) -> None:
        """Raise BadRequest when the body has a password: nobody signs in with one here."""
        if "password" in (self.model_extra or ()):
            raise BadRequest("'password' is not taken: users call with keys.", param="password")

    def wanted_teams(self) -> dict[str, TeamOfUser]:
        """Return the teams that the body names, by their ids."""
        named = [TeamOfUser(team_id=each) if isinstance(each, str) else each for each in self.teams or ()]
        return {each.team_id: each for each in named}

    def patched(self, before: ControlObject, *, roles: tuple[Role, ...]) -> ControlObject:
        """Return the row with what this body sets. Raises BadRequest."""
        spec = spec_as(UserSpec, before.spec)
        changes: dict[str, Any] = {"limits": self.patched_limits(spec.limits)}  # Any: each field's own type.
        if self.given("user_alias"):
            changes["alias"] = self.user_alias or ""
        if self.given("user_role"):
            changes["role"] = _role(self.user_role, roles)
        if self.given("models"):
            changes["models"] = tuple(dict.fromkeys(self.models or ()))
        if self.given("metadata"):
            changes["metadata"] = self.metadata or {}
        kept = {name: getattr(self, name) for name in self.model_fields_set & KEPT.keys()}
        other = {name: value for name, value in {**spec.other, **kept}.items() if value is not None}
        return msgspec.structs.replace(
            before,
            name=(self.user_email or "") if self.given("user_email") else before.name,
            blocked=bool(self.blocked) if self.given("blocked") else before.blocked,
            spec=spec_from(msgspec.structs.replace(spec, **changes, other=other)),
        )


KEPT: Final[dict[str, Any]] = {"sso_user_id": None, "object_permission": None, "policies": []}  # Any: JSON.
"""What is kept in `UserSpec.other`, and what is shown where a user has none of it."""


class NewUser(UserFields):
    """A new user, and the settings of the key that is made along."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"user_email": "ada@example.com", "user_role": "internal_user", "max_budget": 10}}
    )
    user_id: UserId | None = Field(default=None, description="Made when it is left out.")
    organizations: Texts | None = Field(default=None, description="Organizations to be a member of.")
    auto_create_key: bool | None = Field(default=None, description="False: make no key.")
    # Of the key.
    team_id: Text | None = None
    duration: Text | None = None
    key_alias: Text | None = None
    aliases: TextByText | None = None
    allowed_routes: Texts | None = None
    key_type: KeyType | None = None
    guardrails: Texts | None = None
    allowed_cache_controls: Texts | None = None
    config: JSONObject | None = None
    permissions: JSONObject | None = None

    def key_body(self, user_id: str) -> GenerateKey:
        """Return the request for the key that is made along."""
        names = self.model_fields_set & _OF_KEY
        return GenerateKey.model_validate({**{name: getattr(self, name) for name in names}, "user_id": user_id})


_OF_KEY: Final = frozenset(KeyFields.model_fields) & (NewUser.model_fields.keys() - UserFields.model_fields.keys())
"""Fields of the body that are the key's."""


class UpdateUser(UserFields):
    """Changes of a user, named by id or, without one, by email address."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_id": "ada", "max_budget": 20, "tpm_limit": None}})
    user_id: UserId | None = None


class BulkUpdateUsers(RequestBody):
    """Changes of up to 500 users, each applied for itself; or the same changes for all users."""

    model_config = ConfigDict(json_schema_extra={"example": {"users": [{"user_id": "ada", "max_budget": 20}]}})
    users: list[dict[str, Any]] | None = None  # Any: each is read as an `UpdateUser` for itself.
    all_users: bool | None = None
    user_updates: dict[str, Any] | None = None  # Any: as above.


class DeleteUsers(RequestBody):
    """Users to delete, with their keys and memberships. All of them or none."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_ids": ["ada"]}})
    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=100)]


def _role(asked: str | None, roles: tuple[Role, ...]) -> Role:
    if asked is None:
        return Role.INTERNAL_USER
    for role in roles:
        if asked == role:
            return role
    raise BadRequest(f"'user_role' must be one of {', '.join(roles)}, not {asked[:40]!r}.", param="user_role")
