"""Bodies of the requests that manage virtual keys."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from tallystick.access.durations import parse_duration
from tallystick.access.keys import VirtualKey, hash_key, mask_key, new_key
from tallystick.admin.fields import JSONObject, KeyOrHash, RequestBody, Text
from tallystick.errors import BadRequest

# As LiteLLM asks: `sk-` and at least 16 characters in all. No character that a header could not carry.
_OWN_KEY: Final = re.compile(r"sk-[A-Za-z0-9_.~+/=-]{13,500}")


class GenerateKey(RequestBody):
    """A new virtual key. Everything may be left out: such a key may call every model and never expires."""

    key_alias: Text | None = Field(default=None, description="A name for people; no two keys share one.")
    models: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None,
        description="Models that it may call; empty means all, `openai/*` a prefix.",
        examples=[["gpt-4o-mini"]],
    )
    user_id: Text | None = Field(default=None, description="The user to whom its spend is attributed.")
    team_id: Text | None = Field(default=None, description="The team to which its spend is attributed.")
    organization_id: Text | None = Field(default=None, description="The organization to which its spend is attributed.")
    tags: Annotated[list[Text], Field(max_length=100)] | None = Field(
        default=None, description="Tags of all of its calls."
    )
    metadata: JSONObject | None = Field(
        default=None, description="An object of your own; its `tags` are tags of the key too."
    )
    duration: Text | None = Field(default=None, description="How long it is good for: 30s, 15m, 24h, 30d, 2w, 1mo.")
    key: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="A key of your own: sk- and at least 16 characters in all."
    )
    blocked: bool | None = Field(default=None, description="Make it blocked, to be unblocked later.")

    def plain_key(self) -> str:
        """Return the key that was asked for, else a fresh one. Raises BadRequest, which does not repeat the key."""
        if self.key is None:
            return new_key()
        if _OWN_KEY.fullmatch(self.key) is None:
            raise BadRequest(
                "'key' must start with 'sk-' and have 16 to 503 characters: letters, digits and _ . ~ + / = -",
                param="key",
            )
        return self.key

    def virtual_key(self, plain_key: str, *, now: datetime, created_by: str) -> VirtualKey:
        """Return the key as the store will hold it."""
        expires_at = None if self.duration is None else parse_duration(self.duration, param="duration").after(now)
        return VirtualKey(
            key_hash=hash_key(plain_key),
            key_name=mask_key(plain_key),
            created_at=now,
            updated_at=now,
            created_by=created_by,
            key_alias=self.key_alias or "",
            user_id=self.user_id or "",
            team_id=self.team_id or "",
            organization_id=self.organization_id or "",
            models=tuple(self.models or ()),
            tags=tuple(dict.fromkeys(self.tags or ())),
            metadata=self.metadata or {},
            blocked=bool(self.blocked),
            expires_at=expires_at,
        )


class DeleteKeys(RequestBody):
    """Keys to delete, by themselves or their hashes, and by their aliases. All of them or none."""

    keys: Annotated[list[KeyOrHash], Field(max_length=1_000)] | None = None
    key_aliases: Annotated[list[Text], Field(max_length=1_000)] | None = None


class NameKey(RequestBody):
    """One key, by itself or its hash."""

    key: KeyOrHash
