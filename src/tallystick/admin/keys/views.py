"""Virtual keys as LiteLLM's API shows them. The key itself appears in the answer that makes it, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tallystick.access.keys import KeySpec
from tallystick.access.limits import Limits
from tallystick.access.principal import Principal
from tallystick.admin.keys.fields import KEPT
from tallystick.admin.limits import shown_limits, usd
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.control.objects import ControlObject, Kind, spec_as
from tallystick.control.secret_fields import masked


def key_fields(
    key: ControlObject, *, spent: ObjectSpend, present: Present, budget: ControlObject | None = None
) -> dict[str, Any]:  # Any: JSON.
    """Return what may be shown of a key. Ids that are absent, and limits that it has not, are null."""
    spec = spec_as(KeySpec, masked(key.kind, key.object_id, key.spec))
    return {
        "key_name": spec.key_name,
        "key_alias": key.name or None,
        "user_id": key.user_id or None,
        "team_id": key.team_id or None,
        "organization_id": key.organization_id or None,
        "models": spec.models,
        "aliases": spec.aliases,
        "access_group_ids": spec.access_group_ids,
        "tags": spec.tags,
        "metadata": spec.metadata,
        "spend": usd(spent.nano_usd),
        **shown_limits(spec.limits, present=present, spent=spent),
        "budget_id": key.budget_id or None,
        "litellm_budget_table": budget_table(budget, present=present, spent=spent),
        "allowed_routes": spec.allowed_routes,
        "key_type": spec.key_type or None,
        "blocked": key.blocked,
        "expires": text_of(key.expires_at),
        "created_at": text_of(key.created_at),
        "created_by": key.created_by or None,
        "updated_at": text_of(key.updated_at),
        "updated_by": key.updated_by or None,
        "deleted_at": text_of(key.deleted_at),
        "deleted_by": key.deleted_by or None,
        **_kept(spec.other),
    }


def listed_key(
    key: ControlObject, *, spent: ObjectSpend, present: Present, budget: ControlObject | None = None
) -> dict[str, Any]:  # Any: JSON.
    """Return a key as lists show it: with its hash, under the names that LiteLLM has for it."""
    fields = key_fields(key, spent=spent, present=present, budget=budget)
    return {"token": key.object_id, "token_id": key.object_id, **fields}


def principal_fields(caller: Principal, *, spent: ObjectSpend, present: Present) -> dict[str, Any]:  # Any: JSON.
    """Return what the holder of the master key sees of itself: it is in no table."""
    row = ControlObject(
        kind=Kind.KEY,
        object_id=caller.key_hash,
        name=caller.key_alias,
        created_at=present.now,
        updated_at=present.now,
    )
    shown = key_fields(row, spent=spent, present=present)
    return {**shown, "key_name": None, "created_at": None, "updated_at": None}


def budget_table(
    budget: ControlObject | None, *, present: Present, spent: ObjectSpend
) -> dict[str, Any] | None:  # Any: JSON.
    """Return a shared budget beside who refers to it; null when there is none."""
    if budget is None:
        return None
    limits = msgspec.convert(budget.spec.get("limits", {}), Limits)
    return {
        "budget_id": budget.object_id,
        **shown_limits(limits, present=present, spent=spent),
        "created_at": text_of(budget.created_at),
    }


def _kept(other: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON.
    return {name: other.get(name, absent) for name, absent in KEPT.items()}
