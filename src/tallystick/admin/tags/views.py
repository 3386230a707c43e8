"""Tags as LiteLLM's API shows them."""

from __future__ import annotations

from typing import Any

from tallystick.access.tags import TagSpec
from tallystick.admin.budget_fields import shown_held_budget
from tallystick.admin.first_seen import NEVER
from tallystick.admin.limits import usd
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.control.objects import ControlObject, spec_as


def shown_tag(
    tag: ControlObject, budget: ControlObject | None, *, spent: ObjectSpend, present: Present
) -> dict[str, Any]:  # Any: JSON.
    """Return a tag with its spend and its budget. Times are null for one that only the ledger knows."""
    spec = spec_as(TagSpec, tag.spec)
    made = tag.created_at != NEVER
    return {
        "name": tag.object_id,
        "description": spec.description or None,
        "models": spec.models,
        "model_info": None,
        "spend": usd(spent.nano_usd),
        **shown_held_budget(budget, present=present, spent=spent),
        **spec.other,
        "created_at": text_of(tag.created_at) if made else None,
        "created_by": tag.created_by or None,
        "updated_at": text_of(tag.updated_at) if made else None,
    }
