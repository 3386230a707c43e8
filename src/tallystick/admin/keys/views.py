"""Virtual keys as LiteLLM's API shows them. The key itself appears in the answer that makes it, and nowhere else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tallystick.access.keys import VirtualKey
from tallystick.access.principal import Principal
from tallystick.pricing.price import NANO_USD_PER_USD


def usd(nano_usd: int) -> float:
    """Return an amount as a number to be shown. Divided once, so it is the nearest number there is."""
    return nano_usd / NANO_USD_PER_USD


def key_fields(key: VirtualKey, *, spend_nano_usd: int) -> dict[str, Any]:  # Any: JSON.
    """Return what may be shown of a key. Ids that are absent, and limits that it has not, are null."""
    return {
        **_shared(key.key_alias, key.user_id, key.team_id, key.organization_id, spend_nano_usd),
        "key_name": key.key_name,
        "models": key.models,
        "tags": key.tags,
        "metadata": key.metadata,
        "blocked": key.blocked,
        "expires": _text_of(key.expires_at),
        "created_at": _text_of(key.created_at),
        "updated_at": _text_of(key.updated_at),
        "created_by": key.created_by or None,
    }


def listed_key(key: VirtualKey, *, spend_nano_usd: int) -> dict[str, Any]:  # Any: JSON.
    """Return a key as lists show it: with its hash, under the name that LiteLLM has for it."""
    return {"token": key.key_hash, **key_fields(key, spend_nano_usd=spend_nano_usd)}


def principal_fields(caller: Principal, *, spend_nano_usd: int) -> dict[str, Any]:  # Any: JSON.
    """Return what the holder of the master key sees of itself: it is in no table."""
    return {
        **_shared(caller.key_alias, caller.user_id, caller.team_id, caller.organization_id, spend_nano_usd),
        "key_name": None,
        "models": caller.models,
        "tags": caller.tags,
        "metadata": caller.metadata,
        "blocked": False,
        "expires": None,
        "created_at": None,
        "updated_at": None,
        "created_by": None,
    }


def _shared(
    key_alias: str, user_id: str, team_id: str, organization_id: str, spend_nano_usd: int
) -> dict[str, Any]:  # Any: JSON.
    return {
        "key_alias": key_alias or None,
        "user_id": user_id or None,
        "team_id": team_id or None,
        "organization_id": organization_id or None,
        "spend": usd(spend_nano_usd),
        "max_budget": None,
        "budget_duration": None,
        "budget_reset_at": None,
        "budget_id": None,
        "litellm_budget_table": None,
        "tpm_limit": None,
        "rpm_limit": None,
    }


def _text_of(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
