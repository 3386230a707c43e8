"""Customers: the end users of those who hold keys, named in each call."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.access.scopes import Correction
from tallystick.control.objects import ControlObject


class CustomerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a customer's row holds besides its columns; its limits are those of its budget, `budget_id`."""

    allowed_model_region: str = ""
    """`eu` or `us`; '' allows every region."""
    default_model: str = ""
    models: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.


def customer_refusal(customer: ControlObject | None) -> str:
    """Return why calls for this customer are refused, '' when they are not: also for one who was never seen."""
    if customer is None or not customer.blocked:
        return ""
    return f"Customer '{customer.object_id}' is blocked. An admin can unblock it with /customer/unblock."
