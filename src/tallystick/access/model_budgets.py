"""Budgets by model, in the shapes that LiteLLM takes for `model_max_budget`.

    {"gpt-4o": {"budget_limit": 1.0, "time_period": "1d"}, "o3": {"max_budget": "0.5", "budget_duration": "30d"}}

An amount alone is a budget that never resets. `rpm_limit` and `tpm_limit` may stand beside the amount, or instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tallystick.access.durations import parse_duration
from tallystick.access.limits import amount_nano_usd
from tallystick.errors import BadRequest

_COUNT_MAX: Final = 2**53
_AMOUNTS: Final = ("budget_limit", "max_budget")
_DURATIONS: Final = ("time_period", "budget_duration")
_RATES: Final = ("rpm_limit", "tpm_limit")


class ModelBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What is spent on one model group at most."""

    limit_nano_usd: int | None = None
    duration: str = ""
    rpm_limit: int | None = None
    tpm_limit: int | None = None


def read_model_budgets(given: Mapping[str, Any]) -> tuple[dict[str, ModelBudget], dict[str, str]]:  # Any: JSON.
    """Return the budgets by model, and what can't be read with the reason, by its place."""
    budgets: dict[str, ModelBudget] = {}
    unreadable: dict[str, str] = {}
    for model, value in given.items():
        try:
            budgets[model] = _model_budget(value)
        except ValueError as error:
            unreadable[f"model_max_budget[{model}]"] = str(error)
    return budgets, unreadable


def _model_budget(value: Any) -> ModelBudget:  # Any: JSON.
    if not isinstance(value, dict):
        return ModelBudget(limit_nano_usd=amount_nano_usd(value))
    amount, duration = _first(value, _AMOUNTS), _first(value, _DURATIONS)
    rates = {name: _count(name, value[name]) for name in _RATES if value.get(name) is not None}
    if amount is None and not rates:
        raise ValueError('it must have \'budget_limit\', as in {"budget_limit": 1.0, "time_period": "1d"}')
    return ModelBudget(
        limit_nano_usd=None if amount is None else amount_nano_usd(amount), duration=_duration(duration), **rates
    )


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # Any: JSON.
    return next((value[name] for name in names if value.get(name) is not None), None)


def _duration(text: Any) -> str:  # Any: JSON.
    if text is None or text == "":
        return ""
    if not isinstance(text, str):
        raise ValueError("'time_period' must be a text such as '30d' or '1mo'")  # noqa: TRY004 - a wrong value.
    try:
        parse_duration(text, param="time_period")
    except BadRequest as error:
        raise ValueError(error.message) from error
    return text.strip()


def _count(name: str, value: Any) -> int:  # Any: JSON.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT_MAX:
        raise ValueError(f"'{name}' must be a whole number, at least 0")
    return value
