"""Bodies of the requests that manage budgets."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import ConfigDict, Field

from tallystick.access.budgets import BudgetSpec
from tallystick.admin.fields import RequestBody, Text
from tallystick.admin.limits import LimitFields

ID = Annotated[Text, Field(min_length=1)]


class BudgetFields(LimitFields):
    """What a budget limits."""

    allowed_models: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None, description="Models that those who share it may call."
    )

    def patched(self, before: BudgetSpec) -> BudgetSpec:
        """Return the budget with what this body sets: what is omitted stays, null clears."""
        spec = msgspec.structs.replace(before, limits=self.patched_limits(before.limits))
        if "allowed_models" in self.model_fields_set:
            spec = msgspec.structs.replace(spec, allowed_models=tuple(self.allowed_models or ()))
        return spec


class NewBudget(BudgetFields):
    """A budget that keys, team members, organizations, customers and tags may share. Each has its own spend."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"budget_id": "free-tier", "max_budget": 5.0, "budget_duration": "30d"}]}
    )

    budget_id: ID | None = Field(default=None, description="Its id; one is made when it is left out.")


class UpdateBudget(BudgetFields):
    """Changes of a budget. What is omitted stays, null clears."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"budget_id": "free-tier", "max_budget": 10.0}]})

    budget_id: ID


class NameBudgets(RequestBody):
    """Budgets to show."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"budgets": ["free-tier"]}]})

    budgets: Annotated[list[Text], Field(max_length=1_000)]


class DeleteBudget(RequestBody):
    """The budget to delete."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "free-tier"}]})

    id: ID
