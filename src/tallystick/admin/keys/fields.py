"""The settings of a virtual key in requests, and the row that they make of another."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from tallystick.access.durations import parse_duration
from tallystick.access.keys import KeySpec
from tallystick.admin.fields import JSONObject, Text
from tallystick.admin.limits import LimitFields
from tallystick.control.objects import ControlObject, spec_as, spec_from
from tallystick.errors import BadRequest

Texts = Annotated[list[Text], Field(max_length=1_000)]
KeyType = Annotated[str, Field(pattern="^(default|llm_api|management|read_only)$")]
TextByText = Annotated[dict[Text, Text], Field(max_length=1_000)]

NEVER: Final = "-1"
"""A duration that LiteLLM's clients send for a key that never expires."""


class KeyFields(LimitFields):
    """What a key can be given. On an update, what is omitted stays and null clears."""

    key_alias: Text | None = Field(default=None, description="A name for people; no two keys share one.")
    models: Texts | None = Field(
        default=None,
        description="Models that it may call; empty means all, `openai/*` a prefix.",
        examples=[["gpt-4o-mini"]],
    )
    aliases: TextByText | None = Field(default=None, description="Its own names for models: name to model group.")
    access_group_ids: Texts | None = Field(default=None, description="Access groups whose models it may call.")
    tags: Annotated[list[Text], Field(max_length=100)] | None = Field(
        default=None, description="Tags of all of its calls."
    )
    metadata: JSONObject | None = Field(
        default=None, description="An object of your own; its `tags` are tags of the key too."
    )
    user_id: Text | None = Field(default=None, description="The user to whom it belongs.")
    team_id: Text | None = Field(default=None, description="The team to which it belongs.")
    organization_id: Text | None = Field(default=None, description="The organization to which its spend is attributed.")
    budget_id: Text | None = Field(default=None, description="A budget that it shares; its spend is its own.")
    duration: Text | None = Field(
        default=None,
        description="How long it is good for, from now: 30s, 15m, 24h, 30d, 2w, 1mo. Null or -1: for ever.",
    )
    allowed_routes: Texts | None = Field(
        default=None, description="Paths that it may use, `/prefix/*`, or the group `llm_api_routes`."
    )
    key_type: KeyType | None = Field(
        default=None, description="llm_api: calls only; management: administration only; read_only: reading only."
    )
    blocked: bool | None = Field(default=None, description="A blocked key is answered with 401.")
    spend: Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)] | None = Field(
        default=None, description="What it shall have spent, in USD. Only for proxy admins; the ledger stays as it is."
    )
    # The rest is kept and shown, and has no effect yet.
    rpm_limit_type: Text | None = Field(
        default=None, description="`guaranteed_throughput` sets the limit aside from the team's."
    )
    tpm_limit_type: Text | None = Field(default=None, description="The same for tokens.")
    guardrails: Texts | None = None
    policies: Texts | None = None
    object_permission: JSONObject | None = None
    router_settings: JSONObject | None = None
    allowed_cache_controls: Texts | None = None
    allowed_passthrough_routes: Texts | None = None
    config: JSONObject | None = None
    enforced_params: Texts | None = None
    prompts: Texts | None = None
    permissions: JSONObject | None = None
    project_id: Text | None = None
    agent_id: Text | None = None
    auto_rotate: bool | None = None
    rotation_interval: Text | None = None
    soft_budget_cooldown: bool | None = None
    budget_fallbacks: JSONObject | None = None

    def given(self, name: str) -> bool:
        """Whether the body has this field, be it null."""
        return name in self.model_fields_set

    def patched(self, before: ControlObject, *, now: datetime) -> ControlObject:
        """Return the row with what this body sets. Raises BadRequest."""
        columns = {column: getattr(self, name) or "" for name, column in _COLUMNS.items() if self.given(name)}
        if self.given("blocked"):
            columns["blocked"] = bool(self.blocked)
        if self.given("duration"):
            columns["expires_at"] = self._expiry(now)
        spec = self._patched_spec(spec_as(KeySpec, before.spec))
        return msgspec.structs.replace(before, **columns, spec=spec_from(spec))

    def _expiry(self, now: datetime) -> datetime | None:
        if not self.duration or self.duration == NEVER:
            return None
        return parse_duration(self.duration).after(now)

    def _patched_spec(self, before: KeySpec) -> KeySpec:
        if (self.temp_budget_increase is None) != (self.temp_budget_expiry is None):
            raise BadRequest(
                "'temp_budget_increase' and 'temp_budget_expiry' belong together: send both, or null for both.",
                param="temp_budget_expiry" if self.temp_budget_expiry is None else "temp_budget_increase",
            )
        changes: dict[str, Any] = {"limits": self.patched_limits(before.limits)}  # Any: each field's own type.
        for name in ("models", "access_group_ids", "tags", "allowed_routes"):
            if self.given(name):
                changes[name] = tuple(dict.fromkeys(getattr(self, name) or ()))
        for name in ("aliases", "metadata"):
            if self.given(name):
                changes[name] = getattr(self, name) or {}
        if self.given("key_type"):
            changes["key_type"] = "" if self.key_type in {None, "default"} else self.key_type
        other = dict(before.other)
        for name in self.model_fields_set & KEPT.keys():
            value = getattr(self, name)
            if value is None:
                other.pop(name, None)
            else:
                other[name] = value
        return msgspec.structs.replace(before, **changes, other=other)


KEPT: Final[dict[str, Any]] = {  # Any: JSON.
    "rpm_limit_type": None,
    "tpm_limit_type": None,
    "guardrails": [],
    "policies": [],
    "object_permission": None,
    "router_settings": {},
    "allowed_cache_controls": [],
    "allowed_passthrough_routes": [],
    "config": {},
    "enforced_params": [],
    "prompts": [],
    "permissions": {},
    "project_id": None,
    "agent_id": None,
    "auto_rotate": False,
    "rotation_interval": None,
    "soft_budget_cooldown": False,
    "budget_fallbacks": {},
}
"""What is kept in `KeySpec.other`, and what is shown where a key has none of it."""

_COLUMNS: Final = {
    "key_alias": "name",
    "user_id": "user_id",
    "team_id": "team_id",
    "organization_id": "organization_id",
    "budget_id": "budget_id",
}
