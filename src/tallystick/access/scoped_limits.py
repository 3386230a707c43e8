"""Scoped limits: the budgets and rate limits of one scope, as admission sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import structlog

from tallystick.access.limits import Limits, with_shared
from tallystick.access.model_budgets import ModelBudget, read_model_budgets
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Budget, Correction, Scope

log = structlog.get_logger(__name__)


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of one scope, or of one model group in it. None does not limit; one of these always does."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    parallel_requests: int | None = None


class ScopedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the calls that count in a scope."""

    scope: Scope
    """Of all its models: its `model` is ''."""
    budgets: tuple[Budget, ...] = ()
    model_budgets: Mapping[str, tuple[Budget, ...]] = {}
    """By model group, on top of `budgets`."""
    rates: RateLimits | None = None
    model_rates: Mapping[str, RateLimits] = {}
    """By model group, on top of `rates`."""
    unreadable: Mapping[str, str] = {}
    """What is stored and holds for nothing: field, and why it can't be read."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is limited."""
        return not (self.budgets or self.model_budgets or self.rates or self.model_rates)


def limits_of(
    scope: Scope,
    limits: Limits,
    *,
    shared: Limits | None = None,
    corrections: Sequence[Correction] = (),
    entity_ids: tuple[str, ...] = (),
) -> ScopedLimits:
    """Return what an object's limits mean for its scope. `shared` are those of the budget row that it refers to.

    Corrections are of the scope as a whole: budgets by model count the events alone.
    """
    if shared is not None:
        limits = with_shared(limits, shared)
    models, unreadable = read_model_budgets(limits.model_max_budget)
    return ScopedLimits(
        scope=scope,
        budgets=tuple(_budgets(scope, limits, corrections=tuple(corrections), entity_ids=entity_ids)),
        model_budgets={
            model: (
                Budget(
                    scope=scope._replace(model=model),
                    limit_nano_usd=each.limit_nano_usd,
                    duration=each.duration,
                    entity_ids=entity_ids,
                ),
            )
            for model, each in models.items()
            if each.limit_nano_usd is not None
        },
        rates=_rates(limits),
        model_rates=_model_rates(limits, models),
        unreadable=unreadable,
    )


def corrections_of(spend_adjustment_nano_usd: int, spend_corrections: Sequence[Correction]) -> tuple[Correction, ...]:
    """Return all corrections of an object's spend: the one of its whole life, and those of windows."""
    if not spend_adjustment_nano_usd:
        return tuple(spend_corrections)
    whole_life = Correction(starts_at=LIFETIME_START, ends_at=LIFETIME_END, nano_usd=spend_adjustment_nano_usd)
    return (whole_life, *spend_corrections)


def log_unreadable(limits: Sequence[ScopedLimits]) -> None:
    """Tell of what is stored and holds for nothing. Called where limits are read, not where they are used."""
    for each in limits:
        for place, reason in each.unreadable.items():
            log.warning("limit_unreadable", scope=each.scope.type, id=each.scope.id, place=place, reason=reason)


def _budgets(
    scope: Scope, limits: Limits, *, corrections: tuple[Correction, ...], entity_ids: tuple[str, ...]
) -> Iterator[Budget]:
    if limits.max_budget_nano_usd is not None or limits.soft_budget_nano_usd is not None:
        yield Budget(
            scope=scope,
            limit_nano_usd=limits.max_budget_nano_usd,
            soft_limit_nano_usd=limits.soft_budget_nano_usd,
            duration=limits.budget_duration,
            entity_ids=entity_ids,
            corrections=corrections,
            increase_nano_usd=limits.temp_budget_increase_nano_usd or 0,
            increase_until=limits.temp_budget_expiry,
        )
    for each in limits.budget_limits:
        yield Budget(
            scope=scope,
            limit_nano_usd=each.max_budget_nano_usd,
            duration=each.budget_duration,
            entity_ids=entity_ids,
            corrections=corrections,
        )


def _rates(limits: Limits) -> RateLimits | None:
    rates = RateLimits(
        requests_per_minute=limits.rpm_limit,
        tokens_per_minute=limits.tpm_limit,
        tokens_per_day=limits.tpd_limit,
        parallel_requests=limits.max_parallel_requests,
    )
    return None if rates == RateLimits() else rates


def _model_rates(limits: Limits, models: Mapping[str, ModelBudget]) -> dict[str, RateLimits]:
    """Rates given beside a model's budget hold where there are none by model alone."""
    requests = {model: each.rpm_limit for model, each in models.items() if each.rpm_limit is not None}
    tokens = {model: each.tpm_limit for model, each in models.items() if each.tpm_limit is not None}
    requests |= limits.model_rpm_limit
    tokens |= limits.model_tpm_limit
    return {
        model: RateLimits(requests_per_minute=requests.get(model), tokens_per_minute=tokens.get(model))
        for model in dict.fromkeys((*requests, *tokens))
    }
