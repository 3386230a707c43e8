"""Internal users: people who own keys, and their roles."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.scopes import Correction


class Role(StrEnum):
    """What a user may do in the whole gateway. Roles in a team or an organization belong to the membership."""

    PROXY_ADMIN = "proxy_admin"
    PROXY_ADMIN_VIEWER = "proxy_admin_viewer"
    ORG_ADMIN = "org_admin"
    INTERNAL_USER = "internal_user"
    INTERNAL_USER_VIEWER = "internal_user_viewer"


class UserSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user's row holds besides its columns. `models` empty means every model."""

    alias: str = ""
    role: Role = Role.INTERNAL_USER
    models: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    limits: Limits = Limits()
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.
