"""Bodies of the requests that manage virtual keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, ValidationError

from tallystick.access.keys import new_key
from tallystick.admin.fields import KeyOrHash, RequestBody, Text
from tallystick.admin.keys.fields import KeyFields
from tallystick.errors import BadRequest

# As LiteLLM asks: `sk-` and at least 16 characters in all. No character that a header could not carry.
_OWN_KEY: Final = re.compile(r"sk-[A-Za-z0-9_.~+/=-]{13,500}")
KEYS_MAX: Final = 500

OwnKey = Annotated[str, Field(max_length=512)]


def plain_key(asked: str | None, *, param: str) -> str:
    """Return the key that was asked for, else a fresh one. Raises BadRequest, which does not repeat the key."""
    if asked is None:
        return new_key()
    if _OWN_KEY.fullmatch(asked) is None:
        raise BadRequest(
            f"'{param}' must start with 'sk-' and have 16 to 503 characters: letters, digits and _ . ~ + / = -",
            param=param,
        )
    return asked


class GenerateKey(KeyFields):
    """A new virtual key. Everything may be left out: such a key may call every model and never expires."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"key_alias": "ci", "models": ["gpt-4o-mini"], "max_budget": 25.0, "duration": "30d"}
        }
    )
    key: OwnKey | None = Field(default=None, description="A key of your own: sk- and at least 16 characters in all.")


class UpdateKey(KeyFields):
    """Changes of a key, named by itself, its hash, or, without `key`, its alias."""

    model_config = ConfigDict(json_schema_extra={"example": {"key": "sk-…", "max_budget": 50.0, "tpm_limit": None}})
    key: KeyOrHash | None = None


class RegenerateKey(KeyFields):
    """A new secret for a key, and changes of it, if any."""

    model_config = ConfigDict(json_schema_extra={"example": {"key": "sk-…", "grace_period": "24h"}})
    key: KeyOrHash | None = None
    new_key: OwnKey | None = Field(default=None, description="A key of your own: sk- and at least 16 characters.")
    grace_period: Text | None = Field(
        default=None, description="How long the former key stays good: 30s, 15m, 24h. Without it, it ends at once."
    )


class BulkUpdate(RequestBody):
    """Changes of up to 500 keys, each applied for itself."""

    model_config = ConfigDict(json_schema_extra={"example": {"keys": [{"key": "sk-…", "max_budget": 50.0}]}})
    keys: list[
        dict[str, Any]
    ]  # Any: each is read as an `UpdateKey` for itself, so that one wrong does not stop others.


class DeleteKeys(RequestBody):
    """Keys to delete, by themselves or their hashes, and by their aliases. All of them or none."""

    model_config = ConfigDict(json_schema_extra={"example": {"key_aliases": ["ci"]}})
    keys: Annotated[list[KeyOrHash], Field(max_length=1_000)] | None = None
    key_aliases: Annotated[list[Text], Field(max_length=1_000)] | None = None


class NameKey(RequestBody):
    """One key, by itself or its hash."""

    model_config = ConfigDict(json_schema_extra={"example": {"key": "sk-…"}})
    key: KeyOrHash


class NameKeys(RequestBody):
    """Several keys, by themselves or their hashes."""

    model_config = ConfigDict(json_schema_extra={"example": {"keys": ["sk-…"]}})
    keys: Annotated[list[KeyOrHash], Field(max_length=1_000)] | None = None


class ResetSpend(RequestBody):
    """What the key shall have spent from now on: 0, or any amount up to what it has spent."""

    model_config = ConfigDict(json_schema_extra={"example": {"reset_to": 0}})
    reset_to: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def read_update(fields: dict[str, Any]) -> UpdateKey:  # Any: as above.
    """Read one item of a bulk update. Raises BadRequest, which does not repeat what was sent."""
    try:
        return UpdateKey.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        raise BadRequest(f"'{place}' is not right: {first['msg']}.", param=place) from error
