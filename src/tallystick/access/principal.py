"""Principals: who a key stands for, and what it may call and do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from tallystick.access.key_rows import KeyRows, key_rows
from tallystick.access.limits import Limits
from tallystick.access.principal_limits import principal_limits, session_budget_of
from tallystick.access.scoped_limits import ScopedLimits
from tallystick.access.users import Role
from tallystick.control.objects import ControlObject, ObjectRef

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
    limits: tuple[ScopedLimits, ...] = ()
    """Those of the key and of all that it belongs to; `call_limits` adds what a call brings with it."""
    member_limits: Limits = Limits()
    """What the team gives members who have no limits of their own, for a user whom a call names."""
    session_budget_nano_usd: int | None = None
    """What each session of the key may cost, where its metadata or its team's says so."""
    depends_on: tuple[ObjectRef, ...] = ()
    """The objects that made it: when one changes, it is resolved anew."""

    @property
    def is_admin(self) -> bool:
        return self.role == Role.PROXY_ADMIN

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def principal_of(found: Sequence[ControlObject], *, user_budget_holds_in_teams: bool = False) -> Principal:
    """Return whom a key stands for, from what `ControlStore.find_key` returned for it."""
    rows = key_rows(found)
    row, key, team, user, organization = rows.key_row, rows.key, rows.team, rows.user, rows.organization
    return Principal(
        key_hash=row.object_id,
        key_alias=row.name,
        user_id=row.user_id,
        team_id=row.team_id,
        organization_id=rows.organization_id,
        role=user.role,
        models=ModelLists(
            key=(*key.models, *key.access_group_ids),
            user=() if row.team_id else user.models,
            member=(rows.member.models or team.default_member_models) if row.user_id else (),
            team=(*team.models, *team.access_group_ids),
            organization=(*organization.models, *organization.access_group_ids),
        ),
        model_aliases={**team.model_aliases, **key.aliases} if team.model_aliases else key.aliases,
        team_aliases=team.model_aliases,
        tags=tuple(dict.fromkeys((*key.tags, *_tags_in(key.metadata), *team.tags, *_tags_in(team.metadata)))),
        metadata=key.metadata,
        allowed_routes=key.allowed_routes,
        key_type=key.key_type,
        expires_at=min((each.expires_at for each in (row, rows.retired_row) if each and each.expires_at), default=None),
        refusal=_refusal(rows),
        limits=principal_limits(rows, user_budget_holds_in_teams=user_budget_holds_in_teams),
        member_limits=team.member_limits,
        session_budget_nano_usd=session_budget_of(rows),
        depends_on=rows.depends_on(),
    )


def master_principal() -> Principal:
    """Return whom the master key stands for: an admin who may call everything."""
    return Principal(key_hash=MASTER_KEY_HASH, key_alias=MASTER_KEY_ALIAS, role=Role.PROXY_ADMIN)


def _refusal(rows: KeyRows) -> str:
    key, team, user = rows.key_row, rows.team_row, rows.user_row
    if key.blocked:
        return "Key is blocked. An admin can unblock it with /key/unblock."
    if key.team_id and team is None:
        return f"The key's team '{key.team_id}' does not exist any more."
    if team is not None and team.blocked:
        return f"Team '{team.object_id}' is blocked. An admin can unblock it with /team/unblock."
    if user is not None and user.blocked:
        return f"User '{user.object_id}' is blocked."
    return ""


def _tags_in(metadata: dict[str, Any]) -> tuple[str, ...]:  # Any: as above.
    tags = metadata.get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str) and tag) if isinstance(tags, list) else ()
