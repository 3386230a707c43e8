"""Bodies of the requests that manage customers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, Field

from tallystick.access.customers import CustomerSpec
from tallystick.admin.budget_fields import HeldBudgetFields
from tallystick.admin.fields import JSONObject, RequestBody, Text
from tallystick.control.objects import ControlObject, spec_as, spec_from

ID = Annotated[Text, Field(min_length=1)]


class CustomerFields(HeldBudgetFields):
    """What a customer is besides its spend."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "customer-7", "max_budget": 5.0, "budget_duration": "30d"}]}
    )

    user_id: ID = Field(description="The id that calls name as their end user.")
    alias: Text | None = Field(default=None, description="A name for people.")
    blocked: bool | None = Field(default=None, description="Whether calls for this customer are refused.")
    allowed_model_region: Literal["eu", "us"] | None = Field(
        default=None, description="Where the models of this customer must run."
    )
    default_model: Text | None = Field(default=None, description="The model of calls that name none that is allowed.")
    models: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None, description="Models that may be called for this customer; empty means all."
    )
    metadata: JSONObject | None = Field(default=None, description="An object of your own; replaced as a whole.")
    object_permission: JSONObject | None = Field(default=None, description="Kept and shown; it has no effect here yet.")

    def patched(self, before: ControlObject) -> ControlObject:
        """Return the customer with what this body sets: what is omitted stays, null clears."""
        given = self.model_fields_set
        spec = spec_as(CustomerSpec, before.spec)
        changes: dict[str, Any] = {}  # Any: each field's own type.
        for name in ("allowed_model_region", "default_model"):
            if name in given:
                changes[name] = getattr(self, name) or ""
        if "models" in given:
            changes["models"] = tuple(self.models or ())
        if "metadata" in given:
            changes["metadata"] = self.metadata or {}
        if "object_permission" in given:
            rest = {name: value for name, value in spec.other.items() if name != "object_permission"}
            kept = {"object_permission": self.object_permission} if self.object_permission is not None else {}
            changes["other"] = {**rest, **kept}
        return msgspec.structs.replace(
            before,
            name=self.alias or "" if "alias" in given else before.name,
            blocked=bool(self.blocked) if "blocked" in given else before.blocked,
            spec=spec_from(msgspec.structs.replace(spec, **changes)),
        )


class NameCustomers(RequestBody):
    """Customers, all or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["customer-7"]}]})

    user_ids: Annotated[list[ID], Field(min_length=1, max_length=1_000)]
