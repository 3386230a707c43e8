"""Principals: who a key stands for, and what it may call."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from tallystick.access.keys import VirtualKey

# Under these the master key appears in events and reports; its own hash is written nowhere.
MASTER_KEY_HASH: Final = "litellm_proxy_master_key"
MASTER_KEY_ALIAS: Final = "master"

_EVERY_MODEL: Final = frozenset(("*", "all-proxy-models"))


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling. '' is an absent id, `models` empty means every model."""

    key_hash: str
    key_alias: str = ""
    user_id: str = ""
    team_id: str = ""
    organization_id: str = ""
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    is_admin: bool = False
    expires_at: datetime | None = None

    def may_call(self, model: str) -> bool:
        """Whether the key's list names the model, or a prefix of it as in `openai/*`, or every model."""
        models = self.models
        if not models or model in models:
            return True
        return any(entry in _EVERY_MODEL or (entry.endswith("*") and model.startswith(entry[:-1])) for entry in models)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def principal_of(key: VirtualKey) -> Principal:
    """Return whom a stored key stands for. Tags in its metadata count as tags of the key."""
    return Principal(
        key_hash=key.key_hash,
        key_alias=key.key_alias,
        user_id=key.user_id,
        team_id=key.team_id,
        organization_id=key.organization_id,
        models=key.models,
        tags=tuple(dict.fromkeys((*key.tags, *_tags_in(key.metadata)))),
        metadata=key.metadata,
        expires_at=key.expires_at,
    )


def master_principal() -> Principal:
    """Return whom the master key stands for: an admin who may call everything."""
    return Principal(key_hash=MASTER_KEY_HASH, key_alias=MASTER_KEY_ALIAS, is_admin=True)


def _tags_in(metadata: dict[str, Any]) -> tuple[str, ...]:
    tags = metadata.get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str) and tag) if isinstance(tags, list) else ()
