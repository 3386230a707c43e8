"""Budgets and rate limits as control objects carry them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from tallystick.pricing.money import round_usd_to_nano, to_decimal


class WindowLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A budget over one window beside others of the same object."""

    budget_duration: str
    max_budget_nano_usd: int


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None does not limit."""

    max_budget_nano_usd: int | None = None
    soft_budget_nano_usd: int | None = None
    """Tells when it is passed, and denies nothing."""
    budget_duration: str = ""
    """Length of the budget's window, as in `30d`; '' never resets."""
    budget_limits: tuple[WindowLimit, ...] = ()
    model_max_budget: dict[str, Any] = {}  # Any: LiteLLM's own shape by model, {"budget_limit", "time_period"}.
    temp_budget_increase_nano_usd: int | None = None
    temp_budget_expiry: datetime | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tpd_limit: int | None = None
    max_parallel_requests: int | None = None
    model_tpm_limit: dict[str, int] = {}
    model_rpm_limit: dict[str, int] = {}


def with_shared(own: Limits, shared: Limits) -> Limits:
    """Return an object's limits where it also refers to a budget row: its own, and the row's where it has none.

    Field by field, as in LiteLLM: who has an own amount but no own duration resets with the row.
    """
    given = {
        name: shown
        for name in _FIELDS
        if getattr(own, name) == getattr(_NONE, name) and (shown := getattr(shared, name)) != getattr(_NONE, name)
    }
    return msgspec.structs.replace(own, **given) if given else own


def member_limits(own: Limits, defaults: Limits) -> Limits:
    """Return the limits that hold for a member: its own, and the team's defaults where it has none.

    A budget and its window go together: who has an own budget does not take over the window of the team's.
    """
    given: dict[str, Any] = {  # Any: each field's own type.
        field: getattr(defaults, field) for field in ("tpm_limit", "rpm_limit") if getattr(own, field) is None
    }
    if own.max_budget_nano_usd is None:
        given["max_budget_nano_usd"] = defaults.max_budget_nano_usd
        given["budget_duration"] = own.budget_duration or defaults.budget_duration
    return msgspec.structs.replace(own, **given)


def amount_nano_usd(usd: Any) -> int:  # Any: JSON.
    """Return an amount of USD, a number or a text. Raises ValueError for what is none, or below 0."""
    if not isinstance(usd, int | float | str):
        raise ValueError("the amount must be a number of USD, or a text that is one")  # noqa: TRY004 - a wrong value.
    if not 0 <= to_decimal(usd) <= _USD_MAX:
        raise ValueError(f"the amount must be from 0 to {_USD_MAX:,} USD")
    return round_usd_to_nano(usd)


_NONE: Final = Limits()
_FIELDS: Final = Limits.__struct_fields__
_USD_MAX: Final = 1_000_000_000
