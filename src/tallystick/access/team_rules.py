"""What holds for teams, whoever writes them: pure arithmetic over models and limits."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.model_access import allows
from tallystick.access.teams import OrganizationSpec, TeamSpec
from tallystick.errors import BadRequest

MEMBER_PERMISSIONS: Final = (
    "/key/generate",
    "/key/service-account/generate",
    "/key/update",
    "/key/bulk_update",
    "/key/delete",
    "/key/regenerate",
    "/key/{key_id}/regenerate",
    "/key/{key_id}/reset_spend",
    "/key/block",
    "/key/unblock",
    "/key/info",
    "/key/list",
    "/key/aliases",
    "/key/health",
    "/team/daily/activity",
)
"""What may be allowed to plain members of a team, on keys of that team."""

NO_MODELS: Final = "no-default-models"
"""Alone in a list, it allows no model. An empty list would allow every one."""

_BOUNDED_BY_ORGANIZATION: Final = (
    ("max_budget_nano_usd", "max_budget"),
    ("tpm_limit", "tpm_limit"),
    ("rpm_limit", "rpm_limit"),
)
_AMOUNTS: Final = (
    "max_budget_nano_usd",
    "tpm_limit",
    "rpm_limit",
    "tpd_limit",
    "max_parallel_requests",
)


def require_within_organization(team: TeamSpec, organization: OrganizationSpec, limits: Limits, *, name: str) -> None:
    """Refuse a team that asks for more than its organization has; `name` is the organization's id.

    `limits` are those of the organization's budget.
    """
    require_models_within(team.models, organization.models, owner=f"organization '{name}'")
    for field, param in _BOUNDED_BY_ORGANIZATION:
        asked, bound = getattr(team.limits, field), getattr(limits, field)
        if asked is not None and bound is not None and asked > bound:
            raise BadRequest(
                f"The team's '{param}' is higher than that of its organization '{name}'. Choose a lower one, or raise "
                "the organization's.",
                param=param,
            )


def require_models_within(
    models: tuple[str, ...], bound: tuple[str, ...], *, owner: str, param: str = "models"
) -> None:
    """Refuse a list of models that names one outside of `bound`; an empty `bound` has every model."""
    outside = [entry for entry in models if entry != NO_MODELS and bound and not allows(bound, entry, {})]
    if outside:
        raise BadRequest(
            f"Model '{outside[0]}' is not among the models of the {owner}: {', '.join(bound[:20])}.", param=param
        )


def with_models(models: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list with more models in it. One that allowed every model is then bound to these."""
    return tuple(dict.fromkeys((*(entry for entry in models if entry != NO_MODELS), *added)))


def without_models(models: tuple[str, ...], removed: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list with these taken out. When none is left it allows none, not every one."""
    left = tuple(entry for entry in models if entry not in removed)
    return left if left or not models else (NO_MODELS,)


def is_loosened(before: Limits, after: Limits) -> bool:
    """Whether a change does more than lower amounts, set new ones, or change the soft budget, which denies nothing."""
    for field in _AMOUNTS:
        held, wanted = getattr(before, field), getattr(after, field)
        if held is not None and (wanted is None or wanted > held):
            return True
    free = {field: getattr(before, field) for field in (*_AMOUNTS, "soft_budget_nano_usd")}
    return msgspec.structs.replace(after, **free) != before
