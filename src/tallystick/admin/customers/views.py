"""Customers as LiteLLM's API shows them."""

from __future__ import annotations

from typing import Any

from tallystick.access.customers import CustomerSpec
from tallystick.admin.budget_fields import shown_budget
from tallystick.admin.first_seen import NEVER
from tallystick.admin.limits import usd
from tallystick.admin.masked import shown_spec
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.control.objects import ControlObject


def shown_customer(
    customer: ControlObject, budget: ControlObject | None, *, spent: ObjectSpend, present: Present
) -> dict[str, Any]:  # Any: JSON.
    """Return a customer with its spend and its budget. Times are null for one that only the ledger knows."""
    spec = shown_spec(CustomerSpec, customer)
    made = customer.created_at != NEVER
    return {
        "user_id": customer.object_id,
        "alias": customer.name or None,
        "blocked": customer.blocked,
        "spend": usd(spent.nano_usd),
        "allowed_model_region": spec.allowed_model_region or None,
        "default_model": spec.default_model or None,
        "models": spec.models,
        "metadata": spec.metadata,
        "budget_id": customer.budget_id or None,
        "litellm_budget_table": None if budget is None else shown_budget(budget, present=present, spent=spent),
        "object_permission": None,
        **spec.other,
        "created_at": text_of(customer.created_at) if made else None,
        "updated_at": text_of(customer.updated_at) if made else None,
    }
