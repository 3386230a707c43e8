"""Teams and organizations, and the membership of users in them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.scopes import Correction

TEAM_ADMIN: Final = "admin"
TEAM_MEMBER: Final = "user"


class TeamSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a team's row holds besides its columns. `models` empty means every model."""

    models: tuple[str, ...] = ()
    model_aliases: dict[str, str] = {}
    """What the team calls a model, and the model group that is meant."""
    access_group_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    limits: Limits = Limits()
    member_limits: Limits = Limits()
    """For members who have none of their own."""
    member_permissions: tuple[str, ...] = ()
    """Routes that plain members may use on the team's keys, as in `/key/generate`."""
    default_member_models: tuple[str, ...] = ()
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.


class MemberSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's membership in a team (`admin` or `user`) or in an organization (`org_admin`, `internal_user` …)."""

    role: str
    limits: Limits = Limits()
    models: tuple[str, ...] = ()
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""


class OrganizationSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an organization's row holds besides its columns; its limits are those of its budget, `budget_id`.

    `models` empty means every model.
    """

    models: tuple[str, ...] = ()
    access_group_ids: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.
