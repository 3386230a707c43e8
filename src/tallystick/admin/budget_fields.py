"""Budgets of organizations, customers and tags in requests and answers: shared by id, or limits given inline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field

from tallystick.access.budgets import AskedBudget, BudgetSpec, budget_limits
from tallystick.access.limits import Limits
from tallystick.admin.fields import Text
from tallystick.admin.limits import LimitFields, SpendField, shown_limits
from tallystick.admin.object_spend import ObjectSpend
from tallystick.admin.present import Present, text_of
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as
from tallystick.control.store import ControlStore


class HeldBudgetFields(LimitFields, SpendField):
    """Either the id of a budget to share, or limits, which become a budget of the object's own."""

    budget_id: Text | None = Field(default=None, description="A budget made with /budget/new. Null refers to none.")

    def asked_budget(self) -> AskedBudget:
        """Return what the body says about the budget; what it omits stays."""
        named = "budget_id" in self.model_fields_set
        return AskedBudget(budget_id=self.budget_id if named else msgspec.UNSET, patch=self.patched_limits)


def shown_budget(
    budget: ControlObject, *, present: Present, spent: ObjectSpend | None = None
) -> dict[str, Any]:  # Any: JSON.
    """Return a budget under LiteLLM's names."""
    spec = spec_as(BudgetSpec, budget.spec)
    return {
        "budget_id": budget.object_id,
        **shown_held_limits(spec.limits, present=present, spent=spent),
        "allowed_models": spec.allowed_models,
        "created_at": text_of(budget.created_at),
        "created_by": budget.created_by or None,
        "updated_at": text_of(budget.updated_at),
        "updated_by": budget.updated_by or None,
        **spec.other,
    }


def shown_held_budget(
    budget: ControlObject | None, *, present: Present, spent: ObjectSpend
) -> dict[str, Any]:  # Any: JSON.
    """Return the fields that tell of an object's budget: its id, its limits, and its row."""
    return {
        **shown_held_limits(budget_limits(budget), present=present, spent=spent),
        "budget_id": None if budget is None else budget.object_id,
        "litellm_budget_table": None if budget is None else shown_budget(budget, present=present, spent=spent),
    }


def shown_held_limits(
    limits: Limits, *, present: Present, spent: ObjectSpend | None = None
) -> dict[str, Any]:  # Any: JSON.
    """Return limits; those by model are null, not empty, where there are none, as in LiteLLM's table of budgets."""
    return {**shown_limits(limits, present=present, spent=spent), "model_max_budget": limits.model_max_budget or None}


async def budgets_of(store: ControlStore, holders: Sequence[ControlObject]) -> dict[str, ControlObject]:
    """Return the budgets to which these objects refer, by their ids, in one read."""
    refs = [ObjectRef(Kind.BUDGET, each.budget_id) for each in holders if each.budget_id]
    return {each.object_id: each for each in await store.find_many(refs)} if refs else {}
