"""Principals: who a key stands for, and what it may call and do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from tallystick.access.keys import KeySpec
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.access.users import Role, UserSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as

# Under these the master key appears in events and reports; its own hash is written nowhere.
MASTER_KEY_HASH: Final = "litellm_proxy_master_key"
MASTER_KEY_ALIAS: Final = "master"


class ModelLists(msgspec.Struct, frozen=True, kw_only=True):
    """The lists of models that hold for a call, each a bound: empty means every model. See `model_access`."""

    key: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    """Only for keys without a team."""
    member: tuple[str, ...] = ()
    """Of the user's membership in the team."""
    team: tuple[str, ...] = ()
    organization: tuple[str, ...] = ()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling. '' is an absent id."""

    key_hash: str
    key_alias: str = ""
    user_id: str = ""
    team_id: str = ""
    organization_id: str = ""
    role: Role = Role.INTERNAL_USER
    models: ModelLists = ModelLists()
    model_aliases: dict[str, str] = {}
    """What this caller calls a model, and the model group that is meant; the key's go before the team's."""
    team_aliases: dict[str, str] = {}
    """Those of them that the team has."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    allowed_routes: tuple[str, ...] = ()
    key_type: str = ""
    expires_at: datetime | None = None
    refusal: str = ""
    """Why the key can't be used now ('' when it can): it, its team or its user is blocked or gone."""
    depends_on: tuple[ObjectRef, ...] = ()
    """The objects that made it: when one changes, it is resolved anew."""

    @property
    def is_admin(self) -> bool:
        return self.role == Role.PROXY_ADMIN

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def principal_of(found: Sequence[ControlObject]) -> Principal:
    """Return whom a key stands for, from what `ControlStore.find_key` returned for it."""
    by_kind = {each.kind: each for each in found}
    row = by_kind[Kind.KEY]
    key = spec_as(KeySpec, row.spec)
    team_row, user_row, organization_row = (by_kind.get(kind) for kind in (Kind.TEAM, Kind.USER, Kind.ORGANIZATION))
    team = spec_as(TeamSpec, team_row.spec) if team_row else TeamSpec()
    user = spec_as(UserSpec, user_row.spec) if user_row else UserSpec()
    organization = spec_as(OrganizationSpec, organization_row.spec) if organization_row else OrganizationSpec()
    member_row = by_kind.get(Kind.TEAM_MEMBER)
    member_models = spec_as(MemberSpec, member_row.spec).models if member_row else ()
    retired = by_kind.get(Kind.RETIRED_KEY)
    return Principal(
        key_hash=row.object_id,
        key_alias=row.name,
        user_id=row.user_id,
        team_id=row.team_id,
        organization_id=_organization_of(row, team_row),
        role=user.role,
        models=ModelLists(
            key=(*key.models, *key.access_group_ids),
            user=() if row.team_id else user.models,
            member=(member_models or team.default_member_models) if row.user_id else (),
            team=(*team.models, *team.access_group_ids),
            organization=(*organization.models, *organization.access_group_ids),
        ),
        model_aliases={**team.model_aliases, **key.aliases} if team.model_aliases else key.aliases,
        team_aliases=team.model_aliases,
        tags=tuple(dict.fromkeys((*key.tags, *_tags_in(key.metadata), *team.tags, *_tags_in(team.metadata)))),
        metadata=key.metadata,
        allowed_routes=key.allowed_routes,
        key_type=key.key_type,
        expires_at=min((each.expires_at for each in (row, retired) if each and each.expires_at), default=None),
        refusal=_refusal(row, team_row, user_row),
        depends_on=_dependencies(found, row, team_row),
    )


def master_principal() -> Principal:
    """Return whom the master key stands for: an admin who may call everything."""
    return Principal(key_hash=MASTER_KEY_HASH, key_alias=MASTER_KEY_ALIAS, role=Role.PROXY_ADMIN)


def _refusal(key: ControlObject, team: ControlObject | None, user: ControlObject | None) -> str:
    if key.blocked:
        return "Key is blocked. An admin can unblock it with /key/unblock."
    if key.team_id and team is None:
        return f"The key's team '{key.team_id}' does not exist any more."
    if team is not None and team.blocked:
        return f"Team '{team.object_id}' is blocked. An admin can unblock it with /team/unblock."
    if user is not None and user.blocked:
        return f"User '{user.object_id}' is blocked."
    return ""


def _organization_of(key: ControlObject, team: ControlObject | None) -> str:
    """The team's goes first: a team that moves to another organization takes its keys along."""
    return (team.organization_id if team else "") or key.organization_id


def _dependencies(
    found: Sequence[ControlObject], key: ControlObject, team: ControlObject | None
) -> tuple[ObjectRef, ...]:
    """Name what was read, and what was not there: a user or a team that is made later matters too."""
    organization_id = _organization_of(key, team)
    named = [
        ObjectRef(kind, object_id)
        for kind, object_id in (
            (Kind.TEAM, key.team_id),
            (Kind.USER, key.user_id),
            (Kind.ORGANIZATION, organization_id),
            (Kind.TEAM_MEMBER, member_id(key.team_id, key.user_id) if key.team_id and key.user_id else ""),
        )
        if object_id
    ]
    return tuple(dict.fromkeys((*(each.ref for each in found), *named)))


def _tags_in(metadata: dict[str, Any]) -> tuple[str, ...]:  # Any: as above.
    tags = metadata.get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str) and tag) if isinstance(tags, list) else ()
