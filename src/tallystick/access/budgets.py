"""Budgets: rows of limits that organizations, team members, keys, customers and tags refer to.

A budget may be shared by many; each who refers to it has its own spend. Organizations, customers and tags have their
limits in a budget only, as LiteLLM's clients expect: when limits are given inline, they get a budget of their own,
which lives as long as they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tallystick.access.limits import Limits
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore, NoneLeft

REFERRERS: Final = (
    Kind.ORGANIZATION,
    Kind.ORGANIZATION_MEMBER,
    Kind.TEAM,
    Kind.TEAM_MEMBER,
    Kind.KEY,
    Kind.CUSTOMER,
    Kind.TAG,
)
"""The kinds whose objects may name a budget."""


class BudgetSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a budget's row holds besides its columns."""

    limits: Limits = Limits()
    allowed_models: tuple[str, ...] = ()
    owner_kind: str = ""
    """The kind of the object that this is the own budget of, with `owner_id`; '' for a shared one."""
    owner_id: str = ""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.


class AskedBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about the budget of an object."""

    budget_id: str | msgspec.UnsetType | None = msgspec.UNSET
    """The shared budget to refer to; null refers to none; unset keeps."""
    patch: Callable[[Limits], Limits]
    """Applies the limits that the request gives inline; what it omits stays."""

    @property
    def gives_limits(self) -> bool:
        return self.patch(Limits()) != Limits()


def budget_limits(budget: ControlObject | None) -> Limits:
    """Return the limits of a budget, none when there is no budget."""
    return Limits() if budget is None else spec_as(BudgetSpec, budget.spec).limits


def owner_of(budget: ControlObject) -> ObjectRef | None:
    """Return the object for whose inline limits the budget was made, and with which it goes; None for a shared one."""
    spec = spec_as(BudgetSpec, budget.spec)
    return ObjectRef(Kind(spec.owner_kind), spec.owner_id) if spec.owner_kind else None


def unused(budget_id: str) -> tuple[NoneLeft, ...]:
    """Return the conditions under which nobody refers to a budget."""
    return tuple(NoneLeft(kind=kind, relation="budget_id", value=budget_id) for kind in REFERRERS)


async def limits_to_be(store: ControlStore, holder: ControlObject, asked: AskedBudget) -> Limits:
    """Return the limits that an object has once a request about its budget is granted."""
    if asked.budget_id is msgspec.UNSET:
        return asked.patch(budget_limits(await budget_of(store, holder)))
    if not asked.budget_id:
        return asked.patch(Limits())
    return budget_limits(await store.find(ObjectRef(Kind.BUDGET, asked.budget_id)))


async def budget_of(store: ControlStore, holder: ControlObject) -> ControlObject | None:
    """Return the budget that an object refers to, None when it refers to none."""
    return await store.find(ObjectRef(Kind.BUDGET, holder.budget_id)) if holder.budget_id else None
