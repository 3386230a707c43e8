"""Budgets and rate limits in requests and answers: dollars outside, nano-USD inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field

from tallystick.access.durations import parse_duration
from tallystick.access.limits import Limits, WindowLimit
from tallystick.access.model_budgets import read_model_budgets
from tallystick.admin.fields import JSONObject, RequestBody, Text
from tallystick.admin.moments import parse_moment
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.errors import BadRequest
from tallystick.pricing.money import round_usd_to_nano
from tallystick.pricing.price import NANO_USD_PER_USD

_USD_MAX: Final = 1_000_000_000
_COUNT_MAX: Final = 2**53

USD = Annotated[float, Field(ge=0, le=_USD_MAX, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
CountByModel = Annotated[dict[Text, Count], Field(max_length=1_000)]


def _duration(text: str) -> str:
    if text:
        try:
            parse_duration(text)
        except BadRequest as error:
            raise ValueError(error.message) from error
    return text


def _model_budgets(given: dict[str, Any]) -> dict[str, Any]:  # Any: JSON.
    for place, reason in read_model_budgets(given)[1].items():
        raise ValueError(f"{place}: {reason}")
    return given


ModelBudgets = Annotated[JSONObject, AfterValidator(_model_budgets)]
DurationText = Annotated[Text, AfterValidator(_duration)]


class WindowLimitBody(RequestBody):
    """A budget over one window."""

    budget_duration: DurationText
    max_budget: USD


class SpendField(RequestBody):
    """What an admin says was spent."""

    spend: USD | None = Field(default=None, description="USD that it shall have spent. Only for proxy admins.")


class LimitFields(RequestBody):
    """The limits that keys, teams, users, members, organizations, customers, tags and budgets share."""

    max_budget: USD | None = Field(default=None, description="USD that may be spent in a window.", examples=[25.0])
    soft_budget: USD | None = Field(default=None, description="USD above which a warning is sent.")
    budget_duration: DurationText | None = Field(
        default=None, description="Length of the window: 30s, 15m, 24h, 7d, 30d, 1mo. Null never resets."
    )
    budget_limits: Annotated[list[WindowLimitBody], Field(max_length=20)] | None = Field(
        default=None, description="Further budgets, each over its own window."
    )
    model_max_budget: ModelBudgets | None = Field(
        default=None,
        description="Budgets by model.",
        examples=[{"gpt-4o": {"budget_limit": 1.0, "time_period": "1d"}}],
    )
    tpm_limit: Count | None = Field(default=None, description="Tokens a minute.")
    rpm_limit: Count | None = Field(default=None, description="Requests a minute.")
    tpd_limit: Count | None = Field(default=None, description="Tokens a day.")
    max_parallel_requests: Count | None = Field(default=None, description="Calls at the same time.")
    model_tpm_limit: CountByModel | None = Field(default=None, description="Tokens a minute, by model.")
    model_rpm_limit: CountByModel | None = Field(default=None, description="Requests a minute, by model.")
    temp_budget_increase: USD | None = Field(default=None, description="USD on top of `max_budget` for a time.")
    temp_budget_expiry: Text | None = Field(default=None, description="Until when, as a date or an ISO 8601 time.")

    def patched_limits(self, before: Limits) -> Limits:
        """Return the limits with what this body sets: what is omitted stays, null clears."""
        given: dict[str, Any] = {}  # Any: each field's own type.
        for name in self.model_fields_set & _READERS.keys():
            value = getattr(self, name)
            field, read = _READERS[name]
            given[field] = _DEFAULTS[field] if value is None else read(value)
        return msgspec.structs.replace(before, **given)


def nano_usd(usd: float) -> int:
    """Return an amount in nano-USD: a JSON number is read by its shortest text."""
    return round_usd_to_nano(usd)


def usd(amount: int | None) -> float | None:
    """Return an amount as a number to be shown, divided once; null when there is none."""
    return None if amount is None else amount / NANO_USD_PER_USD


def shown_limits(limits: Limits, *, present: Present, spent: ObjectSpend | None = None) -> dict[str, Any]:  # Any: JSON.
    """Return the limits under LiteLLM's names. What is not limited is null; each window tells what is `spent` in it."""
    return {
        "max_budget": usd(limits.max_budget_nano_usd),
        "soft_budget": usd(limits.soft_budget_nano_usd),
        "budget_duration": limits.budget_duration or None,
        "budget_reset_at": present.reset_at(limits.budget_duration),
        "budget_limits": [_shown_window(each, present, spent) for each in limits.budget_limits] or None,
        "model_max_budget": limits.model_max_budget,
        "tpm_limit": limits.tpm_limit,
        "rpm_limit": limits.rpm_limit,
        "tpd_limit": limits.tpd_limit,
        "max_parallel_requests": limits.max_parallel_requests,
        "model_tpm_limit": limits.model_tpm_limit or None,
        "model_rpm_limit": limits.model_rpm_limit or None,
        "temp_budget_increase": usd(limits.temp_budget_increase_nano_usd),
        "temp_budget_expiry": text_of(limits.temp_budget_expiry),
    }


def _shown_window(limit: WindowLimit, present: Present, spent: ObjectSpend | None) -> dict[str, Any]:  # Any: JSON.
    shown: dict[str, Any] = {  # Any: JSON.
        "budget_duration": limit.budget_duration,
        "max_budget": usd(limit.max_budget_nano_usd),
        "reset_at": present.reset_at(limit.budget_duration),
    }
    if spent is not None:
        in_window = spent.in_window(limit.budget_duration)
        shown |= {"spend": usd(in_window), "left": usd(max(0, limit.max_budget_nano_usd - in_window))}
    return shown


def _windows(bodies: list[WindowLimitBody]) -> tuple[WindowLimit, ...]:
    return tuple(
        WindowLimit(budget_duration=body.budget_duration, max_budget_nano_usd=nano_usd(body.max_budget))
        for body in bodies
    )


def _expiry(text: str) -> datetime | None:
    return parse_moment(text, param="temp_budget_expiry")


def _same(value: Any) -> Any:  # Any: checked by the body's own type.
    return value


_DEFAULTS: Final[Mapping[str, Any]] = msgspec.structs.asdict(Limits())  # Any: each field's own type.
_READERS: Final[Mapping[str, tuple[str, Any]]] = {  # Any: functions of each field's own type.
    "max_budget": ("max_budget_nano_usd", nano_usd),
    "soft_budget": ("soft_budget_nano_usd", nano_usd),
    "budget_duration": ("budget_duration", str),
    "budget_limits": ("budget_limits", _windows),
    "model_max_budget": ("model_max_budget", dict),
    "tpm_limit": ("tpm_limit", _same),
    "rpm_limit": ("rpm_limit", _same),
    "tpd_limit": ("tpd_limit", _same),
    "max_parallel_requests": ("max_parallel_requests", _same),
    "model_tpm_limit": ("model_tpm_limit", dict),
    "model_rpm_limit": ("model_rpm_limit", dict),
    "temp_budget_increase": ("temp_budget_increase_nano_usd", nano_usd),
    "temp_budget_expiry": ("temp_budget_expiry", _expiry),
}
